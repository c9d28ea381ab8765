"""Training recipes (appendix C), and the choice of one for a machine and its labelled images.

`cpu` trains on two cores in minutes, `small` needs one GPU, `paper` has the paper's values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from taudis.data.statistics import LabelStatistics
from taudis.detector.architecture import ARCHITECTURE, ModelConfig
from taudis.detector.card import read_card
from taudis.detector.imagenet import BACKBONE as PACKAGED_BACKBONE
from taudis.detector.mask2former import config_of_folder, is_transformers_folder
from taudis.detector.mask2former_config import Mask2FormerConfig
from taudis.detector.registry import (
    ARCHITECTURES,
    MASK2FORMER,
    MASK_RCNN,
    Config,
    fitting,
    read_config,
)
from taudis.detector.weights import Kind, kind_of
from taudis.errors import DataError, WeightsError

WHOLE_SIZE = 192
"""Longer side, px, of whole images that a CPU trains on in minutes."""

PRETRAINED_WHOLE_SIZE = 256
"""Largest longer side, px, of whole images from ImageNet weights, which need fewer steps.

Tools_bench, 3 minutes, 192 and 256 px (one seed): 0.257 and 0.301 from ImageNet weights, 0.087 and
0.058 from random weights.
"""

SIZE_STEP = 32
"""Working sizes of whole images are multiples of it, px: the stride of the coarsest features."""

UPRIGHT = 0.1
"""Uprightness (`taudis.data.statistics`) from which on training images are not turned.

Overhead pictures, nuclei and fruits on a table have 0.00 to 0.02, street scenes, highway cameras
and COCO photographs 0.45 to 6.2. Sixteen images tell the two apart in at least 99 of 100 draws.
"""

PRETRAINED_CROP = 192
"""Side, px, of the `cpu` recipe's crops from ImageNet weights; from random weights, 128 will do.

300 steps, one seed, mAP50 with 128 and 192 px: oam_buildings 0.258 and 0.303, highway_cam 0.236 and
0.423, nuclei 0.791 and 0.800, in 1.2 to 1.6 times the CPU time.
"""

PRETRAINED_STEPS = 240
"""Least steps of the `cpu` recipe from ImageNet weights.

Eleven images of tools_bench: 0.040 mAP50 after 95 steps, 0.083 after 240 (one seed).
"""

WARM_STEPS = 0.5
"""Steps of a warm start, as a share of the steps of a training from initial weights."""


@dataclass(frozen=True)
class Recipe:
    """The hyper-parameters of a training, each with its reason."""

    name: str
    steps: int
    model: Config = field(default_factory=ModelConfig.small)
    optimizer: Literal["adamw", "sgd"] = "adamw"  # from scratch, far ahead of SGD in few steps
    lr: float = 1e-3
    backbone_lr: float = 1.0  # of the backbone's learning rate, over that of the rest
    frozen_stages: int = 0  # of the backbone, 0..4 from the finest, that keep their weights
    momentum: float = 0.9  # sgd
    weight_decay: float = 0.05
    batch: int = 4
    crop: int | None = 128  # px at the working size; None trains on whole images
    whole: int = WHOLE_SIZE  # px of the longer side, at most, where crops would cut objects
    turns: bool = True  # quarter turns and flips: right for overhead pictures, not for street views
    colour: float = 0.0  # strength of brightness, contrast and saturation jitter, 0..1
    balance: float = 0.0  # t of repeat-factor sampling; 0 draws every image alike
    warmup: int = 50  # steps of a linearly growing rate: from scratch, a full rate diverges
    schedule: Literal["cosine", "steps"] = "cosine"
    milestones: tuple[int, ...] = ()  # "steps": the rate is divided by 10 at each
    clip: float = 5.0  # gradient norm
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: bf16 where the hardware has it
    checkpoint_every: int = 100  # steps a killed worker repeats at most
    evaluate_every: int = 0  # steps between evaluations on the validation split; 0: none
    patience: int = 3  # evaluations without a better mAP50 before training ends early

    @classmethod
    def cpu(cls, labelled: int | None = None) -> Recipe:
        """The measured recipe for two shared cores; steps grow with the labelled images.

        5 steps a labelled image at first, half a step from 52 on, 900 at most. From random weights,
        12 images train in about 35 s of one core, 72 in about 115 s.
        """
        count = 60 if labelled is None else labelled
        steps = max(1, min(40 + 5 * count, 274 + count // 2, 900))
        return cls(name="cpu", steps=steps).evaluated(5)

    @classmethod
    def small(cls, labelled: int | None = None) -> Recipe:
        """One GPU, from scratch or from weights: torchvision's architecture at full size.

        30 epochs, at least 1,000 steps and at most 10,000. Not tuned: no GPU was at hand when it
        was written; the figures of its parts are torchvision's and Detectron2's usual ones.
        """
        count = 60 if labelled is None else labelled
        return cls(
            name="small",
            steps=max(1000, min(30 * count // 16, 10_000)),
            model=replace(ModelConfig.standard(), norm="group"),
            lr=2e-4,
            batch=16,
            crop=None,
            colour=0.2,
            balance=0.1,
            warmup=200,
            checkpoint_every=200,
        ).evaluated()

    @classmethod
    def paper(cls) -> Recipe:
        """Appendix C for COCO: a GPU machine and COCO-like images."""
        return cls(
            name="paper",
            steps=25_000,
            model=ModelConfig.standard(),
            optimizer="sgd",
            lr=0.12,
            momentum=0.997,
            weight_decay=1e-4,
            batch=128,
            crop=None,
            turns=False,
            warmup=500,
            schedule="steps",
            milestones=(15_000, 20_000),
            checkpoint_every=500,
        )

    def evaluated(self, times: int = 10) -> Recipe:
        """The recipe with `times` evaluations on the validation split over the whole training."""
        return replace(self, evaluate_every=max(1, self.steps // times))

    def for_objects(self, share: float, side: float) -> Recipe:
        """Whole images where a crop would cut typical objects, at a size that fits the objects.

        At the working size, the typical object of the largest label is as long as the crop was.
        The longer side has at least WHOLE_SIZE and at most `whole` px.

        Args:
            share: longer side of an object over that of its image, for the label whose typical
                (median) object is largest; 0..1.
            side: longer side of a typical image, px.

        Facades (512 px; a "facade" fills the image; 192 px): crops of 128 px at full size reached
        0.001 mAP50, whole images 0.108. Tools_bench (a hand is half as long as its image; 256 px):
        docs/accuracy.md. What fills an image was photographed upright, so that quarter turns end.
        """
        if self.crop is None or share * min(side, self.model.max_size) <= self.crop:
            return self
        fitting = int(self.crop / share) // SIZE_STEP * SIZE_STEP
        size = min(max(fitting, WHOLE_SIZE), self.whole, self.model.max_size)
        return replace(self, crop=None, turns=False, model=replace(self.model, max_size=size))

    def for_orientation(self, upright: float) -> Recipe:
        """No quarter turns where they would show objects as no picture does.

        `upright`: how much a turn changes the objects, by `taudis.data.statistics.uprightness`.
        Highway_cam, 300 steps: 0.064 mAP50 with quarter turns, 0.236 without (one seed).
        """
        return replace(self, turns=False) if upright > UPRIGHT else self

    def pretrained(self, kind: Kind, weights: str, backbone: str) -> Recipe:
        """The recipe for a backbone that starts from ImageNet weights, batch norms folded.

        `kind`: "imagenet" for the packaged weights, "backbone" for the file `weights`. Raises
        WeightsError where `backbone` is not the one of the packaged weights, and for the paper's
        recipe.
        """
        if kind == "imagenet" and backbone not in ("", PACKAGED_BACKBONE):
            raise WeightsError(
                f"Weights 'imagenet': expected the backbone {PACKAGED_BACKBONE}, got {backbone}."
                " Leave the backbone unset, or set the weights to 'none' or to a file of that"
                " backbone."
            )
        if self.name == "paper":
            raise WeightsError(
                f"Weights '{weights}': the paper's recipe trains a ResNet-50 from the weights of a"
                " whole detector, and these are of a backbone alone. Set the weights to 'coco' or"
                " to the path of a detector or checkpoint of that architecture, or choose the"
                " recipe cpu or small."
            )
        chosen = PACKAGED_BACKBONE if kind == "imagenet" else backbone or self.model.backbone
        model = replace(fitting(self.model, ModelConfig).with_backbone(chosen), norm="folded")
        return replace(self, model=model)._for_learnt_backbone()

    def _for_learnt_backbone(self) -> Recipe:
        """For a backbone that ImageNet taught: a lower rate, larger crops, more steps."""
        recipe = replace(self, backbone_lr=0.1)
        if self.name != "cpu":
            return recipe
        steps = max(self.steps, PRETRAINED_STEPS)
        recipe = replace(recipe, crop=PRETRAINED_CROP, whole=PRETRAINED_WHOLE_SIZE, steps=steps)
        return recipe.evaluated(5)

    def warm(self, share: float = WARM_STEPS) -> Recipe:
        """The recipe for a training that goes on from a trained model: a share of the steps."""
        # 0 stands for no evaluation, so that rounding must not reach it.
        every = max(1, round(share * self.evaluate_every)) if self.evaluate_every else 0
        return replace(self, steps=max(1, round(share * self.steps)), evaluate_every=every)

    def for_checkpoint(self, folder: Path, backbone: str) -> Recipe:
        """The recipe with the architecture of the checkpoint in `folder`, by its card.

        Raises CheckpointError for a damaged one; WeightsError where `backbone` is another one.
        """
        made = fitting(read_config(read_card(folder)["model"]), ModelConfig, str(folder))
        if backbone not in ("", made.backbone):
            raise WeightsError(
                f"Weights '{folder}': expected the backbone {made.backbone}, got {backbone}. Leave"
                " the backbone unset."
            )
        own = fitting(self.model, ModelConfig)
        model = replace(own, **{name: getattr(made, name) for name in ARCHITECTURE})
        recipe = replace(self, model=model)
        return recipe._for_learnt_backbone() if made.norm == "folded" else recipe

    def for_weights(self, weights: str, backbone: str) -> Recipe:
        """The recipe of a Mask R-CNN that starts from `weights`, with this backbone if not ''.

        COCO weights and a checkpoint folder fit one architecture only, so they decide it.
        """
        kind = kind_of(weights)
        if kind in ("detector", "backbone") and Path(weights).is_dir():
            return self.for_checkpoint(Path(weights), backbone)
        if kind in ("imagenet", "backbone"):
            return self.pretrained(kind, weights, backbone)
        if kind == "coco":
            return replace(self, model=ModelConfig.standard())
        if backbone:
            return replace(self, model=fitting(self.model, ModelConfig).with_backbone(backbone))
        return self

    def mask2former(self, weights: str, backbone: str, densest: int) -> Recipe:
        """The recipe of a Mask2Former: its network, its rates, and float32 (decision 38).

        Weights of a folder decide the network, the recipe the size of the images; with 'none' there
        are more queries than objects in the densest labelled image. Raises WeightsError or
        DataError for what only Mask R-CNN has.
        """
        if self.name == "paper":
            raise DataError("recipe: expected auto, cpu or small for a mask2former, got paper.")
        if backbone:
            raise DataError(
                f"backbone: expected none for a mask2former, got {backbone}. Leave it unset; a"
                " folder of weights brings its own."
            )
        small = self.name == "cpu"
        recipe = replace(
            self, precision="fp32", lr=1e-3 if small else 1e-4, clip=5.0 if small else 0.1,
            backbone_lr=1.0 if weights == "none" else 0.1,
        )  # fmt: skip
        fresh = Mask2FormerConfig.small() if small else Mask2FormerConfig.standard()
        if weights == "none":
            return replace(recipe, model=fresh.with_queries(densest))
        if is_transformers_folder(weights):
            # the weights decide the network alone: 800 px are minutes a step on a CPU
            found = replace(
                config_of_folder(Path(weights)), min_size=fresh.min_size, max_size=fresh.max_size
            )
        else:
            made = read_config(read_card(Path(weights))["model"])
            found = fitting(made, Mask2FormerConfig, weights)
        found.warn_of_denser(densest, weights)
        return replace(recipe, model=found)

    def lr_at(self, step: int) -> float:
        """The learning rate of a step (0-based)."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        if self.schedule == "steps":
            return self.lr * 0.1 ** sum(step >= at for at in self.milestones)
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr * 0.5 * (1 + math.cos(math.pi * done))


def choose(
    name: str,
    found: LabelStatistics,
    *,
    gpu: bool,
    weights: str = "none",
    backbone: str = "",
    model: str = MASK_RCNN,
) -> Recipe:
    """The recipe called `name`, made to fit the labelled images and the initial weights.

    'auto' takes `small` with a GPU and `cpu` without. `model`: the architecture's name. Weights
    that fit one network only decide it; otherwise `backbone` replaces that of the recipe. The
    limit of detections per image is raised above the number in the densest labelled image. Where
    crops would cut typical objects, the recipe trains on whole images. Where objects stand upright,
    it does not turn images. Raises DataError for another
    name or backbone, WeightsError or CheckpointError for weights that cannot be read.
    """
    if name == "auto":
        name = "small" if gpu else "cpu"
    presets: dict[str, Callable[[], Recipe]] = {
        "cpu": lambda: Recipe.cpu(found.images),
        "small": lambda: Recipe.small(found.images),
        "paper": Recipe.paper,
    }
    if name not in presets:
        raise DataError(f"recipe: expected auto or one of {sorted(presets)}, got {name!r}.")
    if model not in ARCHITECTURES:
        raise DataError(f"model: expected one of {sorted(ARCHITECTURES)}, got {model!r}.")
    recipe = presets[name]()
    if model == MASK2FORMER:
        recipe = recipe.mask2former(weights, backbone, found.densest)
    else:
        recipe = recipe.for_weights(weights, backbone)
    recipe = recipe.for_objects(found.object_share, found.image_side)
    recipe = recipe.for_orientation(found.upright)
    return replace(recipe, model=recipe.model.for_densest(found.densest))
