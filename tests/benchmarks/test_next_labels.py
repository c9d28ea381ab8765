"""docs/when_to_stop.md says what the rows say; real curves are read as they were measured."""

import json

import numpy as np
import pytest

from benchmarks.next_labels import ROUNDS, ROWS, Tally, _stops, on_real, replaced
from benchmarks.next_labels_curves import (
    NOISES,
    Measured,
    made_up,
    of_accuracy,
    of_lcdb,
    of_simulate,
)
from benchmarks.next_labels_rules import RULES, least_squares
from benchmarks.next_labels_tables import PAGE, answered, mean, written
from benchmarks.page_tables import read
from taudis.evaluation.next_labels import CurveSoFar, Expected


def test_the_page_holds_the_tables_of_the_rows():
    page = PAGE.read_text(encoding="utf-8")
    assert written(page, read(ROWS)) == page


def rows_of(kind, **wanted):
    return [
        row
        for row in read(ROWS)
        if row["kind"] == kind and all(row[key] == value for key, value in wanted.items())
    ]


def test_the_sentences_of_the_page_say_what_the_rows_say():
    real = {rule: rows_of("real", set="LCDB", rule=rule) for rule in RULES}
    assert all(0.92 <= row["holds"] <= 0.97 for row in real["now"])
    assert all(0.92 <= row["holds_measured"] <= 0.99 for row in real["now"])
    assert [round(answered([row]), 1) for row in real["now"]] == [0.4, 0.5, 0.6, 0.8, 0.9]
    assert mean(real["without bends"], "holds") < 0.7
    assert mean(real["never falling"], "below") > 2 * mean(real["now"], "below")
    assert all(row["width"] > 1 for row in real["last step"])
    assert all(row["answered"] == 0 for row in rows_of("real", set="accuracy.jsonl", rule="now"))
    early = {by: rows_of("stop", rule="now", by=by, worth=0.01) for by in ("upper", "gain")}
    assert mean(early["upper"], "early") < 0.025 and mean(early["gain"], "early") > 0.5
    assert 0.2 < mean(early["upper"], "never") < 0.3
    assert mean(rows_of("stop", rule="now", by="upper", worth=0.005), "never") > 0.5
    sudden = rows_of("made_up", shape="late rise", models=6)
    sudden += rows_of("made_up", shape="two steps", models=10)
    assert all(
        row["holds"] < 0.5 for row in sudden if row["rule"] not in ("last step", "least squares")
    )


def test_made_up_curves_have_the_noise_they_say():
    rng = np.random.default_rng(0)
    every = [made_up("flat", NOISES["loud"], 4, rng) for _ in range(1500)]
    gains = np.array([curve.gains for curve in every])
    wanted = 2 * (NOISES["loud"].training ** 2 + 0.1**2 / 200)
    assert gains.var(axis=0) == pytest.approx(wanted, rel=0.15)
    errors = np.array([curve.errors for curve in every])
    assert errors.mean() == pytest.approx(0.1 * np.sqrt(2 / 200), rel=0.05)
    # Two steps that share a model: the middle one's noise has opposite signs.
    assert np.corrcoef(gains[:, 0], gains[:, 1])[0, 1] == pytest.approx(-0.5, abs=0.1)
    growing = [made_up("power law", NOISES["growing"], 8, rng) for _ in range(50)]
    first, *_, last = np.mean([curve.errors for curve in growing], axis=0)
    assert last == pytest.approx(0.1 * np.sqrt(2 / 26), rel=0.1) and last < 0.7 * first
    assert growing[0].until(3).gains.tolist() == growing[0].gains[:2].tolist()


def test_real_curves_that_are_not_given_keep_their_rows():
    old = [{"kind": "real", "set": "LCDB"}, {"kind": "real", "set": "simulate"}, {"kind": "stop"}]
    new = [{"kind": "real", "set": "simulate", "asked": 3}]
    assert replaced(old, new) == [old[0], old[2], *new]


def test_a_stop_is_early_late_or_missing():
    truth = np.append(np.linspace(0.1, 0.5, 9), np.full(ROUNDS + 1 - 9, 0.5))  # 9 models, then flat
    curve = Measured(np.arange(1.0, ROUNDS + 2), truth, truth, np.diff(truth), np.zeros(ROUNDS))
    times = ROUNDS - 2

    def stop_at(models):
        values = np.full(times, 1.0)
        if models:
            values[models - 3] = 0.0
        return _stops([curve], [values.tolist()], 0.01)

    right = stop_at(9)
    assert (right["right"], right["early"], right["late"], right["never"]) == (9, 0.0, 0.0, 0.0)
    early = stop_at(7)
    assert (early["early"], early["lost"], early["late"]) == (1.0, pytest.approx(0.1), None)
    assert stop_at(12)["late"] == 3.0 and stop_at(0)["never"] == 1.0


def test_a_tally_counts_what_was_answered_and_leaves_unknown_truth_out():
    tally, nothing = Tally(), (np.nan, np.nan)
    tally.add(Expected(16, 2, np.nan, nothing, nothing, np.nan, "too few"), 0.1, 0.1)
    assert (tally.row()["asked"], tally.row()["answered"], tally.row()["holds"]) == (1, 0, None)
    found = Expected(16, 3, 0.02, (0.0, 0.05), (-0.1, 0.1), 0.01)
    for truth, measured in ((0.06, 0.0), (0.05, 0.2)):
        tally.add(found, truth, measured)
    row = tally.row()
    assert (row["holds"], row["above"], row["below"]) == (0.5, 0.5, 0.0)
    assert (row["holds_measured"], row["bias"]) == (0.5, pytest.approx(-0.035))
    unknown = Tally()
    unknown.add(found, np.nan, 0.0)
    assert unknown.row()["holds"] is None and unknown.row()["holds_measured"] == 1.0


def test_least_squares_finds_the_power_law():
    images = np.arange(16.0, 161, 16)
    curve = CurveSoFar.of_levels(images, 0.75 - 0.6 * (images / 16) ** -0.5)
    found = least_squares(curve, 16)
    assert found.gain == pytest.approx(0.6 * (10**-0.5 - 11**-0.5), abs=1e-4)


def test_rows_of_simulate_are_curves(tmp_path):
    common = {"format": 1, "grid": "g", "data": "d", "labelled_objects": 9, "chosen_objects": 3}
    rows = [{**common, "kind": "seed_set", "seed": 0, "labelled_images": 8, "map50": 0.1}]
    rows += [
        {**common, "kind": "round", "seed": 0, "strategy": "random", "round": number,
         "labelled_images": 8 + 4 * number, "map50": 0.1 + 0.05 * number,
         "chosen": [{}] * 4, "corrections": None}
        for number in (3, 1, 2)
    ]  # fmt: skip
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (curve,) = of_simulate([path])
    assert curve.images.tolist() == [8, 12, 16, 20] and curve.mean is None
    assert curve.map50 == pytest.approx([0.1, 0.15, 0.2, 0.25])
    (now,) = [row for row in on_real("simulate", [curve]) if row["rule"] == "now"]
    assert (now["curves"], now["models"], now["asked"]) == (1, 3, 1)
    assert now["holds"] is None and now["holds_measured"] in (None, 1.0)


def test_models_that_differ_only_in_labels_are_a_curve():
    found = {curve.name: curve for curve in of_accuracy(ROWS.parent / "accuracy.jsonl")}
    curve = found["tools_bench, imagenet, 240 steps"]
    assert curve.images.tolist()[:3] == [11, 16, 64]
    assert all((np.diff(each.images) > 0).all() for each in found.values())


def test_curves_of_the_database_need_all_their_runs(tmp_path):
    path, sizes = tmp_path / "f1.csv", [16, 23, 32, 45, 64, 91, 128, 181]
    lines = ["openmlid,learner,size_train,outer_seed,inner_seed,score_test"]
    for data, runs in (("1", 25), ("2", 24)):
        for run in range(runs):
            lines += [f"{data},svc,{n},{run // 5},{run % 5},{run / 100 + n / 1000}" for n in sizes]
    lines.append("1,svc,256,0,0,")  # a training that failed
    path.write_text("\n".join(lines), encoding="utf-8")
    (curve,) = of_lcdb(path, 0, 10)
    assert curve.images.tolist() == sizes
    assert curve.mean == pytest.approx([0.12 + n / 1000 for n in sizes])
    assert curve.map50 - curve.mean == pytest.approx(np.full(8, curve.map50[0] - curve.mean[0]))
