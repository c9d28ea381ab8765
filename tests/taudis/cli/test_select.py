"""`python -m taudis select`: the order of a pool file, errors, progress and warnings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from taudis.cli import select as command
from taudis.data.pool_reader import save_pool
from taudis.errors import DataError, SelectionError, TaudisError
from taudis.selection.params import Labelled, parameters_table
from taudis.selection.strategies import STRATEGIES, query, strategies_table
from tests.taudis.cli.cli_cases import asked, call, detected, run

ROOT = Path(__file__).resolve().parents[3]


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


def test_the_labelled_pool_tells_embeddings_ids_and_the_mean(tmp_path, file, pool, monkeypatch):
    labelled = pool.subset(np.arange(6))
    path = tmp_path / "labelled.safetensors"
    save_pool(path, labelled, label_names=("cell",), model="a model")
    (tmp_path / "rest.txt").write_text("\n".join(map(str, range(6, 30))))
    options = ("--labelled", path, "--only", tmp_path / "rest.txt", "--strategy", "core_set")
    found = call("select", file, 4, *options)
    known = Labelled(detected(labelled), labelled.image_embeddings, labelled.image_ids)
    rest = pool.subset(np.arange(6, 30))
    wanted = asked(rest, "core_set", labelled=known)
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
    def chatty(name, scored, *, progress, **asked_for):
        for done in (1, 2):
            progress("similarities", done, 2)
        return replace(
            query(name, scored, progress=progress, **asked_for), warnings=("be careful",)
        )

    monkeypatch.setattr(command, "query", chatty)
    done = run("select", file, 4)
    assert "similarities" in done.stderr and "warning: be careful" in done.stderr
    assert json.loads(done.stdout)["warnings"] == ["be careful"]
    assert len(done.stdout.splitlines()) == 1


def test_a_budget_beyond_the_pool_is_told(file):
    done = run("select", file, 31)
    warning = "The budget is 31 images of 30: all are chosen."
    assert warning in done.stderr and warning in json.loads(done.stdout)["warnings"]
    assert "budget" not in run("select", file, 30).stderr


def test_the_strategies_are_printed():
    done = run("strategies")
    assert done.stdout == strategies_table() + "\n"
    assert all(f"`{name}`" in done.stdout for name in STRATEGIES)


def test_the_hyper_parameters_are_printed():
    assert run("parameters").stdout == parameters_table() + "\n"


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
