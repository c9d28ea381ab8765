"""Other forms of layers give the outputs and gradients of torch's layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from taudis.detector.gradients import fast_gradients
from tests.taudis.detector_cases import detector


def both(layer, form, x, *, places=None):
    """Outputs and gradients of a layer and of its other form, by input and parameters."""
    results = []
    for run in (layer, form):
        given = x.clone().requires_grad_()
        layer.zero_grad()
        y = run(given)
        (y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum().backward()
        grads = [each.grad.clone() for each in layer.parameters() if each.grad is not None]
        results.append([y.detach(), given.grad, *grads])
    return results


def swapped(layer):
    """The form that takes the place of a layer while a model trains."""
    model = detector().model
    model.backbone.layer = layer
    with fast_gradients(model):
        return model.backbone.layer


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("padding", [1, 2])
@pytest.mark.parametrize("shape", [(4, 24, 6, 6), (1, 8, 13, 7), (2, 8, 3, 3)])
def test_a_depthwise_convolution_has_the_gradients_of_the_stock_one(shape, padding, bias):
    torch.manual_seed(0)
    layer = nn.Conv2d(shape[1], shape[1], 5, padding=padding, groups=shape[1], bias=bias)
    stock, ours = both(layer, swapped(layer), torch.randn(shape))
    assert len(ours) == len(stock) == (4 if bias else 3)
    torch.testing.assert_close(ours, stock, rtol=1e-4, atol=1e-4)


def test_a_frozen_depthwise_convolution_gets_no_gradient():
    layer = nn.Conv2d(4, 4, 5, padding=2, groups=4).requires_grad_(False)
    given = torch.randn(1, 4, 6, 6, requires_grad=True)
    swapped(layer)(given).sum().backward()
    assert given.grad is not None
    assert layer.weight.grad is layer.bias.grad is None


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv2d(8, 8, 5),
        nn.Conv2d(8, 8, 5, groups=8, dilation=2),
        nn.Conv2d(8, 8, 5, groups=8, stride=2),
        nn.ConvTranspose2d(8, 8, 3, 3),
    ],
)
def test_other_layers_stay(layer):
    assert swapped(layer) is layer


@pytest.mark.parametrize("rois", [3, 0])  # none, where no proposal lies on an object
def test_the_mask_head_in_training_has_the_gradients_of_the_stock_one(rois):
    torch.manual_seed(0)
    model = detector().model
    predictor = model.roi_heads.mask_predictor
    layer = predictor.conv5_mask
    names = list(model.state_dict())
    with fast_gradients(model):
        other = predictor.conv5_mask
        assert other is not layer
    assert predictor.conv5_mask is layer
    assert list(model.state_dict()) == names
    stock, ours = both(layer, other, torch.randn(rois, layer.in_channels, 14, 14))
    torch.testing.assert_close(ours, stock, rtol=1e-4, atol=1e-4)
