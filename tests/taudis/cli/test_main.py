"""The command line, from a COCO file to an order of its images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from taudis.__main__ import app
from taudis.data.coco import decode
from taudis.data.pool_reader import load_pool, read_header
from taudis.detector.card import read_card
from taudis.detector.checkpoint import save_checkpoint
from taudis.errors import DataError, WeightsError
from tests.taudis.detector_cases import LABELS, detector, save_pictures

ROOT = Path(__file__).resolve().parents[3]


def call(*arguments):
    done = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def folder(tmp_path):
    save_pictures(tmp_path, 4)
    return tmp_path


@pytest.mark.slow
def test_the_commands_follow_on_one_another(folder):
    coco, model = folder / "coco.json", folder / "model"
    trained = call("train", coco, folder, model, "--steps", 2)
    assert trained["images"] == 4 and not list(folder.glob("model.resume/*"))
    assert set(call("evaluate", model, coco, folder)["per_label"]) == {"square", "bar"}


@pytest.mark.slow
def test_a_mask2former_is_trained_and_the_other_commands_read_it_from_the_card(folder):
    coco, model, pool = folder / "coco.json", folder / "model", folder / "pool.safetensors"
    asked = ("--model", "mask2former", "--weights", "none", "--steps", 2)
    assert call("train", coco, folder, model, *asked)["images"] == 4
    assert read_card(model)["model"]["architecture"] == "mask2former"
    assert set(call("evaluate", model, coco, folder)["per_label"]) == {"square", "bar"}
    for flags, width in (((), 64), (("--query",), 64)):
        call("score", model, coco, folder, pool, *flags)
        assert load_pool(pool).instances.embeddings.shape[1] == width
    assert "swin" in read_header(pool).model and "query" in read_header(pool).model
    for flags, message in ((("--box",), "no box branch"), (("--box", "--query"), "got both")):
        with pytest.raises(DataError, match=message):
            call("score", model, coco, folder, pool, *flags)
    with pytest.raises(WeightsError, match="'imagenet' are for Mask R-CNN"):
        call("train", coco, folder, folder / "other", "--model", "mask2former")


def test_predict_checks_where_it_writes_first_and_never_leaves_a_part(folder):
    coco, model, out = folder / "coco.json", folder / "model", folder / "found.json"
    for place, says in ((folder / "gone" / "found.json", "make it first"), (folder, "is a folder")):
        with pytest.raises(DataError, match=says):  # not that there is no model
            call("predict", model, coco, folder, place)
    save_checkpoint(model, detector(seed=2), card={})
    out.write_text("of before")
    os.link(out, folder / "before.json")
    call("predict", model, coco, folder, out)
    assert json.loads(out.read_text())
    assert (folder / "before.json").read_text() == "of before"  # another file took the name
    assert not list(folder.glob(".*"))


def test_a_checkpoint_predicts_scores_and_selects(folder):
    coco, model = folder / "coco.json", folder / "model"
    save_checkpoint(model, detector(seed=2), card={})
    found = call("predict", model, coco, folder, folder / "found.json")
    results = json.loads((folder / "found.json").read_text())
    assert len(results) == found["instances"] > 0
    assert {r["category_id"] for r in results} <= {1, 2}
    polygons = ("--segmentation", "polygon")
    call("predict", model, coco, folder, folder / "outlines.json", *polygons)
    outlines = json.loads((folder / "outlines.json").read_text())
    assert any(r["segmentation"] for r in results)
    for outline, run in zip(outlines, results, strict=True):
        if outline["segmentation"]:  # a mask without a pixel has no outline
            masks = [decode(r["segmentation"], 64, 64) for r in (outline, run)]
            assert np.array_equal(*masks)
        assert isinstance(outline["segmentation"], list)
    path = folder / "pool.safetensors"
    assert call("score", model, coco, folder, path)["images"] == 4
    pool, header = load_pool(path), read_header(path)
    assert header.label_names == LABELS.names and "checkpoint model" in header.model
    assert len(pool.instances) > 0 and pool.instances.embeddings.dtype == np.float16
    chosen = call("select", path, 2)
    assert sorted(chosen["order"]) == [7, 8, 9, 10] and len(chosen["reasons"]) == 2


def test_score_shows_progress_and_leaves_nothing_when_an_image_is_missing(folder):
    coco, model, path = folder / "coco.json", folder / "model", folder / "pool.safetensors"
    save_checkpoint(model, detector(seed=2), card={})
    done = CliRunner().invoke(app, ["score", *map(str, (model, coco, folder, path))])
    assert "scoring" in done.stderr and "100%" in done.stderr
    assert len(done.stdout.splitlines()) == 1
    before, files = path.read_bytes(), sorted(folder.iterdir())
    (folder / "3.png").write_bytes(b"no picture")
    done = CliRunner().invoke(app, ["score", *map(str, (model, coco, folder, path))])
    assert done.exit_code == 1 and isinstance(done.exception, DataError)
    assert path.read_bytes() == before and sorted(folder.iterdir()) == files
    done = CliRunner().invoke(app, ["score", *map(str, (model, coco, folder, folder / "p.npz"))])
    assert isinstance(done.exception, DataError) and ".safetensors" in str(done.exception)


@pytest.mark.slow
def test_an_error_of_the_library_is_one_line_and_exit_code_1(folder):
    done = subprocess.run(
        [sys.executable, "-m", "taudis", "select", str(folder / "coco.json"), "2"],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
