"""What a run cost, against numbers made by hand."""

from __future__ import annotations

import pytest

from taudis.simulation.cpu_cost import cost


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
