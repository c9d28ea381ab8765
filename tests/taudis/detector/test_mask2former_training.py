"""A Mask2Former in training: the masks that its loss gets, and a start with more queries."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from taudis.detector import mask2former as model_file
from taudis.detector.checkpoint import check_start, model_of_checkpoint, save_checkpoint
from taudis.detector.mask2former import QUERY_TENSORS
from taudis.errors import CheckpointError
from tests.taudis.detector_cases import LABELS, mask2former, picture

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


def first_answers(model, image):
    """What each query says before any query attends to another one: classes [Q,K+1], masks."""
    network = model.eval().network
    with torch.inference_mode():
        found = network(model.batch([image]), output_auxiliary_logits=True)
    first = found.auxiliary_logits[0]
    return first["class_queries_logits"][0], first["masks_queries_logits"][0]


def test_a_model_goes_on_with_more_queries_and_never_with_fewer(tmp_path, ours):
    save_checkpoint(tmp_path / "v1", ours, card={})
    more, own = ours.config.with_queries(40), ours.model.state_dict()
    assert (ours.config.queries, more.queries) == (12, 52)
    assert check_start(tmp_path / "v1", more, LABELS) == more
    grown = model_of_checkpoint(tmp_path / "v1", more, LABELS)
    state = grown.state_dict()
    assert {name for name in state if not torch.equal(state[name], own[name])} == {*QUERY_TENSORS}
    assert all(torch.equal(state[name][:12], own[name]) for name in QUERY_TENSORS)
    image = torch.from_numpy(picture(3, 40, 56)[0]).permute(2, 0, 1).float() / 255
    pairs = zip(first_answers(ours.model, image), first_answers(grown, image), strict=True)
    for before, after in pairs:
        assert len(after) == 52 and torch.allclose(before, after[:12], atol=1e-5)
    again = model_of_checkpoint(tmp_path / "v1", more, LABELS).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in state.items())

    save_checkpoint(tmp_path / "v2", dataclasses.replace(ours, model=grown, config=more), card={})
    assert check_start(tmp_path / "v2", ours.config, LABELS) == more
    assert len(first_answers(model_of_checkpoint(tmp_path / "v2", more, LABELS), image)[0]) == 52
    with pytest.raises(CheckpointError, match="at least the checkpoint's queries, got fewer"):
        model_of_checkpoint(tmp_path / "v2", ours.config, LABELS)
