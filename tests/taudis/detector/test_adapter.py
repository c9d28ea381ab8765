"""Any model with region features: the contract over our Detector, a second real model, broken ones.

The class TwoPass is printed in docs/adapters.md; a test below keeps the two the same.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from taudis.data.pool_reader import load_pool, read_header
from taudis.detector.adapter import check_adapter
from taudis.detector.mask_rcnn import Detector, to_tensor
from taudis.detector.pasting import pasted_masks
from taudis.errors import DataError
from taudis.scoring import score_pool, score_to_file
from taudis.types import Detection, Instances, LabelMap
from tests.taudis.detector_cases import LABELS, TINY, detector, mask2former, picture

ROOT = Path(__file__).resolve().parents[3]
IMAGES = [picture(1)[0], picture(2)[0], picture(3, 40, 56)[0]]


@dataclass(frozen=True, eq=False)
class TwoPass:
    """A stock torchvision Mask R-CNN as an adapter: the stock call, then its heads again."""

    model: MaskRCNN
    label_map: LabelMap
    image_embedding_width: int = 256  # channels of the FPN

    def embedding_width(self, embedding):
        if embedding == "box":
            return self.model.roi_heads.box_head.fc7.out_features
        return self.model.roi_heads.mask_head[-1][0].out_channels

    def detect(self, images, *, embedding="mask"):
        # One at a time: a batch is padded to its largest image, and padding shows in the features
        self.model.eval()
        with torch.inference_mode():
            return [self._look(image, embedding) for image in images]

    def _look(self, image, embedding):
        # First pass: boxes and labels, in px of the image
        pixels, heads = to_tensor(image), self.model.roi_heads
        first = self.model([pixels])[0]
        labels = first["labels"]

        # Second pass: the features again, and both branches at the final boxes
        batch, _ = self.model.transform([pixels])
        levels, (size,) = self.model.backbone(batch.tensors), batch.image_sizes
        scale = torch.tensor([size[1] / image.shape[1], size[0] / image.shape[0]] * 2)
        boxes = [first["boxes"] * scale]
        hidden = heads.box_head(heads.box_roi_pool(levels, boxes, [size]))  # [n,1024]
        class_probs = heads.box_predictor(hidden)[0].softmax(-1)  # [n,K+1]
        active = heads.mask_head(heads.mask_roi_pool(levels, boxes, [size]))  # [n,256,14,14]
        masks = heads.mask_predictor(active).sigmoid()  # [n,K+1,28,28], one for each label

        rows = torch.arange(len(labels))
        vectors = hidden if embedding == "box" else active.mean((2, 3))
        # The finest level over the image's own cells, without the padding to a multiple of 32
        height, width = (-(-side // 4) for side in size)
        whole = levels["0"][0, :, :height, :width].mean((1, 2))
        instances = Instances(
            image_index=np.zeros(len(labels), np.int64),
            boxes=first["boxes"].numpy(),
            scores=class_probs[rows, labels].numpy(),
            labels=labels.numpy(),
            class_probs=class_probs.numpy(),
            embeddings=vectors.numpy(),
            mask_probs=masks[rows, labels].numpy(),
        )
        return Detection(instances, whole.numpy(), image.shape[:2])


@functools.cache
def two_pass() -> TwoPass:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None)
        model = MaskRCNN(
            backbone, num_classes=3, min_size=64, max_size=96, box_detections_per_img=6,
            rpn_pre_nms_top_n_test=30, rpn_post_nms_top_n_test=12,
        )  # fmt: skip
        model.roi_heads.box_predictor.cls_score.weight.data.mul_(8)
    return TwoPass(model, LABELS)


ADAPTERS = {
    "detector": lambda: detector(seed=2),
    "bfloat16": lambda: detector(seed=2).fast(),
    "two passes of a stock model": two_pass,
    "mask2former": mask2former,
}
CASES = [
    pytest.param(name, embedding, marks=[pytest.mark.slow] if name[0] in "tm" else [])
    for name in ADAPTERS
    for embedding in ("mask", "query" if name == "mask2former" else "box")
]


@pytest.mark.parametrize(("name", "embedding"), CASES)
def test_an_adapter_keeps_the_contract(name, embedding):
    tolerance = 0.05 if name == "bfloat16" else 1e-3
    check_adapter(ADAPTERS[name](), IMAGES, embedding=embedding, tolerance=tolerance)


def test_the_second_pass_sees_what_the_first_saw():
    """Oracle: masks of the second pass, pasted, are the stock call's own."""
    model = two_pass()
    found = model.detect(IMAGES[:1])[0]
    first = model.model([to_tensor(IMAGES[0])])[0]
    assert len(found.instances) == len(first["labels"]) > 3
    agree = (pasted_masks(found) == (first["masks"][:, 0].detach().numpy() >= 0.5)).mean()
    assert agree > 0.999


def test_a_second_model_is_scored_like_ours(tmp_path):
    model, pairs = two_pass(), list(enumerate(IMAGES))
    pool = score_pool(model, pairs)
    assert len(pool) == 3 and pool.instances.embeddings.shape[1] == 256
    path = tmp_path / "pool.safetensors"
    assert score_to_file(path, model, pairs, about="stock") == (3, len(pool.instances))
    assert np.array_equal(load_pool(path).uncertainty.se, pool.uncertainty.se)
    assert read_header(path).label_names == LABELS.names


def test_the_documentation_shows_this_very_example():
    page = (ROOT / "docs" / "adapters.md").read_text(encoding="utf-8")
    assert inspect.getsource(TwoPass) in page


def test_a_model_that_detects_nothing_has_widths_but_cannot_be_judged():
    blind = detector(config=dataclasses.replace(TINY, score_threshold=0.999))
    with pytest.raises(DataError, match="at least one image, got none"):
        check_adapter(blind, IMAGES)


# --- broken adapters ----------------------------------------------------------------------------


@functools.cache
def ours() -> Detector:
    return detector(seed=2)


class Broken:
    """Our detector, with its detections changed on the way out."""

    def __init__(self, change=lambda found: found, **stated) -> None:
        self.change, self.stated = change, stated
        self.label_map = stated.get("label_map", LABELS)
        self.image_embedding_width = stated.get("image_embedding_width", 16)

    def embedding_width(self, embedding):
        return self.stated.get("embedding_width", 16)

    def detect(self, images, *, embedding="mask"):
        return self.change(ours().detect(images, embedding=embedding))


def rows(**edits):
    """A change of arrays of every image's instances."""

    def change(found):
        changed = []
        for one in found:
            new = {name: edit(getattr(one.instances, name)) for name, edit in edits.items()}
            changed.append(replace(one, instances=replace(one.instances, **new)))
        return changed

    return change


def whole(**edits):
    """A change of fields of every Detection."""

    def change(found):
        return [
            replace(one, **{name: edit(getattr(one, name)) for name, edit in edits.items()})
            for one in found
        ]

    return change


def put(value, *place):
    def edit(array):
        array = array.copy()
        if len(array):
            array[place] = value
        return array

    return edit


def only_in_batches(change):
    return lambda found: change(found) if len(found) > 1 else found


def without_widths_when_empty(found):
    """What a careless adapter gives for an image without a detection: arrays [0]."""
    empty = found[-1].instances.filter(np.zeros(0, int))
    bare = replace(empty, embeddings=np.zeros((0, 0), np.float32))
    return [*found[:-1], replace(found[-1], instances=bare)]


BROKEN = {
    "label_map: expected a LabelMap": Broken(label_map=("square", "bar")),
    "embedding_width: expected an integer": Broken(embedding_width=None),
    "image_embedding_width: expected an integer from 1": Broken(image_embedding_width=0),
    r"embeddings: expected \[n, 8\]": Broken(embedding_width=8),
    r"image_embedding: expected floats \[9\] .*got float32 \[16\]": Broken(image_embedding_width=9),
    r"class_probs: expected \[n, 4\]": Broken(label_map=LabelMap(("a", "b", "c"))),
    "expected 4 detections, got 3": Broken(lambda found: found[:-1]),
    "expected Detection objects, got Instances": Broken(
        lambda found: [one.instances for one in found]
    ),
    "expected 0 detections, got 1": Broken(
        lambda found: found or [ours().detect(IMAGES[:1])[0]]
    ),
    r"size \(64, 64\) .*got \(48, 64\)": Broken(lambda found: found[::-1]),
    r"size \(40, 56\) .*got \(56, 40\)": Broken(whole(size=lambda size: size[::-1])),
    "order of the images, got image 0's at place 1": Broken(
        only_in_batches(lambda found: [found[1], found[0], *found[2:]])
    ),
    r"image_embedding: expected floats \[16\] .*got Tensor": Broken(
        whole(image_embedding=torch.from_numpy)
    ),
    "image_embedding: expected finite": Broken(whole(image_embedding=put(np.nan, 0))),
    "instances as Instances, got dict": Broken(whole(instances=vars)),
    "image_index: expected 0, got 1": Broken(rows(image_index=put(1, 0))),
    "class_probs: .*apply softmax": Broken(rows(class_probs=lambda a: a * 5 - 2)),
    "class_probs: .*sum to 1": Broken(rows(class_probs=lambda a: a / 2)),
    "scores: expected class_probs of the label": Broken(rows(scores=lambda a: a * 0.9)),
    r"scores: .* at 0; a mask's quality": Broken(rows(scores=put(0.999, 0))),
    r"mask_probs: expected \[n, M, M\], got None": Broken(rows(mask_probs=lambda a: None)),
    r"mask_probs: expected 0\.\.1, .*sigmoid": Broken(rows(mask_probs=lambda a: a * 8 - 4)),
    r"boxes: expected xyxy with x2 > x1": Broken(rows(boxes=lambda a: a[:, [2, 3, 0, 1]])),
    r"boxes: expected px inside the image of 64 x 64": Broken(rows(boxes=lambda a: a * 1.5)),
    r"boxes: .*inside the image of 64 x 64.* at 0": Broken(rows(boxes=put([-2, 0, 9, 9], 0))),
    r"embeddings: expected \[n, 16\] .*got \[0, 0\]": Broken(without_widths_when_empty),
}  # fmt: skip


@pytest.mark.parametrize("message", BROKEN)
def test_a_broken_adapter_is_told_what_is_wrong(message):
    with pytest.raises(DataError, match=message):
        check_adapter(BROKEN[message], IMAGES)


def noisy(size):
    rng = np.random.default_rng(0)
    return rows(embeddings=lambda a: a + rng.normal(0, size, a.shape).astype(np.float32))


@pytest.mark.slow
def test_randomness_and_company_are_told():
    with pytest.raises(DataError, match=r"image 0: expected the same in two calls .*embeddings"):
        check_adapter(Broken(noisy(1)), IMAGES)
    in_company = Broken(only_in_batches(rows(class_probs=lambda a: a)))
    check_adapter(in_company, IMAGES)
    shifted = Broken(only_in_batches(rows(embeddings=lambda a: a + 1)))
    with pytest.raises(DataError, match="image 0: expected the same alone as in a batch"):
        check_adapter(shifted, IMAGES)
    fewer = Broken(only_in_batches(rows_kept(lambda n: n - 1)))
    with pytest.raises(DataError, match=r"alone as in a batch .*, got \d+ instances and \d+"):
        check_adapter(fewer, IMAGES)


@pytest.mark.parametrize("company", [False, True])
def test_a_label_is_another_one_however_many_there_are(company):
    """Of 60 labels, 59 and 60 are nearer to each other than a tolerance of 0.05."""
    names, calls = LabelMap(tuple(f"label {n}" for n in range(1, 61))), iter(range(99))

    def sways(found):
        label = 60 if (len(found) == 1 if company else next(calls)) else 59
        probs = np.zeros(61, np.float32)
        probs[59:] = 0.5
        new = rows(
            labels=lambda a: np.full_like(a, label),
            class_probs=lambda a: np.tile(probs, (len(a), 1)),
            scores=lambda a: np.full_like(a, 0.5),
        )
        return new(found)

    wanted = "the same alone" if company else "the same in two calls"
    with pytest.raises(DataError, match=f"image 0: expected {wanted} .*, got labels .* at 0"):
        check_adapter(Broken(sways, label_map=names), IMAGES, tolerance=0.05)


def rows_kept(count):
    def change(found):
        return [
            replace(one, instances=one.instances.filter(np.arange(count(len(one.instances)))))
            for one in found
        ]

    return change


def test_images_must_stay_as_they_were():
    class Normalises(Broken):
        def detect(self, images, *, embedding="mask"):
            found = super().detect(images, embedding=embedding)
            for image in images:
                image //= 2
            return found

    with pytest.raises(DataError, match="images unchanged"):
        check_adapter(Normalises(), [image.copy() for image in IMAGES])


def test_what_is_no_adapter_or_no_image_is_told():
    with pytest.raises(DataError, match="without `label_map`"):
        check_adapter(object(), IMAGES)
    with pytest.raises(DataError, match="two sizes"):
        check_adapter(detector(), IMAGES[:2])
    with pytest.raises(DataError, match="uint8"):
        check_adapter(detector(), [image / 255 for image in IMAGES])


def test_arrays_that_are_no_instances_are_refused_when_they_are_made():
    """Shapes among themselves, NaN and labels are Instances' own contract; an adapter meets it."""
    good = ours().detect(IMAGES[:1])[0].instances
    for name, value, message in [
        ("embeddings", good.embeddings[1:], r"embeddings: expected shape"),
        ("labels", np.zeros_like(good.labels), "labels"),
        ("scores", np.full_like(good.scores, np.nan), "scores: expected finite"),
    ]:
        with pytest.raises(DataError, match=message):
            replace(good, **{name: value})
