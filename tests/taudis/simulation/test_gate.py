"""The signal gate and the cost ratio, against numbers made by hand."""

from __future__ import annotations

import pytest

from taudis.simulation.gate import cost, sentence, signal


def rows(kind, *values):
    return [{"kind": kind, "map50": value} for value in values]


def test_the_gate_by_hand():
    """Seed set 0.1, 0.2, 0.3: mean 0.2, sd 0.1. All 0.45, 0.45, 0.45: mean 0.45, sd 0."""
    low = rows("seed_set", 0.1, 0.2, 0.3)
    found = signal([*low, *rows("all", 0.45, 0.45, 0.45), {"kind": "round", "map50": 0.9}])
    assert found["seed_set"] == pytest.approx({"mean": 0.2, "sd": 0.1, "seeds": 3})
    assert found["all"] == pytest.approx({"mean": 0.45, "sd": 0.0, "seeds": 3})
    assert found["passes"] is True and sentence(found) == ""
    near = signal([*low, *rows("all", 0.39, 0.39, 0.39)])
    assert near["passes"] is False
    assert "FAILED: mAP50 is 0.390 with all labels and 0.200 with the seed set" in sentence(near)
    assert "(0.000 and 0.100)" in sentence(near)


def test_the_larger_deviation_counts_and_worse_with_all_labels_fails():
    wide = rows("all", 0.2, 0.5, 0.8)  # sd 0.3
    assert signal([*rows("seed_set", 0.0, 0.0), *wide])["passes"] is False
    assert signal([*rows("seed_set", 0.9, 0.9), *rows("all", 0.1, 0.1)])["passes"] is False


@pytest.mark.parametrize(
    "found", [[], rows("seed_set", 0.1, 0.2), rows("seed_set", 0.1) + rows("all", 0.9)]
)
def test_without_both_kinds_or_two_seeds_nothing_is_known(found):
    gate = signal(found)
    assert gate["passes"] is None and "was not run" in sentence(gate)


def made(kind, model, *, strategy=None, number=None, pool=None, train=100.0, score=0.0, known=0.0):
    return {
        "kind": kind, "strategy": strategy, "seed": 0, "round": number, "model": model,
        "pool": pool,
        "cpu_seconds": {"train": train, "evaluate": 10.0, "score": score, "select": 1.0,
                        "score_labelled": known, "correct": 1.0},
    }  # fmt: skip


def test_the_cost_ratios_by_hand():
    """Two strategies of one seed; their first rounds chose the same images from one pool."""
    found = [
        made("seed_set", "s", train=90.0),  # 100 + 2
        made("round", "m", strategy="a", number=1, pool="s/mask", score=20.0),  # 110 + 20 + 2
        made("round", "m", strategy="b", number=1, pool="s/mask", score=20.0, known=3.0),
        made("round", "n", strategy="a", number=2, pool="m/mask", score=18.0),  # 110 + 18 + 2
        made("round", "o", strategy="b", number=2, pool=None),  # 110 + 2
        made("all", "x", train=9e9),
    ]
    by_itself = 132 + 135 + 130 + 112
    shared = (100 + 3 * 110) + (20 + 18) + 3 + 5 * 2
    strategies, rows_alone = by_itself + 2 * 102, by_itself + 90 + 90 + 100 + 100
    assert cost(found) == pytest.approx(
        {
            "shared_cpu_seconds": shared,
            "strategies_alone_cpu_seconds": strategies,
            "rows_alone_cpu_seconds": rows_alone,
            "ratio_to_strategies_alone": shared / strategies,
            "ratio_to_rows_alone": shared / rows_alone,
        }
    )
    assert cost(found[:1])["ratio_to_rows_alone"] is None
