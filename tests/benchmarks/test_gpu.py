"""The GPU benchmark runs with tiny sizes on any machine."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import gpu
from taudis.detector.mask_rcnn import has_bf16


@pytest.mark.slow
def test_it_runs_tiny_and_prints_its_figures(capsys):
    gpu.main(["--size", "96", "--batch", "1", "--steps", "1", "--rounds", "1", "--workers", "0"])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    for name in ("train_over_reference", "one_pass_over_stock"):
        assert figures[name] > 0
    device = "cuda" if torch.cuda.is_available() else "cpu"
    assert (figures["one_pass_over_stock_bf16"] is not None) == has_bf16(device)
    assert figures["train_images_per_s"] > 0 and figures["score_images_per_s"] > 0
    assert (figures["score_over_cpu"] is None) == (device == "cpu")
