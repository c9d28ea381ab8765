"""The verdict at the end of a DEMO=auto run."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import pytest
from rich.console import Console

from backend.store.live import LiveRow
from backend.store.live_evaluation import Total, evaluate
from demo.errors import DemoError
from demo.options import Options, options_from
from demo.pre_annotations import PreAnnotation
from demo.summary import arms_of, in_a_sentence, print_live, shortcomings, visible_regions

OPTIONS = Options(auto=True, folder=Path(), data=None, images=None)
SECOND = {
    "round": 2, "images": 24, "objects": 80, "seconds": 95.4, "corrected": 2.5, "by_hand": 3.5
}  # fmt: skip
VERSIONS = ["taudis-0001-a", "taudis-0002-b", "taudis-0003-c", "taudis-0004-d"]
SEEN = [
    PreAnnotation(1, VERSIONS[0], 0, 0, 0, 4),
    PreAnnotation(2, VERSIONS[1], 6, 0, 1, 4),
    PreAnnotation(3, VERSIONS[2], 3, 0, 2, 4),
    PreAnnotation(4, VERSIONS[3], 2, 0, 2, 2),
]
GOOD = {
    "served": 40, "served_in_order": 40, "annotations": 36, "annotations_in_last_snapshot": 36,
    "broken_promises": [], "map50": [0.29, 0.44, 0.61], "labels": [12, 24, 36],
    "apart": {"double": 2, "changed_meanwhile": 1},
    "first_useful": {"first": SECOND, "latest": SECOND},
    "held_out_cost": [[4.0, 4.0], [3.25, 4.0], [2.5, 4.0]],
    **visible_regions(SEEN, VERSIONS),
    "live": {"total": Total(9, {"accepted": 4, "reshaped": 3, "removed": 2, "added": 1}).to_json()},
}  # fmt: skip


def test_a_good_run_is_described_in_a_sentence():
    assert shortcomings(GOOD, OPTIONS) == []
    text = in_a_sentence(GOOD)
    assert "40 of 40 tasks" in text and "36 of 36 annotations" in text
    assert "rose: 0.29 with 12 labels, 0.61 with 36" in text and "(3 not counted" in text
    assert (
        "First useful pre-annotations: round 2, with 24 labelled images (80 objects), 95 s after"
        " the project was connected: correcting an image costs as much as drawing 2.50 objects,"
        " 29 % less than drawing all 3.50. On the held-out pictures, correcting the last model's"
        " costs as much as drawing 2.50 objects a picture, drawing all 4.00."
    ) in text
    none = {"first": None, "latest": {**SECOND, "corrected": 3.5}}
    assert "not yet: after round 2" in in_a_sentence(GOOD | {"first_useful": none})
    assert (
        "0.61 with 36. Of 5 regions that annotators were shown from the second model on, 4 (80 %)"
        " matched an object at IoU 0.5; 4 of 6 objects (67 %) were found. Live evaluation: of 9"
        " regions that annotators were given, 4 were accepted, 3 reshaped, 0 relabelled and 2"
        " removed; 1 of 8 objects were added. First useful"
    ) in text
    assert "did not rise" in in_a_sentence(GOOD | {"map50": [0.6, 0.5]})


def test_a_run_with_a_control_arm_says_whether_the_order_pays():
    from tests.backend.store.test_arms import compared

    rows = [compared(2, 0.02, 0.1), compared(3, 0.02, 0.1)]
    with_arms = GOOD | arms_of(rows, 0.5)
    assert with_arms["arms"]["pays"] == "pays"
    assert with_arms["arms"]["rows"][1]["labels"] == 16
    options = dataclasses.replace(OPTIONS, control_share=0.5)
    assert shortcomings(with_arms, options) == []
    assert "Whether the order pays: it pays: with 16 labels each" in in_a_sentence(with_arms)
    assert shortcomings(GOOD | arms_of([], 0.5), options) == [
        "the arms of the queue were not compared"
    ]
    assert arms_of([], 0.0) == {}


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


def test_the_live_evaluation_is_printed_as_a_table():
    counts = {"disc": {"accepted": 3, "unchanged": 2, "removed": 1, "added": 1}}
    live = evaluate(
        [LiveRow(1, 1, "", "visible", VERSIONS[1], 1, 2.0, counts),
         LiveRow(2, 2, "", "blank", VERSIONS[1], 1, 3.0, {"disc": {"removed": 2}}),
         LiveRow(3, 3, "", "visible", VERSIONS[2], 1, 3.0, {"disc": {"reshaped": 1234}})],
        VERSIONS,
        random={1},
    )  # fmt: skip
    console = Console(record=True, width=80, file=io.StringIO())
    print_live(console, live)
    text = console.export_text()
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert "1 1 4 75 % 50 % 0 % 0 % 25 % 4 25 %" in rows
    assert "2 1 1234 0 % 0 % 100 % 0 % 0 % 1234 0 %" in rows
    assert any(row.startswith("1: random 1 4 75 %") for row in rows)
    assert "…" not in text and max(map(len, text.splitlines())) <= 80
    assert "blank tasks" in text and "do not make them faster" in text
    assert options_from({"DEMO_BLANK": "0.2"}).blank_share == 0.2
    with pytest.raises(DemoError, match=r"DEMO_BLANK: expected a share from 0 to 0\.5"):
        options_from({"DEMO_BLANK": "20"})
