"""Embeds whole images with an ImageNet backbone, to order images before there is a detector."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from taudis.detector.architecture import ModelConfig
from taudis.detector.backbones import make_backbone
from taudis.detector.imagenet import BACKBONE, PREFIX, SHA256, packaged_weights
from taudis.types import Float32, Image, check_image

SIDE = 224
"""Longer side, px, of an embedded image: the size at which the weights were trained."""
LEVEL = 2
"""Stage of the backbone whose feature map is averaged, 0 (stride 4) to 3 (stride 32).

Stage 2 has 112 channels and stride 16. docs/selection.md compares the stages.
"""


@dataclass(frozen=True, eq=False)
class ImageEmbedder:
    """The packaged ImageNet backbone up to a stage; an embedding is its mean feature map."""

    body: nn.Module
    width: int  # D, of an embedding
    made_by: str  # identifies the weights and settings, which embeddings depend on
    mean: tuple[float, float, float]  # of pixels, R, G, B, 0..1
    std: tuple[float, float, float]  # of pixels, R, G, B

    @classmethod
    def packaged(cls, folder: Path | None = None, *, level: int = LEVEL) -> ImageEmbedder:
        """An embedder with the installed ImageNet weights, whatever weights the detector has.

        folder: keeps the converted weights. Raises WeightsError if the weights are missing.
        """
        state = packaged_weights(folder)
        body, stages, widths = make_backbone(BACKBONE, "folded")
        body.load_state_dict({name.removeprefix(PREFIX): value for name, value in state.items()})
        end = next(child for child, name in stages.items() if name == str(level))
        kept = nn.Sequential()
        for name, child in body.named_children():
            kept.add_module(name, child)
            if name == end:
                break
        config = ModelConfig(backbone=BACKBONE)
        kept = kept.eval().to(memory_format=torch.channels_last)
        made_by = f"{BACKBONE}, weights {SHA256}, level {level}, {SIDE} px"
        return cls(kept, widths[level], made_by, config.image_mean, config.image_std)

    @torch.inference_mode()
    def embed(self, image: Image) -> Float32:
        """The embedding [D] of an image, scaled to SIDE px. Raises DataError if it is not an image.

        It depends only on this image, which goes through the backbone alone and without padding.
        """
        check_image(image)
        found: Float32 = self.body(self.prepared(image)).mean((0, 2, 3)).numpy()
        return found

    def prepared(self, image: Image) -> Tensor:
        """An image [H,W,3] as input of the backbone: [1,3,h,w], the longer side SIDE px."""
        height, width, _ = image.shape
        scale = SIDE / max(height, width)
        size = max(1, round(height * scale)), max(1, round(width * scale))
        # Scaled as uint8, because an image of 12 Mpx takes 144 MB in float32.
        pixels = torch.tensor(image).permute(2, 0, 1)[None]
        small = functional.interpolate(pixels, size=size, mode="bilinear", antialias=True)
        mean, std = (
            small.new_tensor(v, dtype=torch.float32)[:, None, None] for v in (self.mean, self.std)
        )
        ready = small.float().div_(255).sub_(mean).div_(std)
        return ready.contiguous(memory_format=torch.channels_last)
