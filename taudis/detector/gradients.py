"""Faster forms of layers whose gradients are slow on a CPU.

Outputs and gradients equal those of torch's layers up to rounding. The times below are for one core
of an Intel Xeon with AMX and PyTorch 2.15.

Letters: n maps, C and C' channels, h and w of a map.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torchvision.models.detection import MaskRCNN

from taudis.detector.roi_align import read_by_table


class _Depthwise(torch.autograd.Function):
    """A 5 x 5 depthwise convolution whose weight gradient is computed in four 3 x 3 parts.

    At [4,1152,6,6], oneDNN takes 6.5 ms for a 5 x 5 weight gradient and 0.15 ms for a 3 x 3 one.
    Four 3 x 3 gradients from shifted inputs cover the 5 x 5 weights. The whole backward pass takes
    2.7 ms instead of 7.2 ms. With stride 2 it is not used, because the copies of the inputs take as
    much time as is gained.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding = padding
        return functional.conv2d(x, weight, bias, padding=padding, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        of_x = of_weight = of_bias = None
        if wants_x:
            of_x = _backward(gradient, x, weight, ctx.padding, (True, False, False))[0]
        if wants_weight:
            of_weight = _by_parts(gradient, x, weight, ctx.padding)
        if wants_bias:
            of_bias = gradient.sum((0, 2, 3))
        return of_x, of_weight, of_bias, None


def _by_parts(gradient: Tensor, x: Tensor, weight: Tensor, padding: int) -> Tensor:
    """The weight gradient [C,1,5,5]."""
    found, part = torch.empty_like(weight), weight[..., :3, :3].contiguous()
    padded = functional.pad(x, (padding,) * 4)
    height, width = (side + 2 for side in gradient.shape[2:])
    for row in (0, 2):
        for column in (0, 2):
            some = padded[:, :, row : row + height, column : column + width]
            some = some.contiguous(memory_format=torch.channels_last)
            gradients = _backward(gradient, some, part, 0, (False, True, False))
            found[..., row : row + 3, column : column + 3] = gradients[1]
    return found


def _backward(
    gradient: Tensor, x: Tensor, weight: Tensor, padding: int, wanted: tuple[bool, ...]
) -> Any:
    """The wanted gradients of a depthwise convolution, with respect to (input, weight, bias)."""
    sides = [1, 1], [padding] * 2, [1, 1]
    return torch.ops.aten.convolution_backward(
        gradient, x, weight, None, *sides, False, [0, 0], len(weight), list(wanted)
    )


class _ByParts(nn.Module):
    """A 5 x 5 depthwise convolution on a CPU, with fast gradients in float32."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        # In a tuple, so that it is no submodule here and its parameters keep their names.
        self.convolution = (convolution,)

    @staticmethod
    def fits(layer: nn.Module) -> bool:
        """Whether the layer is such a convolution."""
        return (
            isinstance(layer, nn.Conv2d)
            and layer.groups == layer.in_channels == layer.out_channels
            and (layer.kernel_size, layer.dilation) == ((5, 5), (1, 1))
            and layer.padding in ((0, 0), (1, 1), (2, 2))
            and layer.stride == (1, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[n,C,h,w] to [n,C,h,w], for a padding of 2."""
        (convolution,) = self.convolution
        weight, bias = convolution.weight, convolution.bias
        if x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            found: Tensor = convolution(x)
            return found
        result: Tensor = _Depthwise.apply(x, weight, bias, int(convolution.padding[0]))
        return result


class _ByMatrix(nn.Module):
    """A 2 x 2 transposed convolution with stride 2, as a matrix for its four output cells.

    With the layers after it, forward and backward take 15 ms instead of 39 ms for 64 RoIs in
    bfloat16.
    """

    def __init__(self, convolution: nn.ConvTranspose2d) -> None:
        super().__init__()
        self.convolution = (convolution,)

    @staticmethod
    def fits(layer: nn.Module) -> bool:
        """Whether the layer is such a convolution."""
        return (
            isinstance(layer, nn.ConvTranspose2d)
            and layer.kernel_size == layer.stride == (2, 2)
            and (layer.padding, layer.output_padding) == ((0, 0), (0, 0))
            and (layer.groups, layer.dilation) == (1, (1, 1))
        )

    def forward(self, x: Tensor) -> Tensor:
        """[n,C,h,w] to [n,C',2h,2w]."""
        (convolution,) = self.convolution
        weight, bias = convolution.weight, convolution.bias
        count, channels, height, width = x.shape
        outside = weight.shape[1]
        rows = x.permute(0, 2, 3, 1).reshape(count * height * width, channels)
        cells = functional.linear(
            rows,
            weight.permute(2, 3, 1, 0).reshape(4 * outside, channels),
            None if bias is None else bias.repeat(4),
        )
        cells = cells.view(count, height, width, 2, 2, outside).permute(0, 1, 3, 2, 4, 5)
        return cells.reshape(count, 2 * height, 2 * width, outside).permute(0, 3, 1, 2)


@contextmanager
def fast_gradients(model: MaskRCNN) -> Iterator[None]:
    """In this context, a model on a CPU uses the faster layers of this file and `RoITable`."""
    found = [
        (parent, name, layer, form)
        for parent in model.modules()
        for name, layer in parent.named_children()
        for form in (_ByParts, _ByMatrix)
        if form.fits(layer)
    ]
    with read_by_table(model):
        try:
            for parent, name, layer, form in found:
                setattr(parent, name, form(layer))
            yield
        finally:
            for parent, name, layer, _ in found:
                setattr(parent, name, layer)
