"""The interface that TAUDIS needs of a model, and a test of it.

The selection needs class probabilities p_n, a mask m_n and an embedding r_n of each detected
instance (section 3.1 of the paper). `Adapter` is the interface, and `check_adapter` tests a model
against it. docs/adapters.md has a complete example.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from taudis.data.pool_format import check_classes
from taudis.errors import DataError
from taudis.types import Detection, Embedding, FloatArray, Image, Instances, LabelMap, check_image

SCORE_TOLERANCE = 1e-3
"""Largest difference of a score and the class probability of its label, for rounding."""
BOX_TOLERANCE = 1e-2
"""Px that a box may reach beyond its image, for rounding when it is scaled back."""


class Adapter(Protocol):
    """A model that detects objects and gives all values that the selection needs.

    `taudis.detector.mask_rcnn.Detector` is an example. The instances of an image
    (`taudis.types.Instances`) have:

        class_probs [n,K+1]  p_n: softmax over background (column 0) and the K labels
                             (of sigmoid scores: `class_probs_of_sigmoids`)
        mask_probs  [n,M,M]  m_n: sigmoid mask of the instance's label, 0..1, any side M
        embeddings  [n,D]    r_n: one vector per instance; similar instances have similar vectors
        boxes       [n,4]    xyxy in px of the given image, inside it
        labels      [n]      1..K, never background
        scores      [n]      class_probs at the label
        image_index [n]      0

    The result for an image is the same in every call, alone or in any batch. The arrays of an image
    without instances have the same widths.
    """

    @property
    def label_map(self) -> LabelMap:
        """The K labels, in the order of class_probs' columns 1..K."""

    @property
    def image_embedding_width(self) -> int:
        """D', the width of `Detection.image_embedding`."""

    def embedding_width(self, embedding: Embedding) -> int:
        """D, the width of r_n from this branch of the model. Every model has 'mask'.

        Raises DataError for a branch that the model does not have.
        """

    def detect(
        self, images: Sequence[Image], *, embedding: Embedding = "mask"
    ) -> Sequence[Detection]:
        """One Detection for each image (uint8 [H,W,3] RGB, any sizes), in the given order."""


def class_probs_of_sigmoids(scores: FloatArray) -> FloatArray:
    """p_n [n,K+1] from K independent sigmoid scores s [n,K], as of RF-DETR-Seg.

    Such scores need not sum to 1, so `check_adapter` refuses them. Here each label keeps its odds
    against background: p_k / p_0 = s_k / (1 - s_k). This is the softmax over 0 and the K logits.
    With one label p_1 = s_1. `Instances.scores` must be p of the label, not s.

    Raises DataError for scores outside 0..1.
    """
    given = np.asarray(scores, np.float64)
    if given.ndim != 2 or not (given.size == 0 or (given.min() >= 0 and given.max() <= 1)):
        raise DataError(
            f"scores: expected sigmoid scores [n, K] in 0..1, got {list(given.shape)}"
            + (f" in {given.min():.4g}..{given.max():.4g}." if given.size else ".")
        )
    sure = np.clip(given, 1e-7, 1 - 1e-7)
    odds = np.concatenate([np.ones((len(given), 1)), sure / (1 - sure)], axis=1)
    probs: FloatArray = (odds / odds.sum(1, keepdims=True)).astype(np.float32)
    return probs


# long: the checks of the contract, one after another
def check_adapter(
    model: Adapter,
    images: Sequence[Image],
    *,
    embedding: Embedding = "mask",
    tolerance: float = 1e-3,
) -> None:
    """Test a model against the contract of `Adapter`.

    images: at least two, of at least two sizes, preferably real images with objects. A black image
    is added, in which the model may detect nothing. tolerance: largest difference of an array
    between two calls, relative to its largest number (use 0.05 for bfloat16). Labels must be equal.
    Raises DataError for the first fault. The test cannot show that r_n is meaningful or that
    probabilities are calibrated.
    """
    for image in images:
        check_image(image)
    if len({image.shape for image in images}) < 2:
        raise DataError("images: expected two or more, of at least two sizes; add one.")
    widths = _widths(model, embedding)
    everything = [*images, np.zeros((48, 64, 3), np.uint8)]

    # The arrays of each image
    found = _detected(model, everything, embedding)
    for row, (image, detection) in enumerate(zip(everything, found, strict=True)):
        _check_detection(f"image {row}", image, detection, model.label_map, widths)
    if not any(len(detection.instances) for detection in found):
        raise DataError(
            "detect: expected an instance in at least one image, got none; give images that show "
            "what the model knows, or lower its score threshold."
        )

    # An empty batch; the same results in a second call and for each image alone
    _detected(model, [], embedding)
    again = _detected(model, everything, embedding)
    for row, (one, other) in enumerate(zip(found, again, strict=True)):
        _expect_same(
            f"image {row}", "the same in two calls (no dropout, no sampling)", one, other, tolerance
        )
    for row, image in enumerate(everything):
        (alone,) = _detected(model, [image], embedding)
        places = [n for n, one in enumerate(found) if not _difference(one, alone, tolerance)]
        if places and row not in places:
            raise DataError(
                f"detect: expected detections in the order of the images, got image {row}'s at "
                f"place {places[0]}."
            )
        _expect_same(
            f"image {row}",
            "the same alone as in a batch (no padding that shows, no statistics of the batch)",
            found[row], alone, tolerance,
        )  # fmt: skip


def _widths(model: Adapter, embedding: Embedding) -> tuple[int, int]:
    """(D, D') as the model states them. Raises DataError if one is missing or not a width."""
    for name in ("label_map", "image_embedding_width", "embedding_width", "detect"):
        if not hasattr(model, name):
            raise DataError(f"model: expected an Adapter, got one without `{name}`.")
    if not isinstance(model.label_map, LabelMap):
        raise DataError(f"label_map: expected a LabelMap, got {type(model.label_map).__name__}.")
    stated = {
        "embedding_width": model.embedding_width(embedding),
        "image_embedding_width": model.image_embedding_width,
    }
    for name, width in stated.items():
        try:
            good = operator.index(width) >= 1
        except TypeError:
            good = False
        if not good:
            raise DataError(f"{name}: expected an integer from 1 on, got {width!r}.")
    return stated["embedding_width"], stated["image_embedding_width"]


def _detected(model: Adapter, images: list[Image], embedding: Embedding) -> Sequence[Detection]:
    """Call `detect`. Raises DataError unless it gives a Detection per image and changes none."""
    before = [image.copy() for image in images]
    found = model.detect(images, embedding=embedding)
    if len(found) != len(images):
        raise DataError(f"detect: expected {len(images)} detections, got {len(found)}.")
    for one in found:
        if not isinstance(one, Detection):
            raise DataError(f"detect: expected Detection objects, got {type(one).__name__}.")
    if not all(map(np.array_equal, before, images)):
        raise DataError("detect: expected the images unchanged; copy them before you normalise.")
    return found


def _check_detection(
    where: str, image: Image, one: Detection, labels: LabelMap, widths: tuple[int, int]
) -> None:
    """Raise DataError unless one image's arrays have the documented shapes and ranges."""
    if tuple(one.size) != image.shape[:2]:
        raise DataError(
            f"{where}: expected size {image.shape[:2]} (height, width), got {tuple(one.size)}; "
            "keep the images' order, and give their own size."
        )
    rows = one.instances
    if not isinstance(rows, Instances):
        raise DataError(f"{where}: expected instances as Instances, got {type(rows).__name__}.")
    _expect_vector(where, one.image_embedding, widths[1])
    columns, wanted = rows.class_probs.shape[1], len(labels) + 1
    if columns != wanted:
        raise DataError(
            f"{where}: class_probs: expected [n, {wanted}], background and {len(labels)} labels, "
            f"got [{len(rows)}, {columns}]."
        )
    if rows.embeddings.shape[1] != widths[0]:
        raise DataError(
            f"{where}: embeddings: expected [n, {widths[0]}] as embedding_width says, got "
            f"{list(rows.embeddings.shape)}."
        )
    if rows.image_index.any():
        raise DataError(f"{where}: image_index: expected 0, got {rows.image_index.max()}.")
    try:
        check_classes(rows.class_probs, rows.labels, labels.names)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    _check_scores(where, rows)
    _check_masks(where, rows)
    _check_boxes(where, rows, image)


def _expect_vector(where: str, vector: Any, width: int) -> None:
    """Raise DataError unless it is a finite vector [D'] of floats."""
    if not isinstance(vector, np.ndarray) or vector.shape != (width,) or vector.dtype.kind != "f":
        got = (
            f"{vector.dtype} {list(vector.shape)}"
            if isinstance(vector, np.ndarray)
            else type(vector).__name__
        )
        raise DataError(
            f"{where}: image_embedding: expected floats [{width}] as image_embedding_width says, "
            f"got {got}."
        )
    if not np.isfinite(vector).all():
        raise DataError(f"{where}: image_embedding: expected finite numbers, got NaN or infinity.")


def _check_scores(where: str, rows: Instances) -> None:
    own = rows.class_probs[np.arange(len(rows)), rows.labels]
    off = np.abs(rows.scores - own)
    if len(off) and off.max() > SCORE_TOLERANCE:
        row = int(off.argmax())
        raise DataError(
            f"{where}: scores: expected class_probs of the label, {own[row]:.4f}, got "
            f"{rows.scores[row]:.4f} at {row}; a mask's quality does not belong in the score."
        )


def _check_masks(where: str, rows: Instances) -> None:
    masks = rows.mask_probs
    if masks is None:
        raise DataError(f"{where}: mask_probs: expected [n, M, M], got None.")
    if masks.shape[1] != masks.shape[2] or not masks.shape[1]:
        raise DataError(f"{where}: mask_probs: expected [n, M, M], got {list(masks.shape)}.")
    if masks.size and not (masks.min() >= 0 and masks.max() <= 1):
        raise DataError(
            f"{where}: mask_probs: expected 0..1, got {masks.min():.4g}..{masks.max():.4g}; apply "
            "sigmoid to the logits."
        )


def _check_boxes(where: str, rows: Instances, image: Image) -> None:
    height, width = image.shape[:2]
    boxes = rows.boxes
    flat = np.flatnonzero((boxes[:, 2:] <= boxes[:, :2]).any(axis=1))
    if len(flat):
        raise DataError(
            f"{where}: boxes: expected xyxy with x2 > x1 and y2 > y1, got "
            f"{boxes[flat[0]].tolist()} at {flat[0]}."
        )
    low, high = -BOX_TOLERANCE, np.array([width, height, width, height]) + BOX_TOLERANCE
    outside = np.flatnonzero(((boxes < low) | (boxes > high)).any(axis=1))
    if len(outside):
        raise DataError(
            f"{where}: boxes: expected px inside the image of {width} x {height}, got "
            f"{boxes[outside[0]].tolist()} at {outside[0]}; scale them back to the image as given."
        )


def _expect_same(where: str, wanted: str, one: Detection, other: Detection, t: float) -> None:
    """Raise DataError unless two detections of an image are equal within the tolerance."""
    what = _difference(one, other, t)
    if what:
        raise DataError(f"{where}: expected {wanted}, got {what}.")


def _difference(one: Detection, other: Detection, tolerance: float) -> str:
    """The first array in which two detections differ, in words; "" if they are equal."""
    if tuple(one.size) != tuple(other.size):
        return "another size"
    if len(one.instances) != len(other.instances):
        return f"{len(one.instances)} instances and {len(other.instances)}"
    names = ("labels", "boxes", "scores", "class_probs", "mask_probs", "embeddings")
    pairs = {name: (getattr(one.instances, name), getattr(other.instances, name)) for name in names}
    pairs["image_embedding"] = (one.image_embedding, other.image_embedding)
    for name, (a, b) in pairs.items():
        if a.shape != b.shape:
            return f"{name} of shapes {list(a.shape)} and {list(b.shape)}"
        if name == "labels":  # class numbers have no tolerance: 40 is not close to 41
            wrong = np.flatnonzero(a != b)
            if len(wrong):
                return f"labels {a[wrong[0]]} and {b[wrong[0]]} at {wrong[0]}"
            continue
        if a.size and np.abs(a - b).max() > tolerance * max(1e-6, float(np.abs(a).max())):
            return f"{name} that differ by {np.abs(a - b).max():.3g}"
    return ""
