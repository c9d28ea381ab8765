"""Exports a version's model to a folder that can be used without TAUDIS.

The folder has weights for torchvision, predictions as COCO files, and ONNX on request.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backend.commands.compare import validation_now
from backend.errors import RoundError
from backend.images.decode import Pixels
from backend.label_studio.label_config import LabelConfig, parse_label_config
from backend.store import serving
from backend.worker.context import RoundContext
from backend.worker.score import read_images
from taudis.data.coco.write import Segmentation, coco_of, coco_results
from taudis.detector.card import read_card
from taudis.detector.checkpoint import load_checkpoint
from taudis.detector.export import export_torchvision
from taudis.detector.onnx_export import Agreement, export_onnx
from taudis.detector.pasting import each_pasted_mask
from taudis.detector.registry import TrainedDetector
from taudis.files import draft_folder
from taudis.types import Target

ONNX_IMAGES = 8
"""Number of images on which the ONNX model is compared with torch before it is kept."""
README = """# {version}

A Mask R-CNN trained by TAUDIS for Label Studio. Labels, 1 to {count}: {labels}.

- `model.py`, `weights.safetensors`: `from model import load; model = load()` gives torchvision's
  MaskRCNN (torch, torchvision and safetensors must be installed, nothing else). It takes a list of
  RGB images, float32 [3,H,W] in 0..1.
- `model.pt`: the same state dict, for `torch.load("model.pt", weights_only=True)`.
- `card.json`: the training of the model: annotation ids, recipe, metrics, versions.
- `coco_images.json`: {images} images of the project ({which}) as a COCO file; image ids are
  Label Studio's task ids.
- `coco_predictions.json`: the model's detections there as COCO results, from score {threshold} on.
{onnx}"""
ONNX_LINE = """- `model.onnx`: one image in, float32 [3,H,W] in 0..1; boxes, labels, scores, masks
  out, as torchvision gives them. Compared with torch on {0.images} images, {0.detections}
  detections: boxes differ by at most {0.boxes:.1e} px, scores by {0.scores:.1e}, masks by
  {0.masks:.1e}.
"""
Truth = Iterator[tuple[int, Pixels, Target | None]]


@dataclass(frozen=True)
class Exported:
    """Counts of an export."""

    version: str
    images: int
    instances: int
    onnx: Agreement | None
    unreadable: int  # tasks whose image could not be read


# long: twenty lines describe its arguments and errors
def export(
    context: RoundContext,
    version: str,
    out: Path,
    *,
    every_image: bool,
    onnx: bool,
    segmentation: Segmentation = "rle",
) -> Exported:
    """Write a version's model and its predictions to a folder. A failed export leaves no files.

    Args:
        context: the project's context.
        version: a model's version, or an order's version, whose model is then exported.
        out: a new or empty folder.
        every_image: predict every image of the project, without ground truth. If False, predict the
            labelled validation images, and write their labels as ground truth.
        onnx: also write an ONNX model.
        segmentation: the form of masks in the COCO files.

    Raises:
        RoundError: `out` is not empty, there is no such model, or writing failed.
        CheckpointError: the model is damaged (the message names the file), or its labels differ
            from the project's.
        ExportError: ONNX export failed, or its packages are not installed.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RoundError(f"Expected a new or empty folder to export to, {out} is not empty.")
    model = serving.model_of(context.store, context.project_id, context.model_dir(""), version)
    card = read_card(context.model_dir(model))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with draft_folder(out, mode=0o755) as draft:
            export_torchvision(context.model_dir(model), draft)
            source = _every(context) if every_image else _validation(context, card)
            # On the CPU, because the ONNX model is compared with it.
            detector, _ = load_checkpoint(
                context.model_dir(model), label_map=source.config.label_map, device="cpu"
            )
            # The fast detector, as for served predictions.
            count, instances = _coco(source, detector.fast(), draft, segmentation)
            agreement = None
            if onnx:
                agreement = export_onnx(detector, draft / "model.onnx", _onnx_images(source))
            which = "all" if every_image else "the labelled validation split, with its labels"
            readme = README.format(
                version=model,
                count=len(card["labels"]),
                labels=", ".join(f"`{name}`" for name in card["labels"]),
                images=count,
                which=which,
                threshold=detector.config.score_threshold,
                onnx=ONNX_LINE.format(agreement) if agreement else "",
            )
            (draft / "README.md").write_text(readme, encoding="utf-8")
    except OSError as error:
        raise RoundError(
            f"The export to {out} failed: {error}. Nothing was left there. Mend the cause, or"
            " choose another folder."
        ) from error
    return Exported(model, count, instances, agreement, len(source.unreadable))


@dataclass(frozen=True)
class _Source:
    """Images to predict. Each call of `walk` reads them again: task id, pixels, truth."""

    config: LabelConfig
    addresses: dict[int, str]  # task id -> address of its image
    walk: Callable[[], Truth]
    unreadable: dict[int, str]  # task id -> reason; filled by `walk`


def _validation(context: RoundContext, card: dict[str, Any]) -> _Source:
    """The labelled validation images, as they are in Label Studio now."""
    samples, config = validation_now(context, [card])

    def walk() -> Truth:
        for row, task in enumerate(samples.task_ids):
            image, target = samples[row]
            yield task, image, target

    addresses = {int(task["id"]): config.image.address(task["data"]) for task in samples.tasks}
    return _Source(config, addresses, walk, {})


def _every(context: RoundContext) -> _Source:
    """Every task of the project whose image can be read."""
    config = parse_label_config(context.studio.project(context.project_id)["label_config"])
    listed = context.studio.tasks(context.project_id)
    tasks = {int(task["id"]): task["data"] for task in sorted(listed, key=lambda task: task["id"])}
    unreadable: dict[int, str] = {}

    def walk() -> Truth:
        for task, image in read_images(context, config, tasks, unreadable):
            yield task, image, None

    addresses = {task: str(config.image.address(data)) for task, data in tasks.items()}
    return _Source(config, addresses, walk, unreadable)


def _coco(
    source: _Source, detector: TrainedDetector, out: Path, segmentation: Segmentation
) -> tuple[int, int]:
    """Write the COCO files. Returns the numbers of images and detections."""
    labels = source.config.label_map
    categories = list(range(1, len(labels) + 1))
    sizes: list[tuple[int, str, tuple[int, int]]] = []
    truths: list[Target] = []
    found: list[dict[str, Any]] = []
    for task, image, target in source.walk():
        height, width = image.shape[:2]
        sizes.append((task, source.addresses[task], (height, width)))
        truths.append(Target.from_masks(np.zeros((0, height, width), bool), np.zeros(0, np.int64))
                      if target is None else target)  # fmt: skip
        (detection,) = detector.detect([image])
        masks = each_pasted_mask(detection)
        found += coco_results(task, detection, masks, categories, segmentation)
    truth = coco_of(labels, sizes, truths, segmentation)
    (out / "coco_images.json").write_text(json.dumps(truth), encoding="utf-8")
    (out / "coco_predictions.json").write_text(json.dumps(found), encoding="utf-8")
    return len(sizes), len(found)


def _onnx_images(source: _Source) -> list[Pixels]:
    """Up to ONNX_IMAGES of the project's images, or a grey picture if there is none."""
    few = [image for (_, image, _), _ in zip(source.walk(), range(ONNX_IMAGES), strict=False)]
    return few or [np.full((256, 256, 3), 128, np.uint8)]
