"""Layers with their ReLU in a single call of oneDNN, for inference on a CPU.

PyTorch's compiler calls `torch.ops.mkldnn._convolution_pointwise` and `_linear_pointwise` (2.15).
These names are private. If a build does not have them, layer and ReLU are called separately, with
the same result.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops.misc import Conv2dNormActivation

_KINDS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
}

LAYOUTS = 5
"""Input shapes for which a convolution keeps reordered weights: the five levels of the RPN."""


def own(values: Tensor, dtype: torch.dtype) -> Tensor:
    """A constant copy of weights."""
    return values.detach().to(dtype).contiguous()


def prepared(module: nn.Module, dtype: torch.dtype) -> Any:
    """A copy of the module for inference, in which each convolution and its ReLU are one call."""
    made: Any = copy.deepcopy(module)
    made = made.to(dtype=dtype, memory_format=torch.channels_last)
    made.requires_grad_(False)
    _fuse(made)
    return made


def _fuse(module: nn.Module) -> None:
    for name, child in module.named_children():
        parts = list(child) if isinstance(child, Conv2dNormActivation) else []
        kinds = [type(part) for part in parts if not isinstance(part, nn.Identity)]
        if kinds == [nn.Conv2d] or (len(kinds) == 2 and kinds[1] in _KINDS):
            kind = kinds[1] if len(kinds) == 2 else None
            setattr(module, name, Fused(parts[0], kind, parts[0].weight.dtype))
        else:
            _fuse(child)


def joined(*convolutions: nn.Conv2d) -> nn.Module:
    """A 1x1 convolution whose output concatenates the channels of the given 1x1 convolutions."""
    first = convolutions[0]
    made: Any = nn.Conv2d(first.in_channels, sum(each.out_channels for each in convolutions), 1)
    made.weight.data = torch.cat([each.weight.detach() for each in convolutions])
    made.bias.data = torch.cat(
        [each.bias.detach() for each in convolutions if each.bias is not None]
    )
    return Fused(made, None, first.weight.dtype)


def linear_relu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A fully connected layer and its ReLU. x: [n,C], weight: [D,C], bias: [D]. Returns [n,D]."""
    call: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if call is None:
        return functional.linear(x, weight, bias).relu_()
    found: Tensor = call.default(x, weight, bias, "relu", [], "")
    return found


class Fused(nn.Module):
    """A convolution and its ReLU in one call of oneDNN."""

    def __init__(
        self,
        convolution: nn.Conv2d,
        kind: type[nn.Module] | None,
        dtype: torch.dtype,
    ) -> None:
        """kind: the activation, nn.ReLU, nn.ReLU6 or None."""
        super().__init__()
        conv = convolution
        self.bias = None if conv.bias is None else own(conv.bias, dtype)
        self.weight = own(conv.weight, dtype).to(memory_format=torch.channels_last)
        self.sizes: tuple[Any, ...] = (
            list(conv.padding),
            list(conv.stride),
            list(conv.dilation),
            conv.groups,
        )
        self.name, self.scalars = _KINDS[kind] if kind else ("none", [])
        self.kind = kind
        self.packed: dict[torch.Size, Tensor] = {}
        self.call: Any = getattr(torch.ops.mkldnn, "_convolution_pointwise", None)
        if self.call is not None:
            self.call = self.call.default

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,h,w] to [B,C',h',w']."""
        padding, stride, dilation, groups = self.sizes
        if self.call is not None:
            found: Tensor = self.call(
                x, self._packed_for(x.shape), self.bias, padding, stride, dilation, groups,
                self.name, self.scalars, "",
            )  # fmt: skip
            return found
        y = functional.conv2d(x, self.weight, self.bias, stride, padding, dilation, groups)
        return y if self.kind is None else self.kind(inplace=True)(y)

    def _packed_for(self, shape: torch.Size) -> Tensor:
        """The weights in oneDNN's layout for inputs of this shape.

        Weights in another layout are converted in each call by a slow kernel. A layer of 1,152
        channels then takes 10 ms instead of 0.15 ms.
        """
        packed = self.packed.pop(shape, None)
        if packed is None:
            packed = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, *self.sizes, list(shape)
            )
            if len(self.packed) == LAYOUTS:
                del self.packed[next(iter(self.packed))]
        self.packed[shape] = packed  # as the last entry: the first is the least recently used
        return packed
