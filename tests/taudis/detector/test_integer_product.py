"""PyTorch's product of whole numbers is handed out only where it is fast and exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from taudis.detector.integer_product import fast_integer_product


def test_it_is_exact_at_its_largest():
    product = fast_integer_product()
    if product is None:
        pytest.skip("this processor, or this PyTorch, does not multiply whole numbers fast")
    rng = np.random.default_rng(0)
    rows, columns = (rng.choice(np.array([-127, -1, 0, 127], np.int8), (n, 256)) for n in (70, 130))
    got = np.empty((70, 130), np.int32)
    product(rows, columns, got)
    assert np.array_equal(got, rows.astype(np.int32) @ columns.T.astype(np.int32))


@pytest.mark.filterwarnings("ignore:TF32 acceleration")  # PyTorch 2.15, whatever flag is set
def test_without_fast_instructions_or_with_an_overflow_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_vnni": True})
    monkeypatch.setattr(torch, "_int_mm", lambda one, other, out: out.fill_(0))
    assert fast_integer_product() is None
    monkeypatch.setattr(
        torch, "_int_mm", lambda one, other, out: out.copy_(one.int() @ other.int())
    )
    assert fast_integer_product() is not None
    with torch.backends.mkldnn.flags(enabled=False):  # then PyTorch multiplies number by number
        assert fast_integer_product() is None
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    assert fast_integer_product() is None
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_vnni": True})
    monkeypatch.delattr(torch, "_int_mm")
    assert fast_integer_product() is None
