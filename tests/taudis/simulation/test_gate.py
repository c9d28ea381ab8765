"""The signal gate, against numbers made by hand."""

from __future__ import annotations

import pytest

from taudis.simulation.gate import closed_at_once, signal, signal_of_rows


def test_the_gate_by_hand():
    """Seed set 0.1, 0.2, 0.3: mean 0.2, sd 0.1. All 0.45, 0.45, 0.45: mean 0.45, sd 0."""
    found = signal([0.1, 0.2, 0.3], [0.45, 0.45, 0.45])
    assert found.to_dict() == {
        "passed": True,
        "seed_set": {"mean": 0.2, "sd": 0.1, "seeds": 3},
        "all": {"mean": 0.45, "sd": 0.0, "seeds": 3},
    }
    assert found.passed is True and found.warning == ""
    near = signal([0.1, 0.2, 0.3], [0.39, 0.39, 0.39])
    assert near.passed is False
    assert (
        "failed: mAP50 0.200 (standard deviation 0.100, 3 seeds) with the seed set,"
        " 0.390 (standard deviation 0.000, 3 seeds) with all labels" in near.warning
    )


def test_the_larger_deviation_counts_and_worse_with_all_labels_fails():
    assert signal([0.0, 0.0], [0.2, 0.5, 0.8]).passed is False  # sd 0.3
    assert signal([0.2, 0.5, 0.8], [1.0, 1.0]).passed is False
    assert signal([0.9, 0.9], [0.1, 0.1]).passed is False


@pytest.mark.parametrize(
    ("seed_set", "all_labels"),
    [([], []), ([0.1, 0.2], []), ([], [0.1, 0.2]), ([0.1], [0.9]),
     ([0.1, 0.12], [0.5])],
)  # fmt: skip
def test_without_both_kinds_or_two_seeds_nothing_is_known(seed_set, all_labels):
    gate = signal(seed_set, all_labels)
    assert gate.passed is None and "was not run" in gate.warning


def test_the_figures_of_one_seed_have_no_deviation():
    gate = signal([0.1, 0.12], [0.5])
    assert gate.to_dict()["all"] == {"mean": 0.5, "sd": None, "seeds": 1}
    assert "0.500 (standard deviation unknown, 1 seed)" in gate.figures


def test_rows_of_rounds_do_not_count():
    rows = [{"kind": "seed_set", "map50": value} for value in (0.1, 0.2)]
    rows += [{"kind": "round", "map50": 0.9}, {"kind": "all", "map50": 0.5}]
    assert signal_of_rows(rows) == signal([0.1, 0.2], [0.5])


def test_what_the_first_round_of_random_closes():
    """Seed set 0.2, all labels 0.6: 0.5 is three quarters of the way. Others do not count."""
    models = [{"kind": kind, "seed": 0, "map50": map50}
              for kind, map50 in (("seed_set", 0.2), ("all", 0.6))]  # fmt: skip
    rounds = [
        {"kind": "round", "seed": 0, "strategy": strategy, "round": number, "map50": map50}
        for strategy, number, map50 in (("random", 1, 0.5), ("random", 2, 0.6), ("wse", 1, 0.1))
    ]
    assert closed_at_once(models + rounds) == pytest.approx(0.75)
    assert closed_at_once(models) is None and closed_at_once(rounds) is None
    assert closed_at_once([models[0], {**models[1], "map50": 0.1}, *rounds]) is None


def test_only_seeds_with_all_three_models_count():
    """Seed 1 lacks random's first round, seed 2 the model of all labels."""
    rows = [
        {"kind": kind, "seed": seed, "strategy": strategy, "round": number, "map50": map50}
        for kind, seed, strategy, number, map50 in (
            ("seed_set", 0, None, None, 0.2), ("all", 0, None, None, 0.6),
            ("round", 0, "random", 1, 0.5), ("seed_set", 1, None, None, 0.9),
            ("all", 1, None, None, 0.9), ("round", 2, "random", 1, 0.9),
        )
    ]  # fmt: skip
    assert closed_at_once(rows) == pytest.approx(0.75)
