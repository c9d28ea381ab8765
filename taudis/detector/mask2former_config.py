"""The configuration of a Mask2Former: its network in transformers' terms, and its thresholds.

This file does not import transformers, so that settings and recipes can be read without it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from taudis.detector.architecture import IMAGE_MEAN, IMAGE_STD, working_size
from taudis.errors import DataError

logger = logging.getLogger(__name__)

NAME = "mask2former"
STRIDE = 4
"""Side of a cell of the masks and of the pixel decoder's features, px at the working size."""
QUERIES_STEP = 40
"""Queries beyond the default of a network are added in steps of this number."""


def small_network() -> dict[str, Any]:
    """A network that two CPU cores train from random weights in minutes: 1.7 M parameters.

    Swin is the only backbone that transformers tests with Mask2Former. Here it has patches of 4 px
    and windows of 4 x 4 cells. The width must be a multiple of 32 for the pixel decoder's
    GroupNorm.
    """
    return {
        "backbone_config": {
            "model_type": "swin",
            "embed_dim": 32,
            "depths": [1, 1, 2, 1],
            "num_heads": [1, 2, 4, 8],
            "window_size": 4,
            "drop_path_rate": 0.0,
            "out_features": ["stage1", "stage2", "stage3", "stage4"],
        },
        "feature_size": 64,
        "mask_feature_size": 64,
        "hidden_dim": 64,
        "encoder_feedforward_dim": 128,
        "encoder_layers": 2,
        "decoder_layers": 4,
        "num_attention_heads": 4,
        "dim_feedforward": 128,
        "num_queries": 40,
        "train_num_points": 1024,
    }


def standard_network() -> dict[str, Any]:
    """The default of transformers: Swin small, 100 queries, features and states of width 256."""
    stages = {"depths": [2, 2, 18, 2], "num_heads": [3, 6, 12, 24], "window_size": 7}
    levels = {"out_features": small_network()["backbone_config"]["out_features"]}
    swin = {"model_type": "swin", "embed_dim": 96, "drop_path_rate": 0.3, **stages, **levels}
    return {"backbone_config": swin, "num_queries": 100}


@dataclass(frozen=True)
class Mask2FormerConfig:
    """The network and its thresholds. `from_dict` reads `dataclasses.asdict` of it."""

    network: Mapping[str, Any] = field(default_factory=small_network)
    """Arguments of transformers' `Mask2FormerConfig`, except the labels."""
    architecture: str = NAME  # marks the card of a checkpoint as that of a Mask2Former
    min_size: int | None = None  # px of the shorter side; None: images are never enlarged
    max_size: int = 512  # px of the longer side
    score_threshold: float = 0.05  # least score of a detection (T_F)
    detections_per_image: int = 100
    mask_side: int = 28  # M

    @classmethod
    def small(cls) -> Mask2FormerConfig:
        """A model that two CPU cores train from random weights."""
        return cls()

    @classmethod
    def standard(cls) -> Mask2FormerConfig:
        """The size of transformers' default, for a GPU."""
        return cls(network=standard_network(), min_size=800, max_size=1333)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Mask2FormerConfig:
        """The inverse of `dataclasses.asdict`. Raises DataError for anything else."""
        try:
            return cls(**values)
        except TypeError as error:
            raise DataError(
                f"Mask2FormerConfig: {error}; it was written by another version."
            ) from None

    @property
    def backbone(self) -> str:
        """The type of the backbone, by its name in transformers."""
        return str(self.network["backbone_config"]["model_type"])

    @property
    def queries(self) -> int:
        """Q, the largest number of objects that the network can detect in an image."""
        return int(self.network["num_queries"])

    @property
    def image_mean(self) -> tuple[float, float, float]:
        """Mean (R, G, B; 0..1) to subtract from the pixels, as the backbone was trained."""
        return IMAGE_MEAN

    @property
    def image_std(self) -> tuple[float, float, float]:
        """Standard deviation (R, G, B) to divide the pixels by, as the backbone was trained."""
        return IMAGE_STD

    def for_densest(self, instances: int) -> Mask2FormerConfig:
        """The configuration with room for a quarter more detections than `instances`.

        The limit is only raised, never lowered.
        """
        room = instances + -(-instances // 4)
        return replace(self, detections_per_image=max(self.detections_per_image, room))

    def with_queries(self, instances: int) -> Mask2FormerConfig:
        """The configuration with at least a quarter more queries than `instances`.

        The number of queries never falls. It grows in steps of QUERIES_STEP, because queries are
        weights: each growth adds untrained queries to a model that continues its training.
        """
        missing = max(0, instances + -(-instances // 4) - self.queries)
        more = -(-missing // QUERIES_STEP) * QUERIES_STEP
        return replace(self, network={**self.network, "num_queries": self.queries + more})

    def goes_on_from(self, made: Mask2FormerConfig) -> Mask2FormerConfig:
        """The configuration with at least as many queries as `made`."""
        queries = max(self.queries, made.queries)
        return replace(self, network={**self.network, "num_queries": queries})

    def warn_of_denser(self, instances: int, weights: str) -> None:
        """Log a warning if a labelled image has more objects than these weights can detect.

        instances: objects of the densest labelled image.
        """
        if instances > self.queries:
            logger.warning(
                "Weights %s: they detect at most %d objects an image, a labelled one has %d. With"
                " the weights 'none' there are as many queries as needed.",
                weights, self.queries, instances,
            )  # fmt: skip

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) px to which an image of this size is resized for the model."""
        return working_size(height, width, self.min_size, self.max_size)
