"""Files of initial weights that were changed are refused, though torch reads them."""

import re

import pytest
import torch

from taudis.detector.weights import check_weights
from taudis.errors import WeightsError


def test_a_changed_torch_file_is_refused_though_torch_loads_it(tmp_path):
    file = tmp_path / "own.pth"
    torch.save({"conv1.weight": torch.arange(3000.0)}, file)
    assert check_weights(str(file)).endswith("1 tensors of a backbone")
    content = bytearray(file.read_bytes())
    at = content.index(torch.arange(3000.0).numpy().tobytes()) + 400
    content[at] ^= 1
    file.write_bytes(content)
    loaded = torch.load(file, weights_only=True)["conv1.weight"]
    assert not torch.equal(loaded, torch.arange(3000.0))
    with pytest.raises(WeightsError, match=r"own\.pth: .* was changed: it does not fit its CRC-32"):
        check_weights(str(file))


def test_a_file_of_before_pytorch_1_6_has_no_sums_and_is_read(tmp_path):
    file = tmp_path / "old.pth"
    torch.save({"a": torch.zeros(3)}, file, _use_new_zipfile_serialization=False)
    assert "1 tensors" in check_weights(str(file))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_numbers_that_are_not_finite_are_named(tmp_path, value):
    file = tmp_path / "own.pth"
    torch.save({"good": torch.zeros(3), "bn1.bias": torch.tensor([0.0, value])}, file)
    with pytest.raises(WeightsError, match=r"own\.pth': bn1\.bias holds numbers that are not"):
        check_weights(str(file))


def test_coco_weights_that_changed_in_torchs_cache_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    name = "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth"
    file = tmp_path / "hub" / "checkpoints" / name
    file.parent.mkdir(parents=True)
    torch.save({"a": torch.zeros(1)}, file)  # torch.hub reads it without a look at its name
    says = f"{re.escape(name)}: expected a SHA-256 that begins with bf2d0c1e"
    with pytest.raises(WeightsError, match=says):
        check_weights("coco")
