"""What a run of DEMO=auto says at its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.__main__ import in_short, shortcomings
from demo.environment import Options

OPTIONS = Options(auto=True, folder=Path(), data=None, images=None)
GOOD = {
    "served": 40, "served_in_order": 40, "annotations": 36, "annotations_in_last_snapshot": 36,
    "map50": [0.29, 0.44, 0.61], "labels": [12, 24, 36],
    "apart": {"double": 2, "changed_meanwhile": 1},
}  # fmt: skip


def test_a_good_run_is_told_in_a_sentence():
    assert shortcomings(GOOD, OPTIONS) == []
    told = in_short(GOOD)
    assert "40 of 40 tasks" in told and "36 of 36 annotations" in told
    assert "rose: 0.29 with 12 labels, 0.61 with 36" in told and "(3 not counted" in told
    assert "did not rise" in in_short(GOOD | {"map50": [0.6, 0.5]})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"served_in_order": 39}, "39 of 40 served in order"),
        ({"annotations_in_last_snapshot": 35}, "does not hold every annotation"),
        ({"map50": [0.6, 0.5]}, "no better than the first"),
    ],
)
def test_what_is_not_as_promised_is_told(changed, message):
    (told,) = shortcomings(GOOD | changed, OPTIONS)
    assert message in told
