"""The data types of the whole library. Each checks its arrays at construction.

`Target` has the labelled objects of an image, `Detection` and `Instances` the detected ones. `Pool`
has the detections of all unlabelled images. `Selection` is the order of these images for labelling,
by a query strategy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from taudis.errors import DataError
from taudis.masks import CodedMasks
from taudis.memmap import JoinedRows, blocks, take

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]
BoolArray = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]
"""Pixels [H,W,3], RGB."""
Embedding = Literal["mask", "box", "query"]
"""The branch of the model that gives an instance's embedding; not every model has all of them."""
ANY_LABEL = 0
"""Label of a crowd region with an unknown label. It counts as a region of every label."""
IntegerProduct = Callable[[npt.NDArray[np.int8], npt.NDArray[np.int8], npt.NDArray[np.int32]], None]
"""Writes the exact product of rows [n,D] and transposed columns [m,D] to an int32 [n,m]."""


def _expect(name: str, array: Any, shape: tuple[int | str, ...], kind: str) -> None:
    """Raise DataError unless `array` has this shape (letters match any length) and dtype kind."""
    if not isinstance(array, np.ndarray | JoinedRows | CodedMasks):
        raise DataError(f"{name}: expected a numpy array, got {type(array).__name__}.")
    wanted = "[" + ", ".join(map(str, shape)) + "]"
    fits = array.ndim == len(shape) and all(
        isinstance(want, str) or want == got for want, got in zip(shape, array.shape, strict=True)
    )
    if not fits:
        raise DataError(f"{name}: expected shape {wanted}, got {list(array.shape)}.")
    if array.dtype.kind not in kind:
        raise DataError(f"{name}: expected dtype kind '{kind}', got {array.dtype}.")


def _finite(name: str, array: FloatArray) -> None:
    """Raise DataError if the array has NaN or infinity."""
    for start, rows in blocks(array):
        if not np.isfinite(rows).all():
            first, *rest = np.argwhere(~np.isfinite(rows))[0].tolist()
            where = [start + first, *rest]
            raise DataError(
                f"{name}: expected finite numbers, got NaN or infinity at index {where}."
            )


def labels_of_region(label: int, labels: int) -> range:
    """The labels of a region in COCO: its own label, or 1..K for ANY_LABEL. labels: K."""
    return range(1, labels + 1) if label == ANY_LABEL else range(label, label + 1)


def check_image(image: Image) -> None:
    """Raise DataError unless the image is uint8 [H,W,3] with at least one pixel."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        got = getattr(image, "dtype", type(image).__name__)
        raise DataError(f"image: expected a uint8 array [H, W, 3] in RGB, got {got}.")
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise DataError(f"image: expected shape [H, W, 3], got {list(image.shape)}.")


@dataclass(frozen=True)
class LabelMap:
    """Label names in the order of the labelling config; label i+1 is names[i], 0 is background."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise DataError("LabelMap: expected at least one label, got none.")
        if len(set(self.names)) != len(self.names):
            raise DataError(f"LabelMap: expected unique names, got {list(self.names)}.")

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """The label (1..K) of a name. Raises DataError for a name that is not in the map."""
        try:
            return self.names.index(name) + 1
        except ValueError:
            raise DataError(f"LabelMap: unknown label {name!r}; known are {self.names}.") from None

    def name(self, label: int) -> str:
        """The name of a label. Raises DataError unless it is in 1..K."""
        if not 1 <= label <= len(self.names):
            raise DataError(f"LabelMap: expected a label in 1..{len(self.names)}, got {label}.")
        return self.names[label - 1]


@dataclass(frozen=True, eq=False)
class Target:
    """The ground truth of an image. An image without objects (n = 0) is a negative example."""

    boxes: FloatArray  # [n,4] float32, xyxy px, x2 > x1 and y2 > y1
    labels: IntArray  # [n] int64, 1..K; ANY_LABEL for a crowd with an unknown label
    masks: BoolArray  # [n,H,W]; those of a COCO file are CodedMasks, see `in_memory`
    iscrowd: BoolArray  # [n]

    def __post_init__(self) -> None:
        _expect("Target.boxes", self.boxes, ("n", 4), "f")
        n = len(self.boxes)
        _expect("Target.labels", self.labels, (n,), "iu")
        _expect("Target.masks", self.masks, (n, "H", "W"), "b")
        _expect("Target.iscrowd", self.iscrowd, (n,), "b")
        _finite("Target.boxes", self.boxes)
        if n and not (self.boxes[:, 2:] > self.boxes[:, :2]).all():
            raise DataError("Target.boxes: expected x2 > x1 and y2 > y1 in every row.")
        if (self.labels < np.where(self.iscrowd, ANY_LABEL, 1)).any():
            raise DataError("Target.labels: expected labels from 1 on; 0 is for crowds alone.")

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def from_masks(
        cls, masks: BoolArray, labels: IntArray, iscrowd: BoolArray | None = None
    ) -> Target:
        """The target with masks [n,H,W], their tight boxes, and labels [n].

        Empty masks have no box and are dropped.
        """
        _expect("masks", masks, ("n", "H", "W"), "b")
        crowd = np.zeros(len(masks), bool) if iscrowd is None else iscrowd
        rows: BoolArray = np.any(masks, axis=2)  # [n,H]
        columns: BoolArray = np.any(masks, axis=1)  # [n,W]
        filled: BoolArray = np.any(rows, axis=1)
        if not filled.all():
            masks, labels, crowd = masks[filled], labels[filled], crowd[filled]
            rows, columns = rows[filled], columns[filled]
        (y1, y2), (x1, x2) = _extent(rows), _extent(columns)
        boxes = np.stack([x1, y1, x2, y2], axis=1).astype(np.float32)
        return cls(boxes, labels.astype(np.int64), masks, crowd)

    def in_memory(self) -> Target:
        """The target with masks in a numpy array, for what needs one."""
        return replace(self, masks=np.asarray(self.masks))


def _extent(filled: BoolArray) -> tuple[IntArray, IntArray]:
    """For each row [n,L]: the position of the first True, and 1 + that of the last True.

    Every row must have a True.
    """
    if not len(filled):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return filled.argmax(1), filled.shape[1] - filled[:, ::-1].argmax(1)


@dataclass(frozen=True, eq=False)
class Instances:
    """Detected instances of an image or of a pool, one per row."""

    image_index: IntArray  # [N] int64, row of the instance's image
    boxes: FloatArray  # [N,4] float32, xyxy px of the original image
    scores: FloatArray  # [N] float32, probability of `labels`, 0..1
    labels: IntArray  # [N] int64, 1..K
    class_probs: FloatArray  # [N,K+1], rows sum to 1, column 0 is background
    embeddings: FloatArray  # [N,D] float32 (float16 allowed), r_n of the paper
    mask_probs: FloatArray | None = None  # [N,M,M], 0..1, of `labels`; dropped in large pools

    def __post_init__(self) -> None:
        _expect("Instances.image_index", self.image_index, ("N",), "iu")
        n = len(self.image_index)
        _expect("Instances.boxes", self.boxes, (n, 4), "f")
        _expect("Instances.scores", self.scores, (n,), "f")
        _expect("Instances.labels", self.labels, (n,), "iu")
        _expect("Instances.class_probs", self.class_probs, (n, "K+1"), "f")
        _expect("Instances.embeddings", self.embeddings, (n, "D"), "f")
        for name in ("boxes", "scores", "class_probs", "embeddings"):
            _finite(f"Instances.{name}", getattr(self, name))
        if self.mask_probs is not None:
            _expect("Instances.mask_probs", self.mask_probs, (n, "M", "M"), "f")
            _finite("Instances.mask_probs", self.mask_probs)
        if n and not (self.labels.min() >= 1 and self.labels.max() < self.class_probs.shape[1]):
            raise DataError("Instances.labels: expected labels in 1..K, K+1 = class_probs columns.")

    def __len__(self) -> int:
        return len(self.image_index)

    def filter(self, rows: IntArray | BoolArray) -> Instances:
        """The given rows (indices or a boolean mask), in the given order."""
        wanted: IntArray = np.arange(len(self))[rows]
        picked: dict[str, Any] = {
            f.name: None if getattr(self, f.name) is None else take(getattr(self, f.name), wanted)
            for f in fields(self)
        }
        return replace(self, **picked)


@dataclass(frozen=True, eq=False)
class Detection:
    """The detections of a model in an image: instances (image_index 0) and an image embedding."""

    instances: Instances  # boxes in px of the original image, mask_probs [n,28,28]
    image_embedding: FloatArray  # [D'] float32, mean of the finest FPN level over the image
    size: tuple[int, int]  # (height, width) px of the original image


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """The three instance uncertainties of Appendix A, natural logarithm."""

    cm: FloatArray  # [N] classification margin, Eq. 1, 0..1; uncertain when small
    ce: FloatArray  # [N] classification entropy, Eq. 2, 0..log(K+1) nats
    se: FloatArray  # [N] segmentation entropy, Eq. 3, 0..log(2) nats

    def __post_init__(self) -> None:
        for name in ("cm", "ce", "se"):
            _expect(f"Uncertainty.{name}", getattr(self, name), (len(self.cm),), "f")
            _finite(f"Uncertainty.{name}", getattr(self, name))

    def __len__(self) -> int:
        return len(self.cm)


@dataclass(frozen=True, eq=False)
class Pool:
    """All unlabelled images with the instances that the model detected in them."""

    image_ids: IntArray  # [I] int64, unique; task ids, or a COCO file's image ids
    sizes: IntArray  # [I,2] int64, (height, width) px
    instances: Instances  # N rows, image_index in 0..I-1
    uncertainty: Uncertainty  # N rows
    mask_areas: FloatArray  # [N] px of the original image
    image_embeddings: FloatArray  # [I,D'], average pool of the finest FPN level

    def __post_init__(self) -> None:
        _expect("Pool.image_ids", self.image_ids, ("I",), "iu")
        images, n = len(self.image_ids), len(self.instances)
        _expect("Pool.sizes", self.sizes, (images, 2), "iu")
        _expect("Pool.mask_areas", self.mask_areas, (n,), "f")
        _expect("Pool.image_embeddings", self.image_embeddings, (images, "D'"), "f")
        _finite("Pool.mask_areas", self.mask_areas)
        _finite("Pool.image_embeddings", self.image_embeddings)
        if len(self.uncertainty) != n:
            raise DataError(f"Pool.uncertainty: expected {n} rows, got {len(self.uncertainty)}.")
        if len(np.unique(self.image_ids)) != images:
            raise DataError("Pool.image_ids: expected unique ids, got duplicates.")
        index = self.instances.image_index
        if n and not (index.min() >= 0 and index.max() < images):
            raise DataError(f"Pool.instances.image_index: expected 0..{images - 1}.")

    @classmethod
    def without_detections(cls, image_ids: IntArray, image_embeddings: FloatArray) -> Pool:
        """A pool of images [I] without detections; their sizes are 0."""
        empty, none = np.zeros(0, np.float32), np.zeros(0, np.int64)
        return cls(
            image_ids=image_ids,
            sizes=np.zeros((len(image_ids), 2), np.int64),
            instances=Instances(
                none, np.zeros((0, 4), np.float32), empty, none,
                np.zeros((0, 2), np.float32), np.zeros((0, 1), np.float32),
            ),
            uncertainty=Uncertainty(empty, empty, empty),
            mask_areas=empty,
            image_embeddings=image_embeddings,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.image_ids)

    def subset(self, images: IntArray) -> Pool:
        """The pool of the given image rows, in the given order; each row at most once."""
        place = np.full(len(self), -1, np.int64)
        place[images] = np.arange(len(images))
        rows = np.flatnonzero(place[self.instances.image_index] >= 0)
        kept = self.instances.filter(rows)
        measures = self.uncertainty
        return Pool(
            image_ids=self.image_ids[images],
            sizes=self.sizes[images],
            instances=replace(kept, image_index=place[kept.image_index]),
            uncertainty=Uncertainty(measures.cm[rows], measures.ce[rows], measures.se[rows]),
            mask_areas=self.mask_areas[rows],
            image_embeddings=take(self.image_embeddings, images),
        )


@dataclass(frozen=True, eq=False)
class Selection:
    """A total order of the pool's images, with its explanation.

    For strategies without instances, `chosen`, `gains`, `layers` and `candidates` are empty.
    """

    strategy: str
    order: IntArray  # [I] int64, rows of the pool, best first; a permutation of 0..I-1
    utilities: FloatArray  # [I] by image row; higher comes earlier in the order
    reasons: tuple[str, ...]  # [I] a sentence for each image, in the order of `order`
    budget: int  # B
    votes: FloatArray = field(default_factory=lambda: np.zeros(0))  # [I] by image row
    chosen: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))  # [k] in pick order
    gains: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))  # [k] newly covered
    layers: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))  # [k] 0 = first cover
    candidates: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))  # [C]
    diagnostics: dict[str, float | int | str | None] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _expect("Selection.order", self.order, ("I",), "iu")
        if not np.array_equal(np.sort(self.order), np.arange(len(self.order))):
            raise DataError("Selection.order: expected a permutation of the pool's rows.")
        if len(self.reasons) != len(self.order):
            raise DataError(
                f"Selection.reasons: expected {len(self.order)}, got {len(self.reasons)}."
            )

    def __iter__(self) -> Iterator[int]:
        return iter(self.order.tolist())
