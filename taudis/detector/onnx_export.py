"""Exports a detector to ONNX and compares it with torch; a file that differs is deleted.

The export uses torch's older exporter, which traces the model. The newer one (torch.export) fails
at the data-dependent shapes of torchvision's NMS (docs/decisions/0009-versions.md). Only this file
needs the packages onnx and onnxruntime.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from taudis.detector.architecture import ModelConfig, make_model
from taudis.detector.mask_rcnn import Detector, to_tensor
from taudis.detector.registry import TrainedDetector, architecture_of
from taudis.errors import ExportError
from taudis.types import FloatArray, Image

OUTPUTS = ("boxes", "labels", "scores", "masks")
OPSET = 17
TOLERANCE = 1e-3
"""Largest allowed difference from torch, in scores, mask probabilities, and boxes in px."""


@dataclass(frozen=True)
class Agreement:
    """The largest differences between ONNX and torch over all detections of some images."""

    images: int
    detections: int
    boxes: float  # px
    scores: float
    masks: float  # probability


def export_onnx(detector: TrainedDetector, path: Path, images: Sequence[Image]) -> Agreement:
    """Write `path`, run it and torch on `images` (uint8 [H,W,3], at least one), and compare.

    The graph takes one image, float32 [3,H,W] in 0..1 of any size, and resizes it. Its outputs are
    those of torchvision's model: boxes [n,4] px, labels [n], scores [n], masks [n,1,H,W].
    Raises ExportError for another model than a Mask R-CNN, a missing package, or if ONNX does not
    find the same detections within TOLERANCE. After an error there is no file at `path`.
    """
    if not isinstance(detector, Detector):
        raise ExportError(
            f"ONNX: expected a Mask R-CNN, got a {architecture_of(detector.config).name}. Export"
            " it without --onnx, or train with MODEL=mask_rcnn."
        )
    onnxruntime = _package("onnxruntime")
    _package("onnx")
    model = _traceable(detector)
    dynamic: dict[str, dict[int, str]] = {name: {0: "n"} for name in OUTPUTS}
    dynamic["masks"] |= {2: "height", 3: "width"}
    dynamic["image"] = {1: "height", 2: "width"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of constants, which are intended here
        torch.onnx.export(
            _One(model),
            (to_tensor(images[0]),),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=list(OUTPUTS),
            dynamic_axes=dynamic,
        )
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return _agreement(detector, session, images)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ExportError(
            f"ONNX: expected the package {name}, which is not installed: `pip install onnx"
            " onnxruntime` into this environment, or export without ONNX."
        ) from error


class _One(nn.Module):
    """The model for one image, with a tuple as output: ONNX has no lists and no dictionaries."""

    def __init__(self, model: MaskRCNN) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """The detections of an image [3,H,W] as OUTPUTS."""
        found = self.model([image])[0]
        return tuple(found[name] for name in OUTPUTS)


class _TracedResize(GeneralizedRCNNTransform):  # type: ignore[misc]
    """`ModelConfig.working_size` as part of the graph, in float64 as Python computes it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(
            config.min_size or config.max_size,
            config.max_size,
            list(config.image_mean),
            list(config.image_std),
        )
        self.config = config

    def resize(self, image: Tensor, target: None = None) -> tuple[Tensor, None]:
        """The image [3,H,W] at its working size."""
        # One-element tensors, because the exporter turns scalars into float32.
        size = torch._shape_as_tensor(image)[-2:].to(torch.float64)
        scale = torch.tensor([float(self.config.max_size)], dtype=torch.float64) / size.max()[None]
        limit = torch.ones(1, dtype=torch.float64)
        if self.config.min_size is not None:
            shorter = torch.tensor([float(self.config.min_size)], dtype=torch.float64)
            limit = shorter / size.min()[None]
        working = (size * torch.minimum(scale, limit)).floor().clamp(min=1).to(torch.int64)
        height, width = working[0], working[1]
        scaled = functional.interpolate(image[None], size=(height, width), mode="bilinear")  # type: ignore[arg-type]
        return scaled[0], target


def _traceable(detector: Detector) -> MaskRCNN:
    """A copy of the detector's model on the CPU, with a resize that can be traced."""
    with torch.random.fork_rng(devices=[]):
        model = make_model(detector.config, len(detector.label_map))
    model.load_state_dict(detector.model.state_dict())
    model.transform = _TracedResize(detector.config)
    return model.eval()


@torch.inference_mode()
def _agreement(detector: Detector, session: Any, images: Sequence[Image]) -> Agreement:
    """Compare torch and ONNX on every image. Raises ExportError for the first that differs."""
    model = detector.model.cpu().eval()
    detections, worst = 0, dict.fromkeys(("boxes", "scores", "masks"), 0.0)
    for row, image in enumerate(images):
        pixels = to_tensor(image)
        wanted = {name: found.numpy() for name, found in model([pixels])[0].items()}
        got: dict[str, FloatArray] = dict(
            zip(OUTPUTS, session.run(None, {"image": pixels.numpy()}), strict=True)
        )
        where = f"ONNX: image {row} of {image.shape[0]} x {image.shape[1]} px"
        if not np.array_equal(got["labels"], wanted["labels"]):
            raise ExportError(
                f"{where}: expected the {len(wanted['labels'])} detections that torch finds, got"
                f" {len(got['labels'])} or others. This model cannot be exported exactly."
            )
        detections += len(wanted["labels"])
        for name in worst:
            difference = np.abs(got[name] - wanted[name]).max(initial=0.0)
            worst[name] = max(worst[name], float(difference))
        if max(worst.values()) > TOLERANCE:
            raise ExportError(f"{where}: differs from torch by up to {worst}, over {TOLERANCE}.")
    return Agreement(len(images), detections, **worst)
