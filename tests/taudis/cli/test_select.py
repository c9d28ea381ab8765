"""`python -m taudis select`: a pool file in, a ranked file with reasons out."""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from taudis.__main__ import app
from taudis.cli import select as command
from taudis.cli.ranking_file import plain, ranked_document, read_image_ids, rows_of, write_ranked
from taudis.data.pool_format import PoolHeader
from taudis.data.pool_reader import save_pool
from taudis.errors import DataError, SelectionError, TaudisError
from taudis.selection.params import Labelled, SelectionParams, Sketch
from taudis.selection.strategies import STRATEGIES, query, strategies_table
from taudis.types import Selection, Uncertainty

ROOT = Path(__file__).resolve().parents[3]
MEAN = 4.0


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def call(*arguments):
    done = run(*arguments)
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def pool(build):
    """30 images of 5 instances in 12 clusters, ids from 0, distinct image embeddings."""
    made = build.clustered_pool(30, 5, 12, seed=1)
    rng = np.random.default_rng(0)
    se = made.uncertainty.se.astype(np.float32)
    return replace(
        made,
        image_embeddings=rng.normal(size=(30, 6)).astype(np.float32),
        uncertainty=Uncertainty(1 - se, se, se),
    )


@pytest.fixture
def file(tmp_path, pool):
    path = tmp_path / "pool.safetensors"
    save_pool(path, pool, label_names=("cell",), model="a model")
    return path


def asked(pool, strategy="taudis", budget=4, *, labelled, seed=0):
    return query(
        strategy, pool, budget=budget, labelled=labelled, params=SelectionParams(), seed=seed
    )  # fmt: skip


def detected(pool):
    return float((pool.instances.scores >= 0.5).sum() / len(pool))


# --- what it prints -----------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_ranks_a_file_as_it_ranks_the_pool_in_memory(file, pool, strategy):
    found = call("select", file, 4, "--strategy", strategy, "--seed", 3)
    wanted = asked(pool, strategy, labelled=Labelled(detected(pool)), seed=3)
    assert found["order"] == pool.image_ids[wanted.order].tolist()
    assert found["strategy"] == wanted.strategy
    assert found["reasons"] == list(wanted.reasons[:4])
    assert found["warnings"] == list(wanted.warnings)
    assert set(found["diagnostics"]) == set(wanted.diagnostics)


OPTIONS = [
    (("--uncertainty", "cm"), {"uncertainty": "cm"}),
    (("--alpha", 9, "--beta", 3), {"alpha": 9.0, "beta": 3.0}),
    (("--sigma", 0.9, "--sigma-rule", "flat"), {"sigma": 0.9, "sigma_rule": "flat"}),
    (("--remainder", "none"), {"remainder": "none"}),
    (("--standardise",), {"standardise": True}),
    (("--centre",), {"centre": True}),
    (("--no-centre",), {"centre": False}),
    (("--sketch", "never", "--edge-mb", 7), {"sketch": "never", "edge_bytes": 7_000_000}),
    (("--sketch", "guaranteed", "--epsilon", 0.3), {"sketch": "guaranteed", "epsilon": 0.3}),
    (("--alpha-img", 5), {"alpha_img": 5.0}),
]


@pytest.mark.parametrize(("options", "changed"), OPTIONS)
@pytest.mark.parametrize("paper", [False, True])
def test_options_reach_the_strategy(file, pool, monkeypatch, options, changed, paper):
    seen = {}

    def remember(name, scored, **told):
        seen.update(told, name=name)
        return query(name, scored, **told)

    monkeypatch.setattr(command, "query", remember)
    preset = ["--paper"] if paper else []
    call("select", file, 4, "--mean-instances", MEAN, "--seed", 5, *preset, *options)
    base = SelectionParams.paper() if paper else SelectionParams()
    assert seen["params"] == replace(base, **changed)
    assert (seen["name"], seen["budget"], seen["seed"]) == ("taudis", 4, 5)
    assert seen["labelled"].mean_instances == MEAN
    assert callable(seen["progress"])


GIVEN = {
    "select": ("pool", "4"),
    "why": ("model", "coco.json", "images", "pool", "4", "--out", "why.png"),
}


@pytest.mark.parametrize("name", GIVEN)
def test_every_parameter_of_the_selection_has_an_option_that_is_passed_on(name, monkeypatch):
    """A new field of SelectionParams without an option, or one that is dropped, fails here."""
    wanted = {
        "uncertainty": "cm", "alpha": 9.0, "beta": 3.0, "sigma": 0.9, "sigma_rule": "flat",
        "remainder": "none", "centre": True, "standardise": True, "alpha_img": 5.0,
        "sketch": "guaranteed", "epsilon": 0.3, "edge_bytes": 7_000_000,
    }  # fmt: skip
    names = {field.name for field in fields(SelectionParams)}
    assert names == set(wanted)
    options = []
    for parameter, value in wanted.items():
        if parameter == "edge_bytes":
            options += ["--edge-mb", "7"]
        else:
            option = "--" + parameter.replace("_", "-")
            options += [option] if value is True else [option, str(value)]
    told = {}

    def remember(paper, **given):
        told.update(given)
        raise SelectionError("far enough")

    monkeypatch.setattr(command, "_params", remember)
    done = run(name, *GIVEN[name], *options)
    assert str(done.exception) == "far enough", done.output
    assert told == wanted


def test_the_help_tells_every_sketch_and_what_the_threads_are_for():
    (option,) = (one for one in get_command(app).commands["select"].params if one.name == "sketch")
    assert all(name in option.help for name in get_args(Sketch))
    (option,) = (one for one in get_command(app).params if one.name == "threads")
    assert "of the model" in option.help and "OMP_NUM_THREADS" in option.help


def test_the_labelled_pool_tells_embeddings_ids_and_the_mean(tmp_path, file, pool, monkeypatch):
    labelled = pool.subset(np.arange(6))
    path = tmp_path / "labelled.safetensors"
    save_pool(path, labelled, label_names=("cell",), model="a model")
    (tmp_path / "rest.txt").write_text("\n".join(map(str, range(6, 30))))
    options = ("--labelled", path, "--only", tmp_path / "rest.txt", "--strategy", "core_set")
    found = call("select", file, 4, *options)
    told = Labelled(detected(labelled), labelled.image_embeddings, labelled.image_ids)
    rest = pool.subset(np.arange(6, 30))
    wanted = asked(rest, "core_set", labelled=told)
    assert found["order"] == rest.image_ids[wanted.order].tolist()
    bare = call("select", file, 4, *options[2:])
    assert bare["order"] != found["order"]


def test_another_model_is_warned_of_and_another_width_is_refused(tmp_path, file, pool):
    path = tmp_path / "labelled.safetensors"
    save_pool(path, pool.subset(np.arange(6)), label_names=("cell",), model="another")
    done = run("select", file, 4, "--labelled", path)
    assert done.exit_code == 0 and "warning" in done.stderr and "another model" in done.stderr
    narrow = replace(pool, image_embeddings=pool.image_embeddings[:, :3].copy())
    save_pool(path, narrow)
    failed = run("select", file, 4, "--labelled", path)
    assert isinstance(failed.exception, DataError)
    assert "width 6 as in the pool, got 3" in str(failed.exception)


# --- files --------------------------------------------------------------------------------------


def test_csv_has_a_line_for_each_image(tmp_path, file, pool):
    out = tmp_path / "ranked.csv"
    said = call("select", file, 4, "--out", out, "--mean-instances", MEAN)
    wanted = asked(pool, labelled=Labelled(MEAN))
    assert said == {
        "ranked": str(out), "strategy": "taudis", "images": 30, "budget": 4,
        "warnings": list(wanted.warnings),
    }  # fmt: skip
    with out.open(newline="", encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    assert list(rows[0]) == ["rank", "image_id", "utility", "votes", "reason"]
    assert [int(row["rank"]) for row in rows] == list(range(1, 31))
    assert [int(row["image_id"]) for row in rows] == pool.image_ids[wanted.order].tolist()
    assert [row["reason"] for row in rows] == list(wanted.reasons)
    assert [float(row["votes"]) for row in rows] == wanted.votes[wanted.order].tolist()
    assert sorted(left.name for left in tmp_path.iterdir()) == ["pool.safetensors", "ranked.csv"]


def test_json_has_everything(tmp_path, file, pool):
    out = tmp_path / "ranked.json"
    call("select", file, 4, "--out", out, "--mean-instances", MEAN, "--seed", 2)
    found = json.loads(out.read_text(encoding="utf-8"))
    wanted = asked(pool, labelled=Labelled(MEAN), seed=2)
    assert found["strategy"] == "taudis" and found["budget"] == 4 and found["seed"] == 2
    assert found["parameters"]["sigma"] == 0.8 and found["model"] == "a model"
    assert found["diagnostics"]["instances"] == 150
    assert [row["image_id"] for row in found["images"]] == pool.image_ids[wanted.order].tolist()
    assert len(found["chosen"]) == len(wanted.chosen) > 4
    instances = pool.instances
    for told, row, gain, layer in zip(
        found["chosen"], wanted.chosen, wanted.gains, wanted.layers, strict=True
    ):
        assert told["image_id"] == pool.image_ids[instances.image_index[row]]
        assert np.allclose(told["box"], instances.boxes[row])
        assert (told["label"], told["score"]) == ("cell", 0.5)
        assert math.isclose(told["uncertainty"], pool.uncertainty.se[row], rel_tol=1e-6)
        assert (told["gain"], told["layer"]) == (gain, layer)


def test_strategies_without_votes_leave_them_open(tmp_path, file):
    call("select", file, 4, "--strategy", "random", "--out", tmp_path / "ranked.csv")
    with (tmp_path / "ranked.csv").open(encoding="utf-8") as text:
        assert {row["votes"] for row in csv.DictReader(text)} == {""}
    call("select", file, 4, "--strategy", "random", "--out", tmp_path / "ranked.json")
    document = json.loads((tmp_path / "ranked.json").read_text())
    assert {row["votes"] for row in document["images"]} == {None} and document["chosen"] == []


def test_infinite_utilities_and_reasons_with_commas_survive(tmp_path, pool):
    small = pool.subset(np.arange(2))
    odd = 'a "quoted", reason\nof two lines'
    selection = Selection("x", np.array([1, 0]), np.array([-np.inf, 0.3]), (odd, "b"), 1)
    write_ranked(
        tmp_path / "a.csv", selection, small, PoolHeader(), SelectionParams(), seed=0
    )  # fmt: skip
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    assert rows[0]["reason"] == odd and [row["utility"] for row in rows] == ["0.3", ""]
    document = ranked_document(selection, small, PoolHeader(), SelectionParams(), seed=0)
    assert document["images"][1]["utility"] is None
    assert plain(np.float32(0.3)) == 0.3 and plain({"a": (np.int64(1), np.nan)}) == {"a": [1, None]}


def test_no_images_give_an_empty_ranking(tmp_path, pool):
    path = tmp_path / "pool.safetensors"
    save_pool(path, pool.subset(np.zeros(0, np.int64)))
    assert call("select", path, 4)["order"] == []
    call("select", path, 4, "--out", tmp_path / "ranked.csv")
    assert (tmp_path / "ranked.csv").read_text() == "rank,image_id,utility,votes,reason\n"


# --- image ids ----------------------------------------------------------------------------------


def test_image_ids_are_read_one_a_line(tmp_path, pool):
    path = tmp_path / "ids.txt"
    path.write_bytes(b"\xef\xbb\xbf3\r\n\r\n 1 \r\n3\r\n")
    assert read_image_ids(path) == [3, 1]
    assert rows_of(pool, [3, 1]).tolist() == [3, 1]
    for content, message in [
        (b"1\n2.5\n", r"ids\.txt, line 2: .*'2\.5'"),
        (b"\n", "got none"),
        (b"\xff\xfe1", "text file"),
    ]:
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_image_ids(path)
    with pytest.raises(DataError, match=r"none\.txt"):
        read_image_ids(tmp_path / "none.txt")
    with pytest.raises(DataError, match="got 2 that it lacks: 77, 99"):
        rows_of(pool, [77, 1, 99])


# --- errors, progress, warnings -------------------------------------------------------------------

FAULTS = [
    (("--strategy", "best"), SelectionError, "strategy: expected one of"),
    (("--uncertainty", "xx"), SelectionError, "uncertainty: expected one of"),
    (("--sigma", 2), SelectionError, "sigma: expected"),
    (("--alpha", 2, "--beta", 3), SelectionError, "alpha > beta"),
    (("--edge-mb", 0), SelectionError, "edge_bytes: expected"),
    (("--alpha-img", 0.5), SelectionError, "alpha_img: expected"),
    (("--epsilon", 1), SelectionError, "epsilon: expected"),
    (("--mean-instances", -1), SelectionError, "mean_instances"),
    (("--out", "ranked.txt"), DataError, "csv or .json"),
    (("--out", "nowhere/ranked.csv"), DataError, "folder nowhere to exist"),
    (("--only", "nowhere.txt"), DataError, "nowhere.txt"),
    (("--labelled", "nowhere.safetensors"), DataError, "nowhere.safetensors"),
]


@pytest.mark.parametrize(("options", "kind", "message"), FAULTS)
def test_a_wrong_option_is_told(file, options, kind, message):
    done = run("select", file, 4, *options)
    assert done.exit_code == 1 and isinstance(done.exception, kind)
    assert message in str(done.exception) and done.stdout == ""


@pytest.mark.parametrize("number", ["-1", "x"])
def test_a_wrong_budget_is_told(file, number):
    done = run("select", file, "--", number)
    assert done.exit_code != 0 and done.stdout == ""
    assert isinstance(done.exception, TaudisError) or done.exit_code == 2


def test_progress_and_warnings_go_to_standard_error(file, pool, monkeypatch):
    def chatty(name, scored, *, progress, **told):
        for done in (1, 2):
            progress("similarities", done, 2)
        return replace(query(name, scored, progress=progress, **told), warnings=("be careful",))

    monkeypatch.setattr(command, "query", chatty)
    done = run("select", file, 4)
    assert "similarities" in done.stderr and "warning: be careful" in done.stderr
    assert json.loads(done.stdout)["warnings"] == ["be careful"]
    assert len(done.stdout.splitlines()) == 1


def test_a_budget_beyond_the_pool_is_told(file):
    done = run("select", file, 31)
    told = "The budget is 31 images of 30: all are chosen."
    assert told in done.stderr and told in json.loads(done.stdout)["warnings"]
    assert "budget" not in run("select", file, 30).stderr


def test_the_strategies_are_printed():
    done = run("strategies")
    assert done.stdout == strategies_table().rstrip("\n") + "\n"
    assert all(f"`{name}`" in done.stdout for name in STRATEGIES)


@pytest.mark.slow
def test_an_error_is_one_line_and_exit_code_1(file, tmp_path):
    content = file.read_bytes()
    (tmp_path / "cut").write_bytes(content[:-100])
    for arguments, message in [
        ([tmp_path / "cut", "4"], "the file is cut"),
        ([file, "4", "--sigma", "2"], "sigma"),
        ([file, "4", "--out", tmp_path / "no" / "x.csv"], "make it first"),
    ]:
        done = subprocess.run(
            [sys.executable, "-m", "taudis", "select", *map(str, arguments)],
            cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 1 and done.stdout == ""
        assert done.stderr.startswith("error: ") and message in done.stderr
        assert done.stderr.count("\n") == 1


def test_selecting_does_not_load_torch(file):
    """It takes hundreds of MB, and a pool of millions of instances wants them."""
    program = (
        "import sys; from taudis.__main__ import app\n"
        "try: app()\n"
        "finally: sys.stderr.write(f'torch: {\"torch\" in sys.modules}')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "select", str(file), "2"],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stderr.endswith("torch: False") and json.loads(done.stdout)["order"]
