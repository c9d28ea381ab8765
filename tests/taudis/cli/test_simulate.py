"""The command `simulate`: a whole run, its last line, and what it refuses."""

from __future__ import annotations

import json

import pytest

from taudis.cli.simulate_progress import Lines
from taudis.detector.mask2former_config import Mask2FormerConfig
from taudis.errors import DataError, SelectionError
from taudis.simulation.jobs import Job
from tests.taudis.cli.cli_cases import call, run
from tests.taudis.detector_cases import TINY_QUERIES
from tests.taudis.simulation.simulation_cases import write_data


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("simulate") / "tiny", images=12)


def arguments(data, out, **changes):
    options = {
        "data": data / "instances.json", "images": data, "out": out, "strategies": "random",
        "seeds": "0", "rounds": 1, "budget": 2, "seed-images": 2, "steps": 1, "weights": "none",
        "recipe": "cpu", "group": r"^(\d+)_",
    } | {key.replace("_", "-"): value for key, value in changes.items()}  # fmt: skip
    return ["simulate", *(part for key, value in options.items() for part in (f"--{key}", value))]


@pytest.mark.slow
def test_a_run_ends_with_its_figures_and_a_row_can_be_run_again(data, tmp_path):
    out = tmp_path / "out"
    asked = [*arguments(data, out, strategies="random,taudis@T_F=0.1"), "--all-labels"]
    done = run(*asked)
    assert done.exit_code == 0, (done.output, done.exception)
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["rows_done"], last["rows_made"]) == (4, 4)
    assert last["signal"]["passed"] is None and "was not run" in done.stderr
    assert 0 < last["cost"]["ratio_to_strategies_alone"] <= 1
    assert "[4/4, 0:00:00 left] taudis@T_F=0.1/0/1: mAP50" in done.stderr
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    assert {row["data"] for row in rows} == {"tiny"}

    assert call(*asked)["rows_made"] == 0
    with_budget = run(*arguments(data, out, budget=3))
    assert isinstance(with_budget.exception, DataError)
    assert "budget: 2, 3" in str(with_budget.exception)

    again = call(*asked, "--rerun", "taudis@T_F=0.1/0/1")
    assert again["equal"] and again["chosen_equal"]
    rows[-1]["map50"] += 0.25
    (out / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    name = f"{rows[-1]['strategy']}/0/1"
    assert run(*asked, "--rerun", name).exit_code == 3


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"strategies": "best"}, SelectionError, "strategy: expected one of"),
        ({"seeds": "4-1"}, DataError, "--seeds: expected whole numbers"),
        ({"rounds": 0}, DataError, "--rounds: expected 1 or more, got 0"),
        ({"rounds": 9}, DataError, "expected at least 20 training images for 2 and 9 rounds of 2"),
        ({"group": "x"}, DataError, "--group: expected brackets"),
        ({"test_share": 1.5}, DataError, "--test-share: expected a number between 0 and 1"),
        ({"steps": 0}, DataError, "--steps: expected 1 or more"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_written(
    data, tmp_path, changes, kind, message
):
    done = run(*arguments(data, tmp_path / "out", **changes))
    assert done.exit_code == 1 and isinstance(done.exception, kind)
    assert message in str(done.exception) and not (tmp_path / "out").exists()


def test_a_missing_option_is_named(data, tmp_path):
    asked = arguments(data, tmp_path / "out")
    at = asked.index("--budget")
    done = run(*asked[:at], *asked[at + 2 :])
    assert "--budget: expected a value, got none" in str(done.exception)


def test_the_time_left_counts_rows_of_others_and_the_row_at_work(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("taudis.cli.simulate_progress.time.monotonic", lambda: now[0])
    lines = Lines(10)
    lines.rows(2, None, None)
    assert lines.left == "?"
    job = Job("round", 0, "wse", 1)
    lines.started(job)
    now[0] += 60
    lines.step(1, 2)
    assert lines.done == 2.5 and lines.left == "0:15:00"  # half a row in a minute, 7.5 left
    lines.rows(6, job, {"map50": 0.5, "labelled_images": 7})
    assert lines.left == "0:01:00"  # four rows in a minute, three of them by others
    wanted = "[6/10, 0:01:00 left] wse/0/1: mAP50 0.5000, 7 images\n"
    assert capsys.readouterr().err == wanted


@pytest.fixture
def tiny_queries(monkeypatch):
    """The network of tests in place of the one that takes a CPU minutes."""
    monkeypatch.setattr(Mask2FormerConfig, "small", classmethod(lambda cls: TINY_QUERIES))


@pytest.mark.slow
def test_a_mask2former_is_simulated(data, tmp_path, tiny_queries):
    asked = arguments(data, tmp_path / "out", model="mask2former",
                      strategies="taudis@embedding=query")  # fmt: skip
    assert call(*asked)["rows_made"] == 2
    lines = (tmp_path / "out" / "rows.jsonl").read_text().splitlines()
    model = json.loads(lines[0])["record"]["shared"]["recipe"]["model"]
    assert model["architecture"] == "mask2former" and model["network"]["hidden_dim"] == 48


def test_an_embedding_that_a_mask2former_lacks_is_refused(data, tmp_path, tiny_queries):
    asked = arguments(data, tmp_path / "out", model="mask2former", strategies="taudis_box")
    done = run(*asked)
    assert isinstance(done.exception, DataError) and not (tmp_path / "out").exists()
    assert "taudis_box: expected embedding=mask or query for a mask2former" in str(done.exception)
    done = run(*arguments(data, tmp_path / "out", model="detr"))
    assert "model: expected one of ['mask2former', 'mask_rcnn'], got 'detr'" in str(done.exception)


def test_the_help_names_every_kind_of_hyper_parameters(monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    help_ = " ".join(run("simulate", "--help").output.split())
    assert "default, paper, KEY=VALUE,... or a JSON file" in help_
