"""docs/accuracy.md says what the rows say."""

from __future__ import annotations

import pytest

from benchmarks.accuracy import done
from benchmarks.accuracy_tables import (
    PAGE,
    ROWS,
    bodies,
    by_labels,
    by_time,
    variants,
    written,
)


def row(weights, seed, map50, *, minutes=None, steps=None, labels=None, change="", images=100):
    asked = {"data": "cells", "weights": weights, "minutes": minutes, "steps": steps,
             "labels": labels, "seed": seed, "backbone": "", "change": change}  # fmt: skip
    return {"asked": asked, "train_images": labels or images, "train_steps": steps or 200,
            "cpu_minutes": 2.9, "map50": map50}  # fmt: skip


def test_the_page_holds_the_tables_of_the_rows():
    page = PAGE.read_text(encoding="utf-8")
    assert written(page, list(done(ROWS).values())) == page


def test_a_page_without_the_places_of_the_tables_is_refused():
    with pytest.raises(SystemExit, match="by time"):
        written("no table", [])


def test_times_have_means_intervals_and_differences_by_seed():
    rows = [row("none", seed, m, minutes=3.0) for seed, m in enumerate((0.1, 0.2, 0.3))]
    rows += [row("imagenet", seed, m, minutes=3.0) for seed, m in enumerate((0.4, 0.5, 0.6))]
    rows += [row("imagenet", 0, 0.9, minutes=3.0, change="lr=0.1")]
    rows += [row("imagenet", 0, 0.9, minutes=3.0, labels=16)]
    # Student's t for two degrees of freedom: 4.303 * 0.1 / sqrt(3)
    assert by_time(rows).splitlines()[2:] == [
        "| cells | 3 | 0.200 ± 0.248 | 2.9, 200 | 0.500 ± 0.248 | 2.9, 200 | 0.300 ± 0.000 | 3, 3 |"
    ]


def test_one_seed_has_no_interval_and_what_is_missing_is_said():
    assert by_time([row("imagenet", 0, 0.4, minutes=8.0)]).splitlines()[2:] == [
        "| cells | 8 | not measured |  | 0.400 | 2.9, 200 |  | 0, 1 |"
    ]


def test_labels_are_compared_under_equal_steps():
    rows = [row("none", 0, 0.1, steps=300, labels=16), row("imagenet", 0, 0.3, steps=300)]
    assert by_labels(rows).splitlines()[2:] == [
        "| cells | 16 | 300 | 0.100 | not measured | 1, 0 |",
        "| cells | 100 | 300 | not measured | 0.300 | 0, 1 |",
    ]


def test_a_variant_stands_beside_the_recipe():
    rows = [row("imagenet", 0, 0.4, steps=300), row("imagenet", 0, 0.5, steps=300, change="lr=0.1")]
    assert variants(rows).splitlines()[2:] == [
        "| cells | all | 300 steps | imagenet | lr=0.1 | 0.500 | 300 | 0.400 | 300 | 1, 1 |"
    ]


def test_backbones_and_weights_are_compared_under_equal_steps():
    rows = [row("imagenet", 0, 0.4, steps=300), row("none", 0, 0.1, steps=300)]
    rows[1]["asked"]["backbone"] = "efficientnet_lite0"
    assert bodies(rows).splitlines()[2:] == [
        "| cells | 0.400 | not measured | 0.100 | 2.9, , 2.9 | 1, 0, 1 |"
    ]
