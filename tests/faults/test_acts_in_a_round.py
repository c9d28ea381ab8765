"""F6: an annotator labels, edits, deletes, skips and labels again at the points of a round."""

from collections import Counter

import pytest

from backend.store.rounds import STEPS
from tests.faults.driver import Event
from tests.faults.schedules import POINTS, Schedules

ACTS = ("label", "edit", "delete", "skip", "again")
APART = 3  # points from one act to the next
TASKS = 26


def acts(first, shift):
    """An act at every third point from `first` on; `shift` turns the order of the acts."""
    points = range(first, POINTS, APART)
    return tuple(
        (point, Event(ACTS[(number + shift) % len(ACTS)], number))
        for number, point in enumerate(points)
    )


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.fault("F6", "once", "queue")
def test_acts_at_every_point_of_a_round(tmp_path, untrained_model, figures, full):
    runs = Schedules(tmp_path, untrained_model, tasks=TASKS, drawn=True)
    plans = [(first, shift) for shift in range(len(ACTS)) for first in range(1, APART + 1)]
    done, found = Counter(), []
    for plan in plans if full else plans[:1]:
        with runs.driver() as driver:
            found += one_round(driver, acts(*plan), done)
    names = Counter(each.name for each in found)
    again = names["served again"]
    figures(acts=done.total(), lost=names["lost annotation"], served_again=again,
            doubled=names["doubled annotation"] + names["wrong annotation"])  # fmt: skip
    assert not found, found
    assert done.keys() == {*STEPS["train"], "no round"}


def one_round(driver, inside, done):
    """A round with acts at these points, and the next one; what its history breaks."""
    happen = driver.happen

    def act(event):
        newest = driver.project.rounds[0]
        if event.name in ACTS:
            done[(newest.ended is None and newest.next_step) or "no round"] += 1
        happen(event)

    for number in range(6):
        happen(Event("label", number))
    happen(Event("train"))
    driver.happen = act
    happen(Event("turn", 0, inside))
    driver.happen = happen
    assert driver.project.rounds[0].outcome == "served", driver.project.rounds[0].message
    driver.settle()
    return driver.history().violations()
