"""What computes many images does so on the card of its process."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

from taudis.data.coco import load_coco
from taudis.data.pool_reader import save_pool
from taudis.detector import checkpoint
from taudis.detector.checkpoint import save_checkpoint
from taudis.detector.device import device_of_this_process
from taudis.evaluation import held_out
from taudis.scoring import score_pool
from taudis.training.recipes import Recipe
from tests.taudis.cli.cli_cases import call
from tests.taudis.detector_cases import LABELS, detector, save_pictures

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def folder(tmp_path):
    """Four pictures, a checkpoint, and the pool that it scored."""
    save_pictures(tmp_path, 4)
    model = detector(seed=2)
    save_checkpoint(tmp_path / "model", model, card={})
    _, samples = load_coco(tmp_path / "coco.json", tmp_path)
    pool = score_pool(model.fast(), [(n, samples.image(i)) for i, n in enumerate((7, 8, 9, 10))])
    save_pool(tmp_path / "pool.safetensors", pool, label_names=LABELS.names)
    return tmp_path


@pytest.fixture
def devices(monkeypatch):
    """The devices that models are loaded to from here on, on a machine with a card.

    No card is here, so each model then computes on the CPU.
    """
    seen, real = [], checkpoint.load_checkpoint

    def load(path, *, label_map=None, device="cpu"):
        seen.append(device)
        return real(path, label_map=label_map)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for module in (checkpoint, held_out):
        monkeypatch.setattr(module, "load_checkpoint", load)
    return seen


@pytest.mark.parametrize("has_card", [True, False])
def test_the_device_is_the_card_that_torch_sees(monkeypatch, has_card):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_card)
    assert device_of_this_process() == ("cuda" if has_card else "cpu")


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("score", ["out.safetensors"]),
        ("evaluate", []),
        ("predict", ["out.json"]),
        ("why", ["pool.safetensors", 2, "--out", "out.png", "--top", 1, "--mean-instances", 3]),
    ],
)
def test_a_command_computes_on_the_card(folder, devices, command, arguments):
    arguments = [folder / each if "." in str(each) else each for each in arguments]
    call(command, folder / "model", folder / "coco.json", folder, *arguments)
    assert devices == ["cuda"]


def test_models_that_judge_labels_compute_on_the_card(folder, devices):
    labels, samples = load_coco(folder / "coco.json", folder)
    folds = [[0, 2], [1, 3]]
    for fold, others in enumerate([[1, 3], [0, 2]]):
        name = held_out.name_of_model(samples.subset(others), labels, Recipe.cpu(4), fold, "none")
        save_checkpoint(folder / "models" / name, detector(seed=fold), card={})
    found = held_out.held_out_images(
        samples, labels, Recipe.cpu(4), folds, seed=0, weights="none", folder=folder / "models"
    )
    assert len(list(found)) == 4 and devices == ["cuda", "cuda"]


def loaders():
    """Each call of `load_checkpoint` in the product: its file, and its arguments by name."""
    for package in ("taudis", "backend"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
                if named and node.func.id == "load_checkpoint":
                    given = {each.arg: ast.unparse(each.value) for each in node.keywords}
                    yield path.relative_to(ROOT).as_posix(), given


def test_each_caller_says_where_its_model_computes():
    """The default, the CPU, is for tests and benchmarks: a caller that forgets it is slow."""
    calls = list(loaders())
    assert len(calls) >= 14
    assert not [path for path, given in calls if "device" not in given]
    on_cpu = {path for path, given in calls if given["device"] == "'cpu'"}
    assert on_cpu == {"backend/web/predictor_process.py", "backend/commands/export.py"}
