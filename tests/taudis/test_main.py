"""The command line, from a COCO file to an order of its images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from taudis.__main__ import app
from taudis.checkpoint import save_checkpoint
from taudis.coco import save_coco
from taudis.errors import DataError
from taudis.pools import load_pool, save_pool
from taudis.scoring import score_pool
from tests.taudis.detector_cases import LABELS, detector, picture

ROOT = Path(__file__).resolve().parents[2]


def call(*arguments):
    done = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def folder(tmp_path):
    pairs = [picture(seed) for seed in range(4)]
    for row, (image, _) in enumerate(pairs):
        Image.fromarray(image).save(tmp_path / f"{row}.png")
    images = [(7 + row, f"{row}.png", (64, 64)) for row in range(4)]
    save_coco(tmp_path / "coco.json", LABELS, images, [target for _, target in pairs])
    return tmp_path


def test_a_pool_survives_its_file_and_damage_is_told(tmp_path):
    pool = score_pool(detector(), [(i, picture(i)[0]) for i in range(3)])
    save_pool(tmp_path / "pool.npz", pool)
    back = load_pool(tmp_path / "pool.npz")
    assert np.array_equal(back.instances.embeddings, pool.instances.embeddings)
    assert np.array_equal(back.uncertainty.se, pool.uncertainty.se)
    assert [path.name for path in tmp_path.iterdir()] == ["pool.npz"]
    content = (tmp_path / "pool.npz").read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"text"):
        (tmp_path / "pool.npz").write_bytes(damaged)
        with pytest.raises(DataError, match=r"pool\.npz"):
            load_pool(tmp_path / "pool.npz")
    with pytest.raises(DataError, match=r"none\.npz"):
        load_pool(tmp_path / "none.npz")


@pytest.mark.slow
def test_the_commands_follow_on_one_another(folder):
    coco, model = folder / "coco.json", folder / "model"
    trained = call("train", coco, folder, model, "--steps", 2)
    assert trained["images"] == 4 and not list(folder.glob("model.resume/*"))
    assert set(call("evaluate", model, coco, folder)["per_label"]) == {"square", "bar"}


def test_a_checkpoint_predicts_scores_and_selects(folder):
    coco, model = folder / "coco.json", folder / "model"
    save_checkpoint(model, detector(seed=2), card={})
    found = call("predict", model, coco, folder, folder / "found.json")
    results = json.loads((folder / "found.json").read_text())
    assert len(results) == found["instances"] > 0
    assert {r["category_id"] for r in results} <= {1, 2}
    assert call("score", model, coco, folder, folder / "pool.npz")["images"] == 4
    chosen = call("select", folder / "pool.npz", 2)
    assert sorted(chosen["order"]) == [7, 8, 9, 10] and len(chosen["reasons"]) == 2


@pytest.mark.slow
def test_an_error_of_the_library_is_one_line_and_exit_code_1(folder):
    done = subprocess.run(
        [sys.executable, "-m", "taudis", "select", str(folder / "coco.json"), "2"],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
