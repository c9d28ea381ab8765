"""The verdict at the end of a DEMO=auto run."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.options import Options
from demo.summary import in_a_sentence, shortcomings

OPTIONS = Options(auto=True, folder=Path(), data=None, images=None)
GOOD = {
    "served": 40, "served_in_order": 40, "annotations": 36, "annotations_in_last_snapshot": 36,
    "map50": [0.29, 0.44, 0.61], "labels": [12, 24, 36],
    "apart": {"double": 2, "changed_meanwhile": 1},
}  # fmt: skip


def test_a_good_run_is_described_in_a_sentence():
    assert shortcomings(GOOD, OPTIONS) == []
    text = in_a_sentence(GOOD)
    assert "40 of 40 tasks" in text and "36 of 36 annotations" in text
    assert "rose: 0.29 with 12 labels, 0.61 with 36" in text and "(3 not counted" in text
    assert "did not rise" in in_a_sentence(GOOD | {"map50": [0.6, 0.5]})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"served_in_order": 39}, "39 of 40 served in order"),
        ({"annotations_in_last_snapshot": 35}, "does not hold every annotation"),
        ({"map50": [0.6, 0.5]}, "no better than the first"),
    ],
)
def test_every_broken_promise_is_named(changed, message):
    (text,) = shortcomings(GOOD | changed, OPTIONS)
    assert message in text
