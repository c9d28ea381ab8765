"""A Mask2Former in training: the masks that its loss gets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from taudis.detector import mask2former as model_file
from tests.taudis.detector_cases import mask2former, picture

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ours():
    return mask2former(seed=1)


@pytest.mark.parametrize("limit", [1, 4_000_000])
def test_the_loss_gets_the_share_of_each_cell_that_an_object_covers(monkeypatch, ours, limit):
    """From whole masks it would be the same, but for points between two cells."""
    monkeypatch.setattr(model_file, "CHUNK_CELLS", limit)
    image, target = picture(5, 64, 72)
    masks = torch.from_numpy(target.masks)
    given = [{"masks": masks, "labels": torch.tensor([1, 2])}]
    pixels, seen = torch.from_numpy(image).permute(2, 0, 1).float() / 255, []
    network = ours.model.network
    hook = network.register_forward_pre_hook(
        lambda _module, _args, kwargs: seen.append(kwargs["mask_labels"]), with_kwargs=True
    )
    torch.manual_seed(0)
    loss = ours.model([pixels], given)["loss"].detach()
    hook.remove()
    (cells,) = seen[0]
    whole = np.zeros((2, 64, 96), np.float32)  # padded to multiples of 32 px
    whole[:, :, :72] = target.masks
    assert np.array_equal(cells, whole.reshape(2, 16, 4, 24, 4).mean((2, 4)))
    torch.manual_seed(0)
    found = network(
        pixel_values=ours.model.batch([pixels]), mask_labels=[torch.from_numpy(whole)],
        class_labels=[torch.tensor([0, 1])],
    )  # fmt: skip
    assert loss.item() == pytest.approx(found.loss.item(), rel=0.05)
    empty = {"masks": masks[:0], "labels": torch.zeros(0, dtype=torch.int64)}
    assert torch.isfinite(ours.model([pixels], [empty])["loss"].detach())
