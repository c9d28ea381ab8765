"""The architectures of models that this library trains.

All code that trains, saves, loads or evaluates a detector uses the table `ARCHITECTURES`, so a new
architecture is a new entry. A checkpoint's card names its architecture; older cards name none and
are for a Mask R-CNN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn

from taudis.detector import architecture, imagenet, mask2former, mask2former_config
from taudis.detector.adapter import Adapter
from taudis.detector.architecture import ModelConfig
from taudis.detector.mask2former_config import Mask2FormerConfig
from taudis.detector.mask2former_detector import Mask2FormerDetector
from taudis.detector.mask_rcnn import Detector
from taudis.errors import DataError, WeightsError
from taudis.types import Detection, Embedding, Image, LabelMap

MASK_RCNN, MASK2FORMER = "mask_rcnn", mask2former_config.NAME
Config = ModelConfig | Mask2FormerConfig
"""The configuration of a model of any architecture."""
C = TypeVar("C", ModelConfig, Mask2FormerConfig)


class TrainedDetector(Adapter, Protocol):
    """An adapter whose model this library trains, saves and loads."""

    @property
    def model(self) -> nn.Module:
        """The network. In training mode it maps images and torchvision's targets to losses."""

    @property
    def config(self) -> Config:
        """Its architecture and thresholds."""

    @property
    def device(self) -> str:
        """The device of the model."""

    def detect(self, images: Sequence[Image], *, embedding: Embedding = "mask") -> list[Detection]:
        """One Detection for each image, in the given order."""

    def fast(self) -> TrainedDetector:
        """A faster form for many images, or the detector itself if there is none."""


@dataclass(frozen=True)
class Architecture:
    """How models of an architecture are configured, built and used."""

    name: str
    fields: tuple[str, ...]
    """Fields of a configuration that must be equal for two models to share weights."""
    embeddings: tuple[Embedding, ...]
    """The embeddings r_n that its detectors have."""
    backbone_prefix: str
    """Prefix of the backbone's parameters, which may have a lower learning rate."""
    read_config: Callable[[dict[str, Any]], Config]
    build: Callable[..., nn.Module]
    """(config, K, seed, weights, weights_dir) -> a model to train."""
    restore: Callable[[Any, int, dict[str, Tensor]], nn.Module]
    """(config, K, tensors) -> the model with these tensors. RuntimeError if they do not fit."""
    detector: Callable[[Any, Any, LabelMap, str], TrainedDetector]
    """(model, config, labels, device) -> the detector."""


def _restored_mask_rcnn(config: ModelConfig, labels: int, state: dict[str, Tensor]) -> nn.Module:
    # "meta" saves the time to draw initial values, which the tensors of the file replace.
    with torch.device("meta"):
        model = architecture.make_model(config, labels)
    model.to_empty(device="cpu").load_state_dict(state)
    return cast(nn.Module, model)


def _built_mask2former(
    config: Mask2FormerConfig, labels: int, seed: int, weights: str, _folder: Path | None
) -> nn.Module:
    return mask2former.build_model(config, labels, seed=seed, weights=weights)


def _built_mask_rcnn(
    config: ModelConfig, labels: int, seed: int, weights: str, folder: Path | None
) -> nn.Module:
    model = architecture.build_model(config, labels, seed=seed, weights=weights, weights_dir=folder)
    return cast(nn.Module, model)


ARCHITECTURES = {
    MASK_RCNN: Architecture(
        name=MASK_RCNN,
        fields=architecture.ARCHITECTURE,
        embeddings=("mask", "box"),
        backbone_prefix=imagenet.PREFIX,
        read_config=ModelConfig.from_dict,
        build=_built_mask_rcnn,
        restore=_restored_mask_rcnn,
        detector=Detector,
    ),
    MASK2FORMER: Architecture(
        name=MASK2FORMER,
        fields=("network",),
        embeddings=("mask", "query"),
        backbone_prefix=mask2former.BACKBONE_PREFIX,
        read_config=Mask2FormerConfig.from_dict,
        build=_built_mask2former,
        restore=mask2former.restored_model,
        detector=Mask2FormerDetector,
    ),
}


def architecture_of(config: Config) -> Architecture:
    """The architecture that a configuration describes."""
    return ARCHITECTURES[MASK2FORMER if isinstance(config, Mask2FormerConfig) else MASK_RCNN]


def read_config(values: Mapping[str, Any]) -> Config:
    """The configuration in a card, for the architecture that the card names.

    Raises DataError for an unknown architecture or a configuration of another version.
    """
    name = values.get("architecture", MASK_RCNN)
    if name not in ARCHITECTURES:
        raise DataError(f"architecture: expected one of {sorted(ARCHITECTURES)}, got {name!r}.")
    return ARCHITECTURES[name].read_config(dict(values))


def fitting(config: Config, kind: type[C], weights: str = "") -> C:
    """The configuration, after a check of its type. weights: the folder that it was read from.

    Raises WeightsError for the configuration of another architecture.
    """
    if isinstance(config, kind):
        return config
    wanted = MASK2FORMER if kind is Mask2FormerConfig else MASK_RCNN
    found = architecture_of(config).name
    raise WeightsError(
        f"Weights {weights!r}: expected a {wanted}, got a {found}. Set the model to {found}, or set"
        " other weights."
    )


def build_model(
    config: Config,
    num_labels: int,
    *,
    seed: int,
    weights: str = "none",
    weights_dir: Path | None = None,
) -> nn.Module:
    """A model to train, of any architecture: random numbers from `seed`, then `weights`.

    Raises WeightsError if the weights are not available or do not fit, and PackageError if an
    optional package is missing.
    """
    return architecture_of(config).build(config, num_labels, seed, weights, weights_dir)
