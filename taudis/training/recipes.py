"""Training recipes (appendix C), and the choice of a recipe for a machine and labelled images.

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
"""Longer side, px, of whole images on which a CPU trains in minutes."""

PRETRAINED_WHOLE_SIZE = 256
"""Largest longer side, px, of whole images for a training from ImageNet weights.

It is larger because this training needs fewer steps. mAP50 of tools_bench after 3 minutes with 192
and 256 px (one seed): 0.257 and 0.301 from ImageNet weights, 0.087 and 0.058 from random weights.
"""

SIZE_STEP = 32
"""Working sizes of whole images are multiples of this, px: the stride of the coarsest features."""

UPRIGHT = 0.1
"""Training images with more uprightness (`taudis.data.statistics`) are not turned.

Overhead images, nuclei and fruits on a table have 0.00 to 0.02. Street scenes, highway cameras and
COCO photographs have 0.45 to 6.2. Sixteen images separate the two kinds in at least 99 of 100
draws.
"""

PRETRAINED_CROP = 192
"""Side, px, of the `cpu` recipe's crops for ImageNet weights; 128 is enough for random weights.

mAP50 with 128 and 192 px (300 steps, one seed): oam_buildings 0.258 and 0.303, highway_cam 0.236
and 0.423, nuclei 0.791 and 0.800. With 192 px, training takes 1.2 to 1.6 times the CPU time.
"""

PRETRAINED_STEPS = 240
"""Least number of steps of the `cpu` recipe for ImageNet weights.

mAP50 with eleven images of tools_bench: 0.040 after 95 steps, 0.083 after 240 (one seed).
"""

WARM_STEPS = 0.5
"""Steps of a training that continues from a trained model, as a share of the usual steps."""


@dataclass(frozen=True)
class Recipe:
    """The hyper-parameters of a training."""

    name: str
    steps: int
    model: Config = field(default_factory=ModelConfig.small)
    optimizer: Literal["adamw", "sgd"] = "adamw"  # far better than SGD in few steps from scratch
    lr: float = 1e-3  # learning rate
    backbone_lr: float = 1.0  # learning rate of the backbone / lr
    frozen_stages: int = 0  # stages of the backbone that are not trained, 0..4, the finest first
    momentum: float = 0.9  # for sgd
    weight_decay: float = 0.05
    batch: int = 4
    crop: int | None = 128  # px at the working size; None: train on whole images
    whole: int = WHOLE_SIZE  # largest longer side, px, if whole images replace crops
    turns: bool = True  # random quarter turns; not for images whose objects stand upright
    colour: float = 0.0  # strength of brightness, contrast and saturation jitter, 0..1
    balance: float = 0.0  # threshold of repeat-factor sampling; 0: draw all images equally often
    warmup: int = 50  # steps of linearly growing rate; from scratch, the full rate diverges
    schedule: Literal["cosine", "steps"] = "cosine"
    milestones: tuple[int, ...] = ()  # for "steps": the rate is divided by 10 at each
    clip: float = 5.0  # largest gradient norm
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: bf16 if the hardware has it
    checkpoint_every: int = 100  # steps between saved states
    evaluate_every: int = 0  # steps between evaluations on the validation split; 0: none
    patience: int = 3  # evaluations without a better mAP50 after which training ends early

    @classmethod
    def cpu(cls, labelled: int | None = None) -> Recipe:
        """The recipe for two shared cores; the steps grow with the labelled images.

        Each labelled image adds 5 steps, from 52 images on half a step, up to 900 steps. From
        random weights, 12 images train in about 35 s of one core, 72 in about 115 s.
        """
        count = 60 if labelled is None else labelled
        steps = max(1, min(40 + 5 * count, 274 + count // 2, 900))
        return cls(name="cpu", steps=steps).evaluated(5)

    @classmethod
    def small(cls, labelled: int | None = None) -> Recipe:
        """The recipe for one GPU: torchvision's architecture at full size.

        It trains for 30 epochs, at least 1,000 and at most 10,000 steps. It has not been tuned on a
        GPU; its values are the usual ones of torchvision and Detectron2.
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
        """Appendix C for COCO: for a GPU machine and COCO-like images."""
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
        """The recipe with `times` evaluations on the validation split, evenly over the steps."""
        return replace(self, evaluate_every=max(1, self.steps // times))

    def for_objects(self, share: float, side: float) -> Recipe:
        """The recipe with whole images instead of crops, if crops would cut typical objects.

        At the new working size, the typical object of the largest label is as long as the crop was.
        The longer side has at least WHOLE_SIZE and at most `whole` px. Quarter turns end, because
        objects that fill an image were photographed upright.

        Args:
            share: longer side of an object / longer side of its image, 0..1, for the label whose
                typical (median) object is largest.
            side: longer side of a typical image, px.

        mAP50 of facades (512 px; a facade fills the image): 0.001 with crops of 128 px at full
        size, 0.108 with whole images of 192 px. docs/accuracy.md has tools_bench (256 px; a hand is
        half as long as the image).
        """
        if self.crop is None or share * min(side, self.model.max_size) <= self.crop:
            return self
        fitting = int(self.crop / share) // SIZE_STEP * SIZE_STEP
        size = min(max(fitting, WHOLE_SIZE), self.whole, self.model.max_size)
        return replace(self, crop=None, turns=False, model=replace(self.model, max_size=size))

    def for_orientation(self, upright: float) -> Recipe:
        """The recipe without quarter turns, if objects stand upright in all images.

        upright: how much a turn changes the objects (`taudis.data.statistics.uprightness`).
        mAP50 of highway_cam after 300 steps: 0.064 with quarter turns, 0.236 without (one seed).
        """
        return replace(self, turns=False) if upright > UPRIGHT else self

    def pretrained(self, kind: Kind, weights: str, backbone: str) -> Recipe:
        """The recipe for a backbone with ImageNet weights and folded batch norms.

        kind: "imagenet" for the packaged weights, "backbone" for the file `weights`. Raises
        WeightsError if the packaged weights are for another `backbone`, and for the paper's recipe.
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
        return replace(self, model=model)._for_pretrained_backbone()

    def _for_pretrained_backbone(self) -> Recipe:
        """The recipe with a lower rate of the backbone and, for `cpu`, larger crops, more steps."""
        recipe = replace(self, backbone_lr=0.1)
        if self.name != "cpu":
            return recipe
        steps = max(self.steps, PRETRAINED_STEPS)
        recipe = replace(recipe, crop=PRETRAINED_CROP, whole=PRETRAINED_WHOLE_SIZE, steps=steps)
        return recipe.evaluated(5)

    def warm(self, share: float = WARM_STEPS) -> Recipe:
        """The recipe for a training that continues from a trained model: a share of the steps."""
        # At least 1, because 0 would turn evaluations off.
        every = max(1, round(share * self.evaluate_every)) if self.evaluate_every else 0
        return replace(self, steps=max(1, round(share * self.steps)), evaluate_every=every)

    def for_checkpoint(self, folder: Path, backbone: str) -> Recipe:
        """The recipe with the architecture of the checkpoint in `folder`.

        Raises CheckpointError for a damaged checkpoint, and WeightsError for another `backbone`.
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
        return recipe._for_pretrained_backbone() if made.norm == "folded" else recipe

    def for_weights(self, weights: str, backbone: str) -> Recipe:
        """The recipe for a Mask R-CNN that starts from `weights`, with this backbone if not ''.

        COCO weights and a checkpoint folder fit only one architecture, so they decide it.
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
        """The recipe for a Mask2Former: its network and learning rates, in float32 (decision 38).

        A folder of weights decides the network, the recipe the size of the images. With 'none', the
        network has more queries than the densest labelled image has objects (`densest`). Raises
        WeightsError or DataError for settings that only Mask R-CNN has.
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
            # The image size is not taken from the weights: 800 px take minutes per step on a CPU.
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
    """The recipe called `name`, adapted to the labelled images and the initial weights.

    'auto' is `small` with a GPU and `cpu` without. model: name of the architecture. Weights that
    fit only one network decide it; otherwise `backbone` replaces that of the recipe. The limit of
    detections per image is raised above the number in the densest labelled image. If crops would
    cut typical objects, the recipe trains on whole images. If objects stand upright, it does not
    turn images. Raises DataError for an unknown name or backbone, and WeightsError or
    CheckpointError for weights that cannot be read.
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
