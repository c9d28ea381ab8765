"""The checker of histories: an honest backend passes, and each planted fault is found by name."""

import pytest

from demo.history import History
from demo.records import (
    NEVER,
    Counted,
    Deleted,
    Done,
    Edited,
    Posted,
    Records,
    Served,
    Snapshot,
    Switched,
    Violation,
    Webhook,
)
from tests.faults import planted
from tests.faults.driver import Event
from tests.faults.schedules import Schedules, random_events

TURN = Event("turn")
SCHEDULE = (
    Event("label", 0), Event("ask", 1), Event("import", 0), Event("cut"), TURN, TURN,
    Event("label", 1), Event("label", 0), Event("edit", 1), Event("train"), TURN, Event("ask", 0),
)  # fmt: skip
"""Labels, an edit, new tasks, a post whose answer gets lost, and a training."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("breaks", "expected"),
    [
        (None, set()),
        (planted.lose_an_annotation, {"lost annotation", "lost webhook"}),
        (planted.answer_without_recording, {"unrecorded webhook"}),
        (planted.post_again_under_the_same_version, {"mixed order"}),
        (planted.go_back_to_the_order_before, {"stale flip"}),
        (planted.switch_twice, {"double flip"}),
    ],
    ids=["honest", "lost annotation", "unrecorded webhook", "mixed order", "stale flip",
         "double flip"],
)  # fmt: skip
def test_a_planted_fault_is_found_by_its_name(tmp_path, untrained_model, breaks, expected):
    runs = Schedules(tmp_path, untrained_model, breaks=breaks)
    found = {each.name for each in runs.violations(SCHEDULE)}
    assert found == expected, found


@pytest.mark.slow
def test_webhooks_are_recorded_and_a_label_whose_webhook_was_lost_is_polled(
    tmp_path, untrained_model
):
    runs, mark = Schedules(tmp_path, untrained_model), Event("mark", 1)
    with runs.driver() as driver:
        history = driver.run([mark, Event("lost"), mark, Event("held"), mark, Event("train"), TURN])
    records = history.records
    assert history.violations() == []
    created = [each for each in records.webhooks if each.action == "ANNOTATION_CREATED"]
    assert [each.status for each in created] == [200, 0, 200]
    assert [each.annotations for each in created] == [(act.annotation,) for act in records.done]
    assert records.events["changed"] == 2 and records.events["train"] >= 2
    counted = {entry.annotation for entry in records.snapshots[-1].entries}
    assert counted == {act.annotation for act in records.done}


@pytest.mark.slow
def test_a_worker_that_does_not_poll_is_found_by_its_lost_webhook(tmp_path, untrained_model):
    runs = Schedules(tmp_path, untrained_model, breaks=planted.trust_webhooks)
    found = {each.name for each in runs.violations([Event("lost"), Event("mark", 1), TURN])}
    assert found == {"lost annotation", "missed poll"}


# --- the promises, on records made by hand ------------------------------------------------------

V1, V2 = "taudis-0001-aa", "taudis-0002-ab"
ORDERS = (
    Posted(V1, 0, 1, {1: 0.5, 2: 1.0}),
    Posted(V2, 10, 11, {2: 0.5, 3: 1.0}),
)
FLIPS = (Switched(V1, 2, 3), Switched(V2, 12, 13))
MADE = Done("ann", 1, 5, 6, False, annotation=7, updated_at="2026-01-01T00:00:05+00:00")


def names(*, posted=ORDERS, switched=FLIPS, snapshots=(), **others):
    """The names of what a history breaks."""
    maps = ("imported", "gone", "events")
    given = {name: list(rows) for name, rows in others.items() if name not in maps}
    kept = {name: rows for name, rows in others.items() if name in maps}
    records = Records(
        posted=list(posted), switched=list(switched), snapshots=list(snapshots), **given, **kept
    )
    return [each.name for each in History(records).violations()]


def read(*entries, began=20, ended=21):
    return (Snapshot(2, began, ended, tuple(entries)),)


def counted(annotation=7, task=1, split="train", when="2026-01-01T00:00:05+00:00"):
    return Counted(task, annotation, split, when)


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ({"done": [MADE], "snapshots": read(counted())}, []),
        ({"done": [MADE], "snapshots": read()}, ["lost annotation"]),
        ({"done": [MADE], "snapshots": read(began=5.5)}, []),  # overlaps: the next round's
        ({"done": [MADE], "snapshots": read(counted(), began=5.5)}, []),
        ({"done": [MADE], "snapshots": read(counted(), counted(split="validation"))},
         ["doubled annotation"]),
        ({"done": [MADE], "snapshots": read(counted(split=""))}, ["lost annotation"]),
        ({"done": [MADE], "deleted": [Deleted(7, 8, 9)], "snapshots": read(counted())},
         ["wrong annotation"]),
        ({"done": [MADE], "deleted": [Deleted(7, 8, 9)], "snapshots": read()}, []),
        ({"done": [MADE], "deleted": [Deleted(7, 8, NEVER)], "snapshots": read()}, []),
        ({"done": [MADE], "edited": [Edited(7, 8, 9, "2026-01-01T00:00:08+00:00")],
          "snapshots": read(counted())}, ["wrong annotation"]),
        ({"done": [MADE], "edited": [Edited(7, 8, 9, "2026-01-01T00:00:08+00:00")],
          "snapshots": read(counted(when="2026-01-01T00:00:08+00:00"))}, []),
        ({"done": [MADE, Done("ben", 1, 7, 8, False, 9, "2026-01-01T00:00:07+00:00")],
          "snapshots": read(counted())}, ["wrong annotation"]),
        ({"done": [Done("ann", 1, 5, 6, True, 7)], "snapshots": read(counted())},
         ["wrong annotation"]),
        ({"snapshots": read(counted())}, ["wrong annotation"]),
        ({"done": [MADE], "gone": {1: (7, 8)}, "snapshots": read()}, []),
    ],
)  # fmt: skip
def test_every_acknowledged_annotation_counts_once(records, expected):
    assert names(**records) == expected


def webhook(status, annotations=(7,), sent=5.2, action="ANNOTATION_CREATED"):
    return [Webhook(action, sent, sent + 0.1, status, annotations)]


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ({"webhooks": webhook(200), "snapshots": read(counted())}, []),
        ({"webhooks": webhook(200), "snapshots": read()}, ["lost annotation", "lost webhook"]),
        ({"webhooks": webhook(200, ()), "snapshots": read()}, ["lost annotation", "lost webhook"]),
        ({"webhooks": webhook(500), "snapshots": read()}, ["lost annotation", "missed poll"]),
        ({"webhooks": webhook(0), "snapshots": read()}, ["lost annotation", "missed poll"]),
        ({"webhooks": webhook(0), "snapshots": read(counted())}, []),
        ({"webhooks": webhook(200, sent=30), "snapshots": read()},  # held back until after
         ["lost annotation", "missed poll"]),
        ({"webhooks": webhook(200, (8,)), "snapshots": read()},  # of another annotation
         ["lost annotation", "missed poll"]),
        ({"webhooks": webhook(200), "snapshots": read(began=5.25)}, []),  # overlaps the submit
        ({"webhooks": webhook(200), "events": {"changed": 1}}, []),
        ({"webhooks": webhook(200), "events": {"setup": 1}}, ["unrecorded webhook"]),
        ({"webhooks": webhook(200) * 2, "events": {"changed": 1}}, ["unrecorded webhook"]),
        ({"webhooks": webhook(500), "events": {"setup": 1}}, []),
        ({"webhooks": webhook(200, (), action="TASKS_CREATED"), "events": {"setup": 1}}, []),
    ],
)  # fmt: skip
def test_what_a_webhook_told_is_recorded_and_counts(records, expected):
    assert names(done=[MADE], **records) == expected


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ({}, []),
        ({"switched": [*FLIPS, Switched(V1, 14, 15)]}, ["stale flip"]),
        ({"switched": [*FLIPS, Switched(V1, 14, 15, by_person=True)]}, []),
        ({"switched": [*FLIPS, Switched(V1, 14, 15, True), Switched(V1, 16, 17)]}, []),
        ({"switched": [*FLIPS, Switched(V2, 14, 15)]}, []),  # sent again after a kill
        ({"switched": [*FLIPS, Switched(f"{V2}-2", 14, 15)]}, ["double flip"]),
        ({"switched": [*FLIPS, Switched("", 14, 15)]}, []),
        ({"posted": [*ORDERS, Posted(V2, 11.5, 11.6, {2: 1.0})]}, ["mixed order"]),
        ({"imported": {4: 5.0}, "snapshots": read(began=9)}, ["incomplete order"]),
        ({"imported": {4: 5.0}, "snapshots": read(began=4)}, []),
    ],
)
def test_orders_are_whole_and_go_forward(records, expected):
    assert names(**records) == expected


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [((V2, 0.5), []), ((V1, 1.0), ["mixed order"]), ((V2, 0.25), ["mixed order"])],
)
def test_prediction_and_rank_are_of_one_version(prediction, expected):
    assert names(served=[Served("ann", 14, 15, 2, predictions=(prediction,))]) == expected


def test_a_request_during_a_flip_is_of_one_order_or_the_other():
    for task, expected in ((1, []), (2, []), (3, ["out of order"])):
        assert names(served=[Served("ann", 12.4, 12.6, task)]) == expected


# --- random schedules ---------------------------------------------------------------------------


class OfTwo(Schedules):
    """Stands for a backend that fails if task 3 is labelled before a kill in a turn."""

    def __init__(self):
        self.runs = 0

    def violations(self, events):
        self.runs += 1
        kills = [i for i, e in enumerate(events) if any(x.name == "kill" for _, x in e.inside)]
        labels = [i for i, e in enumerate(events) if e == Event("label", 3)]
        bad = kills and labels and labels[0] < kills[-1]
        return [Violation("lost annotation", "of task 3")] if bad else []


def test_a_failing_schedule_is_shrunk_to_what_it_needs():
    events = random_events(1, 40)
    events.insert(7, Event("label", 3))
    events.append(Event("turn", 0, ((3, Event("ask", 1)), (9, Event("kill", 2)))))
    runs = OfTwo()
    first, opening, label, turn, closing = runs.report(1, events).splitlines()
    assert (first, opening, closing) == ("seed 1: lost annotation: of task 3", "[", "]")
    assert label == '    Event("label", 3),'
    needed = eval(turn.strip().rstrip(","), {"Event": Event})
    assert needed.name == "turn" and [each.name for _, each in needed.inside] == ["kill"]
    assert runs.runs < 200


def test_one_seed_gives_one_schedule():
    assert random_events(5, 30) == random_events(5, 30) != random_events(6, 30)
