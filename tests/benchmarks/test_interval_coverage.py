"""docs/evaluation.md says what the rows say; tables of small sets are what drawing images means."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.interval_coverage import ROWS, coverage, gate
from benchmarks.interval_tables import PAGE, gates, rules, written
from benchmarks.interval_tables import coverage as coverage_table
from benchmarks.match_tables import drawn, frequent, load, losing, made_up, save
from benchmarks.page_tables import read
from taudis.evaluation.resampling import average_precisions, weighted_map50


def test_the_page_holds_the_tables_of_the_rows():
    page = PAGE.read_text(encoding="utf-8")
    assert written(page, read(ROWS)) == page


def one_row(kind, name, labels, images, rule):
    (row,) = [
        row
        for row in read(ROWS)
        if (row["kind"], row["set"], row["labels"], row["images"], row["rule"])
        == (kind, name, labels, images, rule)
    ]
    return row


def test_the_sentences_of_the_page_say_what_the_rows_say():
    page = " ".join(PAGE.read_text(encoding="utf-8").split())
    bench = one_row("coverage", "tools_bench", 12, 20, "before")
    kept = one_row("coverage", "tools_bench", 12, 20, "labels kept")
    made = one_row("coverage", "made up", 12, 20, "before")
    for sentence in (
        f"{bench['point']:.2f} instead of {bench['truth']:.2f} on 20 images of `tools_bench`",
        f"{made['point']:.2f} instead of {made['truth']:.2f} on 20 images of the made-up set",
        f"{bench['point_share']:.2f} on 20 images of `tools_bench` before,"
        f" {kept['point_share']:.2f} with the labels kept",
    ):
        assert sentence in page, sentence
    equal = {
        rule: [r["refuses_equal"] for r in read(ROWS) if r["kind"] == "gate" and r["rule"] == rule]
        for rule in ("before", "now")
    }
    assert round(100 * float(np.mean(equal["now"]))) == 4
    assert 1 <= round(100 * float(np.mean(equal["before"]))) <= 3


def test_the_interval_covers_better_and_the_gate_serves_fewer_worse_models():
    """What the change is for, as the committed rows have it."""
    rows = read(ROWS)
    for kind, key, sign in (("coverage", "holds", 1), ("gate", "serves_worse", -1)):
        means = {
            rule: np.mean([r[key] for r in rows if r["kind"] == kind and r["rule"] == rule])
            for rule in ("before", "now")
        }
        assert sign * (means["now"] - means["before"]) > 0.05, (kind, means)


def test_a_drawn_table_is_the_table_under_weights():
    (table,) = made_up(3, np.zeros(1), images=40)
    rows = np.random.default_rng(0).integers(0, 40, 60)
    weights = np.bincount(rows, minlength=40).astype(float)
    small = drawn(table, rows)
    assert [len(label.objects) for label in small] == [60] * 3
    ones = average_precisions(small, np.ones((1, 60)))
    # Copies of a detection are told apart here and not under weights, so a hit of several copies
    # enters one by one: the same precision at its last copy, no less before it.
    assert np.allclose(ones, average_precisions(table, weights[None]), atol=0.02)
    for label, whole in zip(small, table, strict=True):
        assert np.array_equal(label.objects, whole.objects[rows])
        assert label.hit.sum() == (weights[whole.image] * whole.hit).sum()
        counts = np.bincount(label.image, minlength=60)
        assert np.array_equal(counts, np.bincount(whole.image, minlength=40)[rows])


def test_tables_survive_a_file(tmp_path):
    (table,) = made_up(2, np.zeros(1), images=20)
    save(tmp_path / "made" / "table.npz", table)
    for label, back in zip(table, load(tmp_path / "made" / "table.npz"), strict=True):
        for name in ("image", "hit", "objects"):
            assert np.array_equal(getattr(label, name), getattr(back, name))


def test_a_model_that_loses_hits_is_worse_and_the_most_frequent_labels_come_first():
    (table,) = made_up(4, np.zeros(1), images=400)
    rng, ones = np.random.default_rng(0), np.ones(400)
    scores = [weighted_map50(losing(table, share, rng), ones) for share in (0.0, 0.2, 0.5, 1.0)]
    assert scores == sorted(scores, reverse=True) and scores[-1] == 0.0
    assert scores[0] == weighted_map50(table, ones)
    counts = [int(label.objects.sum()) for label in frequent(table, 3)]
    assert len(counts) == 3 and counts == sorted(counts, reverse=True)


def test_more_skill_finds_more():
    weak, strong = (weighted_map50(t, np.ones(300)) for t in made_up(3, np.array([-1.0, 1.0]),
                    images=300))  # fmt: skip
    assert strong > weak + 0.2


@pytest.mark.slow
def test_rows_of_a_few_trials_have_what_the_tables_read():
    (table,) = made_up(2, np.zeros(1), images=100)
    rows = [*coverage("made up", table, 20, 3), *gate("made up", table, 20, 3)]
    for text in (coverage_table(rows), gates(rows), rules(rows)):
        assert len({line.count("|") for line in text.splitlines()}) == 1
    assert {row["trials"] for row in rows} == {3}
