"""What is exported sees the same without this library: bit for bit in torch, closely in ONNX."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from taudis.detector.architecture import ModelConfig
from taudis.detector.checkpoint import save_checkpoint
from taudis.detector.export import export_torchvision
from taudis.detector.mask_rcnn import to_tensor
from taudis.detector.onnx_export import export_onnx
from taudis.errors import CheckpointError, ExportError
from tests.taudis.detector_cases import PRETRAINED_TINY, TINY, detector, picture

SIZES = [(64, 64), (50, 90), (120, 200), (7, 300), (96, 33)]
STANDARD = dataclasses.replace(
    ModelConfig.standard(), norm="group", min_size=80, max_size=140, fpn_width=16, box_mlp=16,
    mask_head=(16, 16), mask_deconv=16, proposals=30, detections_per_image=20,
)  # fmt: skip

ELSEWHERE = """
import sys
sys.path.insert(0, ".")
import numpy, torch
torch.set_num_threads(int(sys.argv[1]))  # sums are split by threads, and rounded by the split
from model import load
assert not any(name.split(".")[0] == "taudis" for name in sys.modules)
model = load()
state = torch.load("model.pt", weights_only=True)
assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
images = numpy.load("images.npz")
with torch.inference_mode():
    found = model([torch.from_numpy(images[name]) for name in images.files])
numpy.savez("found.npz", **{f"{i}.{k}": v for i, f in enumerate(found) for k, v in f.items()})
"""


def pictures():
    """Images of several sizes, some without any object."""
    made = [picture(seed, *size)[0] for seed, size in enumerate(SIZES[:3])]
    return made + [np.full((*size, 3), 128, np.uint8) for size in SIZES[3:]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "config", [TINY, PRETRAINED_TINY, STANDARD], ids=["small", "pretrained", "standard"]
)
def test_another_python_with_torchvision_alone_sees_the_same(config, tmp_path):
    ours = detector(seed=3, config=config)
    save_checkpoint(tmp_path / "v1", ours, card={"recipe": "none"})
    out = tmp_path / "out"
    out.mkdir()
    export_torchvision(tmp_path / "v1", out)
    tensors = [to_tensor(image) for image in pictures()]
    np.savez(out / "images.npz", **{str(row): t.numpy() for row, t in enumerate(tensors)})
    threads = str(torch.get_num_threads())
    command = [sys.executable, "-I", "-c", ELSEWHERE, threads]
    subprocess.run(command, cwd=out, check=True, timeout=120)
    ours.model.eval()
    with torch.inference_mode():
        wanted = ours.model(tensors)
    there = np.load(out / "found.npz")
    count = 0
    for row, found in enumerate(wanted):
        count += len(found["labels"])
        for name, value in found.items():
            assert np.array_equal(there[f"{row}.{name}"], value.numpy()), (row, name)
    print(f"{count} detections on {len(tensors)} images, all equal")
    assert count
    assert json.loads((out / "card.json").read_text())["labels"] == ["square", "bar"]


def test_a_damaged_checkpoint_is_not_exported(tmp_path):
    save_checkpoint(tmp_path / "v1", detector(), card={})
    weights = tmp_path / "v1" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    (tmp_path / "out").mkdir()
    with pytest.raises(CheckpointError, match=r"weights\.safetensors"):
        export_torchvision(tmp_path / "v1", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_onnx_without_its_packages_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ExportError, match="pip install onnx onnxruntime"):
        export_onnx(detector(), tmp_path / "model.onnx", pictures())
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    "config", [TINY, PRETRAINED_TINY, STANDARD], ids=["small", "pretrained", "standard"]
)
@pytest.mark.parametrize("threshold", [0.05, 0.6, 1.0])  # all, some, no detections
def test_onnx_sees_what_torch_sees(config, threshold, tmp_path):
    ours = detector(seed=1, config=dataclasses.replace(config, score_threshold=threshold))
    found = export_onnx(ours, tmp_path / "model.onnx", pictures())
    print(found)
    assert (found.detections > 0) is (threshold < 0.9)
    assert (tmp_path / "model.onnx").stat().st_size > 100_000
    assert ours.model.transform.config == ours.config  # the detector itself is as it was


@pytest.mark.slow
def test_onnx_traced_on_an_empty_image_still_detects(tmp_path):
    ours = detector(seed=1, config=dataclasses.replace(TINY, score_threshold=0.6))
    images = [np.full((500, 3, 3), 128, np.uint8), *pictures()]
    assert not len(ours.detect(images[:1])[0].instances)
    assert export_onnx(ours, tmp_path / "model.onnx", images).detections > 0


@pytest.mark.slow
def test_onnx_that_differs_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("taudis.detector.onnx_export.TOLERANCE", 0.0)
    with pytest.raises(ExportError, match="differs from torch"):
        export_onnx(detector(seed=1), tmp_path / "model.onnx", pictures())
    assert not list(tmp_path.iterdir())
