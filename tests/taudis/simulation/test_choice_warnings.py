"""The warnings of selections are counted by strategy and kind."""

from taudis.simulation.choice_warnings import choice_warnings


def row(strategy, seed, number, *warnings):
    selection = {"warnings": list(warnings)} if strategy else None
    kind = "round" if strategy else "seed_set"
    return {
        "kind": kind, "strategy": strategy, "seed": seed, "round": number, "selection": selection,
    }  # fmt: skip


def test_warnings_that_differ_in_numbers_are_one_kind():
    rows = [
        row("taudis", 1, 1, "Few images: 7 of 16."),
        row("taudis", 0, 2, "Few images: 9 of 16.", "Sigma 0.8 is flat."),
        row("taudis", 0, 1),
        row("wse", 0, 1, "Few images: 3 of 16."),
        row(None, 0, None),
    ]
    assert choice_warnings(rows) == [
        "taudis, 2 of 3 selections, as seed 0, round 2: Few images: 9 of 16.",
        "taudis, 1 of 3 selections, as seed 0, round 2: Sigma 0.8 is flat.",
        "wse, 1 of 1 selections, as seed 0, round 1: Few images: 3 of 16.",
    ]


def test_a_selection_with_two_warnings_of_a_kind_counts_once():
    rows = [
        row("taudis", 0, 1, "Few images: 7 of 16.", "Few images: 3 of 16."),
        row("taudis", 0, 2),
    ]
    assert choice_warnings(rows) == [
        "taudis, 1 of 2 selections, as seed 0, round 1: Few images: 7 of 16."
    ]


def test_rows_without_a_selection_have_no_warning():
    assert choice_warnings([{"kind": "round", "strategy": "random", "seed": 0, "round": 1}]) == []
