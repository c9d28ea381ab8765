"""Embeds whole images by an ImageNet backbone: an order before there is a detector reads them."""

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
"""Longer side, px, of an embedded image: the size that the weights were trained at."""
LEVEL = 2
"""Stage of the backbone, 0 (stride 4) to 3 (stride 32), whose feature map is averaged: 112 channels
at stride 16. docs/selection.md has the comparison with the others.
"""


@dataclass(frozen=True, eq=False)
class ImageEmbedder:
    """The packaged ImageNet backbone up to a stage; an embedding is its mean feature map."""

    body: nn.Module
    width: int  # D, of an embedding
    made_by: str  # what embeddings depend on, besides the image
    mean: tuple[float, float, float]  # of pixels, R, G, B, 0..1
    std: tuple[float, float, float]

    @classmethod
    def packaged(cls, folder: Path | None = None, *, level: int = LEVEL) -> ImageEmbedder:
        """With the weights that come with the installation, whatever the detector starts from.

        `folder`: where they are kept once converted. Raises WeightsError where they are missing.
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
        """The embedding [D] of an image, which is scaled to SIDE px. Raises DataError for no image.

        It depends on this image alone: each goes through the backbone by itself, without padding.
        """
        check_image(image)
        found: Float32 = self.body(self.prepared(image)).mean((0, 2, 3)).numpy()
        return found

    def prepared(self, image: Image) -> Tensor:
        """An image [H,W,3] as the backbone takes it: [1,3,h,w], the longer side SIDE px."""
        height, width, _ = image.shape
        scale = SIDE / max(height, width)
        size = max(1, round(height * scale)), max(1, round(width * scale))
        # Scaled as bytes: in float32 a picture of 12 Mpx takes 144 MB.
        pixels = torch.tensor(image).permute(2, 0, 1)[None]
        small = functional.interpolate(pixels, size=size, mode="bilinear", antialias=True)
        mean, std = (
            small.new_tensor(v, dtype=torch.float32)[:, None, None] for v in (self.mean, self.std)
        )
        ready = small.float().div_(255).sub_(mean).div_(std)
        return ready.contiguous(memory_format=torch.channels_last)
