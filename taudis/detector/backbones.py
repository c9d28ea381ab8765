"""Builds the backbones of the detector, without their classifiers.

ResNet, MobileNetV2 and MobileNetV3 are from torchvision. EfficientNet-lite0 is built here from
torchvision's blocks, because torchvision has EfficientNet only with squeeze-and-excitation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision import models
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.misc import Conv2dNormActivation

Backbone = Literal[
    "efficientnet_lite0", "resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_large"
]
Norm = Literal["group", "batch", "frozen", "folded"]
"""The normalisation layers of a backbone. "folded": each convolution includes its batch norm."""
NormLayer = Callable[[int], nn.Module]

EPSILON = {"efficientnet_lite0": 1e-3, "mobilenet_v3_large": 1e-3}
"""Epsilon of batch norms, for backbones that were trained in TensorFlow; PyTorch's is 1e-5."""

LITE0 = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
"""Stages of EfficientNet-lite0: (expansion, kernel, stride, channels, number of blocks)."""


class MBConv(nn.Module):
    """Inverted residual block: expansion, depthwise convolution, linear projection.

    Sandler et al., MobileNetV2, 2018, with the kernel sizes of EfficientNet (Tan and Le, 2019).
    """

    def __init__(
        self, channels: tuple[int, int], expansion: int, kernel: int, stride: int, norm: NormLayer
    ) -> None:
        super().__init__()
        inside, outside = channels
        hidden = inside * expansion
        unit = partial(Conv2dNormActivation, norm_layer=norm, activation_layer=nn.ReLU6)
        layers = [unit(inside, hidden, 1)] if expansion > 1 else []
        layers.append(unit(hidden, hidden, kernel, stride, groups=hidden))
        layers.append(
            Conv2dNormActivation(hidden, outside, 1, norm_layer=norm, activation_layer=None)
        )
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps [B,C,h,w] to [B,C',h/stride,w/stride]."""
        *expansion, depthwise, projection = self.layers
        y: Tensor = x
        for layer in expansion:
            y = layer(y)
        if y.requires_grad and y.device.type == "cpu":
            # oneDNN computes the gradient of a depthwise convolution 5 to 10 times faster in
            # float32 than in bfloat16 (PyTorch 2.15, an Intel Xeon with AMX).
            with torch.autocast("cpu", enabled=False):
                y = depthwise(y.float())
        else:
            y = depthwise(y)
        y = projection(y)
        return x + y if self.residual else y


def efficientnet_lite0(norm: NormLayer) -> nn.Sequential:
    """EfficientNet-lite0 up to its last block: a stem and 16 blocks, 0 to 16.

    No squeeze-and-excitation, ReLU6 everywhere. Padding is symmetric, as in PyTorch.
    """
    blocks: list[nn.Module] = [
        Conv2dNormActivation(3, 32, 3, 2, norm_layer=norm, activation_layer=nn.ReLU6)
    ]
    before = 32
    for expansion, kernel, stride, channels, count in LITE0:
        for number in range(count):
            step = stride if number == 0 else 1
            blocks.append(MBConv((before, channels), expansion, kernel, step, norm))
            before = channels
    return nn.Sequential(*blocks)


def make_backbone(name: Backbone, norm: Norm) -> tuple[nn.Module, dict[str, str], list[int]]:
    """A freshly initialised backbone without its classifier, and its stages.

    Returns the module; a dictionary from the last child of each stage to the name of its feature
    map ("0" for stride 4 to "3" for stride 32); and the channels of the four feature maps.
    """
    body: Any
    if name == "efficientnet_lite0":
        body = efficientnet_lite0(_norm_layer(name, norm))
        layers, widths = {"3": "0", "5": "1", "11": "2", "16": "3"}, [24, 40, 112, 320]
    elif name.startswith("mobilenet"):
        body = getattr(models, name)(weights=None, norm_layer=_norm_layer(name, norm)).features
        if name == "mobilenet_v2":
            body = body[:-1]  # its last layer widens 320 channels to 1,280 for the classifier
        # As in torchvision's detectors, a stage ends before a block that halves the resolution.
        strided = [row for row, block in enumerate(body) if getattr(block, "_is_cn", False)]
        ends = [*(row - 1 for row in strided[1:]), len(body) - 1]
        layers = {str(row): str(level) for level, row in enumerate(ends)}
        widths = [body[row].out_channels for row in ends]
    else:
        body = getattr(models, name)(weights=None, norm_layer=_norm_layer(name, norm))
        layers = {f"layer{stage}": str(stage - 1) for stage in (1, 2, 3, 4)}
        widths = [body.inplanes // 8 * 2**stage for stage in range(4)]
        del body.avgpool, body.fc
    if norm == "folded":
        fold_batch_norms(body)
    return body, layers, widths


def _norm_layer(name: Backbone, norm: Norm) -> NormLayer:
    if norm == "group":
        return lambda channels: nn.GroupNorm(math.gcd(32, channels), channels)
    if norm == "frozen":
        frozen: NormLayer = FrozenBatchNorm2d
        return frozen
    return partial(nn.BatchNorm2d, eps=EPSILON.get(name, 1e-5))


def fold_batch_norms(module: nn.Module) -> None:
    """Replace each convolution and the batch norm after it by a single convolution.

    In evaluation the module gives the same results, in two thirds of the time (decision 22). In
    training it needs no batch statistics, which would be poor for batches of four images.
    """
    module.eval()
    before: tuple[str, nn.Module] = ("", module)
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d) and isinstance(before[1], nn.Conv2d):
            folded = fuse_conv_bn_eval(before[1], child)
            # PyTorch 2.15 adds the bias, if the convolution had none, without a gradient.
            setattr(module, before[0], folded.requires_grad_(True))
            setattr(module, name, nn.Identity())
        else:
            fold_batch_norms(child)
        before = (name, child)
