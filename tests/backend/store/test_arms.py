"""The arms of labelled tasks in the store, and what comparisons say to people."""

import dataclasses

import pytest

from backend.errors import LeaseLost
from backend.store.arms import ArmComparison, in_words, verdict
from backend.store.database import Store
from backend.store.lease import Lease
from backend.web.arms import HEADINGS, arms_view

DRAW, OTHER = "share 0.25, seed 0", "share 0.5, seed 0"


def compared(number, low, high, draw=DRAW):
    """The comparison of a round with this interval of the difference."""
    middle = None if low is None else (low + high) / 2
    return ArmComparison(
        round=number, number=number, version=f"v{number}", draw=draw, strategy="taudis",
        common=10, images=6, labelled={"random": 6, "strategy": 18}, validation=20, steps=240,
        map50={"random": 0.3, "strategy": None if middle is None else 0.3 + middle},
        intervals={"random": [0.2, 0.4], "strategy": [0.2, 0.5]},
        difference=middle, interval=[low, high],
    )  # fmt: skip


BETTER, WORSE, UNCLEAR = (0.02, 0.1), (-0.1, -0.02), (-0.04, 0.1)


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ([], "cannot be told"),
        ([BETTER], "cannot be told"),
        ([BETTER, BETTER], "pays"),
        ([WORSE, BETTER, BETTER], "pays"),
        ([BETTER, BETTER, UNCLEAR], "cannot be told"),
        ([BETTER, WORSE], "cannot be told"),
        ([WORSE, WORSE], "does not pay"),
        ([(None, None), (None, None)], "cannot be told"),
        ([(0.0, 0.1), (0.0, 0.1)], "cannot be told"),
        ([(0.005, 0.03), (0.005, 0.03)], "cannot be told"),  # two trainings differ by as much
        ([(0.03, 0.07), (0.03, 0.07)], "pays"),
    ],
)
def test_two_comparisons_in_a_row_must_agree(intervals, expected):
    found = [compared(number, *ends) for number, ends in enumerate(intervals)]
    assert verdict(found) == expected
    assert in_words(found).startswith(
        {"pays": "it pays", "does not pay": "it does not pay"}.get(expected, "cannot be told yet")
    )


def test_no_arm_is_better_where_all_labels_say_the_opposite():
    """The interval is over the labels that enough images show."""
    turned = dataclasses.replace(compared(1, *BETTER), map50={"random": 0.83, "strategy": 0.5})
    assert compared(1, *BETTER).better == "strategy" and turned.better is None
    assert verdict([turned, turned]) == "cannot be told"
    assert in_words([turned, turned]).endswith("say the opposite of the interval")


def test_a_difference_that_two_trainings_may_have_is_called_so():
    assert in_words([compared(1, 0.005, 0.03)]).endswith("Two trainings may differ by as much")
    assert in_words([compared(1, *UNCLEAR)]).endswith("validation images)")


def test_the_sentence_has_the_figures():
    text = in_words([compared(1, *BETTER)])
    assert "with 16 labels each (10 of them in common)" in text
    assert "mAP50 is 0.360 by taudis and 0.300 at random" in text
    assert "(95 % interval of the difference +0.020 to +0.100, on 20 validation images)" in text
    assert text.endswith("The strategy's arm is better, in this comparison alone")
    assert "no validation image shows an object" in in_words([compared(1, None, None)])


def test_what_is_recorded_stays_and_another_draw_makes_it_common(tmp_path):
    store = Store(tmp_path)
    lease = store.acquire()
    store.record_arms(lease, 7, DRAW, {1: "both", 2: "random", 3: "strategy"})
    store.record_arms(lease, 7, DRAW, {2: "strategy", 4: "random"})
    store.record_arms(lease, 8, DRAW, {1: "random"})
    assert store.arms(7, DRAW) == {1: "both", 2: "random", 3: "strategy", 4: "random"}
    assert store.arms(7, OTHER) == dict.fromkeys((1, 2, 3, 4), "both")
    store.record_arms(lease, 7, OTHER, {2: "random", 5: "strategy"})
    assert store.arms(7, OTHER) == {1: "both", 2: "both", 3: "both", 4: "both", 5: "strategy"}
    assert store.random_tasks(7) == {2, 4} and store.random_tasks(9) == set()
    with pytest.raises(LeaseLost):
        store.record_arms(Lease("nobody", -1), 7, DRAW, {9: "random"})
    store.close()


def test_comparisons_are_one_a_round_and_the_newest_draw_is_on_the_page(tmp_path):
    store = Store(tmp_path)
    lease = store.acquire()
    assert arms_view(store, 7, 0.0) is None
    assert arms_view(store, 7, 0.25) == {
        "sentence": "cannot be told yet: the arms were not compared yet",
        "headings": HEADINGS, "rows": [],
    }  # fmt: skip
    store.add_comparison(lease, 7, compared(2, *UNCLEAR, draw=OTHER))
    store.add_comparison(lease, 7, compared(4, *UNCLEAR))
    store.add_comparison(lease, 7, compared(3, *WORSE))
    store.add_comparison(lease, 7, dataclasses.replace(compared(4, *BETTER), images=8))
    assert [(one.round, one.images) for one in store.comparisons(7)] == [(3, 6), (4, 8)]
    assert [one.round for one in store.comparisons(7, OTHER)] == [2]
    assert store.comparisons(8) == []
    view = arms_view(store, 7, 0.0)
    first, second = (dict(zip(HEADINGS, row, strict=True)) for row in view["rows"])
    assert (first["Labels"], second["Labels"]) == ("16", "18")
    assert second == {
        "Round": "4", "Labels": "18", "of the arm alone": "8",
        "By the strategy": "0.360 (0.200 to 0.500)", "At random": "0.300 (0.200 to 0.400)",
        "Difference": "+0.060", "95 % interval": "+0.020 to +0.100",
    }  # fmt: skip
    store.close()
