"""How many steps a run of benchmarks.accuracy makes."""

from __future__ import annotations

from benchmarks.accuracy import measured, steps_of_another_seed

ASKED = {"data": "facades", "weights": "none", "minutes": 3.0, "steps": None, "labels": None,
         "seed": 1, "backbone": "", "change": ""}  # fmt: skip


def row(steps, used, **asked):
    return {"asked": {**ASKED, **asked}, "train_steps": steps, "cpu_minutes": used}


def test_a_further_seed_makes_as_many_steps_as_the_first():
    rows = [row(60, 1, minutes=1.0, seed=0), row(200, 3, seed=0), row(400, 3, seed=2)]
    assert steps_of_another_seed(ASKED, rows) == 200
    assert steps_of_another_seed({**ASKED, "minutes": 8.0}, rows) is None
    assert steps_of_another_seed({**ASKED, "change": "lr=0.1"}, rows) is None


def test_the_longest_run_says_how_long_a_step_takes():
    rows = [row(60, 1, minutes=1.0), row(200, 4), row(900, 3, weights="imagenet")]
    assert measured(ASKED, rows) == 60 * 4 / 200
    assert measured({**ASKED, "labels": 16}, rows) is None
