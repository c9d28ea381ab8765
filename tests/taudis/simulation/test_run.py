"""Whole runs of a tiny grid: shared, killed at any moment, shared by processes, run again."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from taudis.errors import TrainingError
from taudis.simulation.claims import Claims, Lock
from taudis.simulation.jobs import Job
from taudis.simulation.rerun import rerun
from taudis.simulation.run import is_finished
from taudis.simulation.split import seed_set
from tests.taudis.simulation.simulation_cases import (
    KILLS,
    RECIPE,
    grid,
    opened,
    rows_of,
    simulate,
    write_data,
)

ROOT = Path(__file__).resolve().parents[3]
SEED, ALL = Job("seed_set", 0), Job("all", 0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("simulation") / "data")


@pytest.fixture(scope="module")
def whole(data):
    """A run of one process that nobody disturbed: its folder, its outcome, what was seen."""
    out = data.parent / "whole"
    return out, *simulate(data, out)


class Launcher:
    """Starts runs in processes of their own."""

    def __init__(self, data):
        self.data = data
        command = [sys.executable, "-m", "tests.taudis.simulation.simulation_cases"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def begin(self, out, kill=None, seeds=(0,)):
        asked = {"out": str(out), "data": str(self.data), "kill": kill, "seeds": seeds}
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()

    def end(self):
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


@pytest.fixture
def launchers(data):
    found = [Launcher(data), Launcher(data)]
    yield found
    for each in found:
        each.close()


def of_seed(rows, seed):
    return {name: row for name, row in rows.items() if row["seed"] == seed}


@pytest.mark.slow
def test_the_rows_follow_the_protocol(data, whole):
    out, outcome, watched = whole
    rows, images = rows_of(out), opened(data, grid())
    assert len(rows) == outcome.made == len(watched.jobs) == 2 + 2 + 3 * 2 * 2
    for seed in (0, 1):
        first = seed_set(images.train_ids, 3, seed)
        assert rows[f"seed_set/{seed}"]["labelled"] == first
        assert rows[f"all/{seed}"]["labelled"] == list(images.train_ids)
        for strategy in ("random", "taudis", "wse"):
            before = first
            for number in (1, 2):
                row = rows[f"{strategy}/{seed}/{number}"]
                assert row["labelled"] == [*before, *row["chosen"]]
                assert len(set(row["labelled"])) == row["labelled_images"] == 3 + 2 * number
                assert row["labelled_objects"] == 2 * row["labelled_images"]
                assert row["chosen_objects"] == 4
                assert set(row["labelled"]) <= set(images.train_ids)
                fixed = row["corrections"]
                assert fixed["accepted"] + fixed["reshaped"] + fixed["added"] == 4
                before = row["labelled"]
    assert len({row["test_images"] for row in rows.values()}) == 1
    assert len({row["grid"] for row in rows.values()}) == 1
    assert {row["steps"] for row in rows.values()} == {RECIPE.steps}


@pytest.mark.slow
def test_equal_label_sets_are_trained_once_and_nothing_heavy_is_left(whole):
    out, _, watched = whole
    models = {row["model"] for row in rows_of(out).values()}
    sets = {(row["seed"], row["round"], *sorted(row["labelled"])) for row in rows_of(out).values()}
    assert len(models) == len(sets) and watched.steps == RECIPE.steps * len(models)
    left = {path.name for path in (out / "models").glob("*/*")}
    assert left == {"evaluation.json", "mask.json"}
    assert not list((out / "claims").iterdir()) and not list((out / "choices").iterdir())


@pytest.mark.slow
def test_the_gate_is_reported_before_any_strategy_runs(data, tmp_path, caplog):
    """Two steps teach nothing, so that all labels are no better than the seed set."""
    simulate(data, tmp_path / "out", "random")
    (warning,) = [each for each in caplog.records if "signal gate" in each.message]
    assert "the signal gate failed" in warning.message
    rows = list(rows_of(tmp_path / "out").values())
    assert [row["kind"] for row in rows[:4]] == ["seed_set", "seed_set", "all", "all"]


@pytest.mark.slow
def test_the_model_of_all_labels_chooses_where_it_is_asked_for(data, tmp_path):
    """The strategy core_set reads the labelled images, too."""
    entries = "taudis,upper:taudis@chooser=all,far:core_set@chooser=all"
    _, watched = simulate(data, tmp_path / "out", entries, seeds=(0,))
    rows = rows_of(tmp_path / "out")
    model = rows["all/0"]["model"]
    for name in ("upper", "far"):
        for number in (1, 2):
            row = rows[f"{name}/0/{number}"]
            assert row["pool"] == f"{model}/mask"
            assert (
                row["selection"]["pool_images"] == len(rows["all/0"]["labelled"]) - 1 - 2 * number
            )
            assert len(set(row["labelled"])) == 3 + 2 * number
    assert model not in rows["taudis/0/1"]["pool"]
    assert watched.steps == RECIPE.steps * len({row["model"] for row in rows.values()})
    left = {path.name for path in (tmp_path / "out" / "models").glob("*/*")}
    assert left <= {"evaluation.json", "mask.json", "mask-labelled.json"}
    of = grid()
    found = rerun(rows["upper/0/2"], of, opened(data, of), tmp_path)
    assert found["equal"] and found["chosen_equal"]


@pytest.mark.slow
def test_a_finished_run_makes_nothing_and_a_larger_one_only_what_is_new(data, whole):
    out, outcome, _ = whole
    again, watched = simulate(data, out)
    assert again.made == watched.steps == 0 and again.rows == outcome.rows
    before = (out / "rows.jsonl").read_bytes()
    more, _ = simulate(data, out, "random,margin", seeds=(0,))
    assert more.made == 2 and (out / "rows.jsonl").read_bytes().startswith(before)


@pytest.mark.slow
def test_two_processes_give_the_rows_of_one(tmp_path, whole, launchers):
    out = tmp_path / "out"
    for launcher in launchers:
        launcher.begin(out, seeds=(0, 1))
    assert [launcher.end() for launcher in launchers] == [0, 0]
    found, wanted = rows_of(out), rows_of(whole[0])
    assert {name: found[name] for name in found} == {name: wanted[name] for name in found}
    assert len(found) == 16
    trained = (tmp_path / "out.trainings").read_text().splitlines()
    assert len(trained) == len(set(trained)), "no model was trained twice"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_kills_at_any_moment_lose_and_double_no_row(tmp_path, whole, launchers, capsys):
    launcher, rng, out = launchers[0], np.random.default_rng(2), tmp_path / "out"
    kills = [[place, 1] for place in KILLS]
    kills += rng.uniform(0.1, 4, 6).tolist()
    killed = 0
    for kill in rng.permutation(np.array(kills, object)).tolist():
        launcher.begin(out, kill)
        code = launcher.end()
        assert code in (0, -9), kill
        killed += code == -9
    launcher.begin(out)
    assert launcher.end() == 0
    wanted = of_seed(rows_of(whole[0]), 0)
    found = rows_of(out)
    assert found == {name: wanted[name] for name in found} and len(found) == 8
    trained = (tmp_path / "out.trainings").read_text().splitlines()
    assert len(trained) <= len(set(trained)) + killed, "a kill costs one training at most"
    assert killed >= 4
    with capsys.disabled():
        print(f"\n{killed} kills, {len(trained)} trainings of {len(set(trained))} models")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["seed_set/0", "taudis/0/2"])
def test_a_row_again_is_the_same_bit_for_bit(data, whole, name, tmp_path):
    _, outcome, _ = whole
    row = {job.name: found for job, found in outcome.rows.items()}[name]
    of = grid()
    found = rerun(row, of, opened(data, of), tmp_path)
    assert found["equal"] and found["map50_again"] == row["map50"]
    assert found["chosen_equal"] == (True if "taudis" in name else None)
    assert found["differs"] == [] and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_row_that_was_changed_is_not_equal(data, whole, tmp_path):
    row = rows_of(whole[0])["seed_set/1"]
    of = replace(grid(), recipe=replace(RECIPE, lr=0.05))
    found = rerun({**row, "map50": row["map50"] + 1e-12}, of, opened(data, of), tmp_path)
    assert not found["equal"]


def test_a_claimed_row_is_left_to_its_owner(data, tmp_path, monkeypatch):
    """Nothing is trained here: every row is claimed by a live process, until it is written."""
    out = tmp_path / "out"
    out.mkdir()
    waits = []

    def written_meanwhile(_):
        waits.append(1)
        rows = [
            {"kind": kind, "seed": 0, "strategy": None, "round": None, "model": "m", "map50": 0.0}
            for kind in ("seed_set", "all")
        ]
        (out / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    monkeypatch.setattr("taudis.simulation.run.time.sleep", written_meanwhile)
    monkeypatch.setattr("taudis.simulation.grid.Asked.jobs", lambda *_: [SEED, ALL])
    with Claims(out / "claims", Lock(out / "lock")) as other:
        assert all(other.take(name) for name in ("seed_set/0", "all/0"))
        outcome, watched = simulate(data, out, seeds=(0,))
    assert waits == [1] and outcome.made == 0 and watched.steps == 0


def test_a_row_that_cannot_be_made_stops_no_other_row(data, tmp_path, monkeypatch, caplog):
    """Nothing is trained here: rows are made up, and one cannot be made."""
    asked = [Job("seed_set", 0), Job("seed_set", 1), job("random", 1), job("wse", 1)]
    asked += [Job("round", 1, name, 1) for name in ("random", "wse")]

    def made_up(one, *_):
        if one == Job("seed_set", 1):
            raise TrainingError("Training diverged.")
        return {"kind": one.kind, "seed": one.seed, "strategy": one.strategy, "round": one.round,
                "model": one.name, "labelled": [1], "map50": 0.5}  # fmt: skip

    monkeypatch.setattr("taudis.simulation.run.make_row", made_up)
    monkeypatch.setattr("taudis.simulation.run.Run._choice", lambda *_: {})
    monkeypatch.setattr("taudis.simulation.grid.Asked.jobs", lambda *_: asked)
    with pytest.raises(TrainingError, match="diverged") as error:
        simulate(data, tmp_path / "out", seeds=(0, 1))
    notes = " ".join(error.value.__notes__)
    assert "could not be made: seed_set/1. 2 more follow on them" in notes
    assert "The row seed_set/1 could not be made" in caplog.text
    lines = (tmp_path / "out" / "rows.jsonl").read_text().splitlines()
    made = {Job.of_row(json.loads(line)).name for line in lines}
    assert made == {"seed_set/0", "random/0/1", "wse/0/1"}


def job(strategy, number):
    return Job("round", 0, strategy, number)


def rows(**models):
    """Rows whose model is given by `s` for the seed set and STRATEGY_ROUND."""
    found = {SEED: {"model": models.pop("s")}}
    for name, model in models.items():
        strategy, _, number = name.partition("_")
        found[job(strategy, int(number))] = {"model": model}
    return found


def test_a_model_stays_until_every_row_that_may_need_it_is_written():
    wanted = [SEED, *(job(s, n) for s in "ab" for n in (1, 2, 3))]
    assert not is_finished(SEED, rows(s="0", a_1="x"), wanted)
    both = rows(s="0", a_1="x", b_1="x")
    assert is_finished(SEED, both, wanted) and not is_finished(job("a", 1), both, wanted)
    alone = rows(s="0", a_1="x", a_2="y")
    assert not is_finished(job("a", 1), alone, wanted), "b may choose the same images"
    apart = rows(s="0", a_1="x", a_2="y", b_1="z")
    assert is_finished(job("a", 1), apart, wanted) and not is_finished(job("b", 1), apart, wanted)
    shared = rows(s="0", a_1="x", a_2="y", b_1="x")
    assert not is_finished(job("a", 1), shared, wanted), "b goes on from the same model"
    last = rows(s="0", a_1="x", b_1="x", a_2="y", a_3="w")
    assert is_finished(job("a", 3), last, wanted)
    assert is_finished(ALL, {ALL: {"model": "m"}}, [ALL])
    assert not is_finished(ALL, {ALL: {"model": "m"}}, wanted, {"a"}), "it chooses for a"
    assert is_finished(ALL, {ALL: {"model": "m"}, **last}, [ALL, *last], {"a"})
