"""RoI align by a table gives what torchvision's gives, and the same gradients."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign

from taudis.detector.roi_align import RoITable, read_by_table
from tests.taudis.detector_cases import detector

NAMES = ["0", "1", "2", "3"]


def maps():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 8, 320 // s, 416 // s, generator=generator) for s in (4, 8, 16, 32)]


def rois():
    """25 and 35 RoIs of all levels; on the border, beyond it, and without area."""
    generator = torch.Generator().manual_seed(1)
    corners = torch.rand(60, 2, generator=generator) * torch.tensor([416.0, 320.0])
    sides = 2 ** (torch.rand(60, 2, generator=generator) * 9)
    boxes = torch.cat([corners, corners + sides], 1)
    boxes[:20] = boxes[:20].clamp(max=319)
    boxes[20] = torch.tensor([5.0, 5.0, 5.0, 5.0])
    boxes[21] = torch.tensor([-30.0, -30.0, 700.0, 700.0])
    return [boxes[:25], boxes[25:]]


@pytest.mark.parametrize("cells", [7, 14])
def test_rois_are_read_as_torchvision_reads_them(cells):
    levels = maps()
    wanted = MultiScaleRoIAlign(NAMES, cells, 2)(
        dict(zip(NAMES, levels, strict=True)), rois(), [(320, 416)] * 2
    )
    image = torch.tensor([0] * 25 + [1] * 35)
    table = RoITable([level.to(memory_format=torch.channels_last) for level in levels])
    found = table.pooled(torch.cat(rois()), image, cells).view(60, cells, cells, 8)
    torch.testing.assert_close(found.permute(0, 3, 1, 2), wanted, rtol=1e-4, atol=1e-4)


def test_a_batch_in_parts_has_the_table_and_the_maps_of_the_whole():
    levels = maps()
    parts = [[level[row : row + 1] for level in levels] for row in range(2)]
    whole, joined = RoITable(levels), RoITable(*parts)
    for part, level in zip(joined.maps(), levels, strict=True):
        assert torch.equal(part, level)
        assert part.is_contiguous(memory_format=torch.channels_last)
    image = torch.tensor([0] * 25 + [1] * 35)
    found, wanted = (each.pooled(torch.cat(rois()), image, 7) for each in (joined, whole))
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("branch", ["box_roi_pool", "mask_roi_pool"])
def test_a_model_in_training_gets_the_same_rois_and_gradients(branch):
    model = detector().model
    stock = getattr(model.roi_heads, branch)
    results = []
    with read_by_table(model):
        table = getattr(model.roi_heads, branch)
        assert table is not stock
        for pool in (stock, table):
            levels = [level.requires_grad_() for level in maps()]
            found = pool(dict(zip(NAMES, levels, strict=True)), rois(), [(320, 416)] * 2)
            (found * torch.linspace(-1, 1, found.numel()).view(found.shape)).sum().backward()
            results.append((found.detach(), [level.grad for level in levels]))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)
    assert getattr(model.roi_heads, branch) is stock


def test_the_stock_parts_come_back_after_an_error():
    model = detector().model
    stock = model.roi_heads.box_roi_pool
    with pytest.raises(KeyError, match="lost"), read_by_table(model):
        raise KeyError("lost")
    assert model.roi_heads.box_roi_pool is stock


def test_a_model_without_boxes_gives_no_rois():
    model = detector().model
    features = dict(zip(NAMES, maps(), strict=True))
    with read_by_table(model):
        found = model.roi_heads.mask_roi_pool(features, [torch.zeros(0, 4)] * 2, [(320, 416)] * 2)
    assert found.shape == (0, 8, 14, 14)


def test_other_samples_are_left_to_torchvision():
    model = detector().model
    other = MultiScaleRoIAlign(NAMES, 7, 4)
    model.roi_heads.box_roi_pool = other
    with read_by_table(model):
        assert model.roi_heads.box_roi_pool is other
