"""The class predictor of a Mask2Former's initial weights is of other labels."""

from __future__ import annotations

import pytest
import torch

from taudis.detector.mask2former import build_model, config_of_folder
from tests.taudis.detector_cases import TINY_QUERIES

pytest.importorskip("transformers")


def test_a_folder_with_as_many_labels_gives_no_class_predictor(tmp_path):
    """transformers loads it, because the shapes agree."""
    given = build_model(TINY_QUERIES, 3, seed=5).network
    given.save_pretrained(tmp_path)
    config = config_of_folder(tmp_path)
    made = build_model(config, 3, seed=1, weights=str(tmp_path)).network.class_predictor
    assert made.weight.shape == given.class_predictor.weight.shape
    assert not torch.equal(made.weight, given.class_predictor.weight)
