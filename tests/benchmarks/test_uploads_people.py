"""The waits of the benchmark of uploads are compared with those without the backend, and its order
is checked."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from benchmarks.uploads_life import Life
from benchmarks.uploads_people import WITHOUT, against_without, order_met
from demo.records import Done, Served


def waits(median, worst, submit):
    return {
        "next_s": {"median": median, "max": worst, "count": 9},
        "submit_s": {"median": submit, "max": submit, "count": 9},
    }


def test_a_phase_holds_if_its_waits_grow_little():
    rows = {
        WITHOUT: waits(0.2, 0.4, 0.1), "connect": {}, "label": {"next_s": {"count": 0}},
        "round": waits(0.26, 3.5, 0.13), "placing them": waits(0.3, 1.0, 0.1),
        "prune by rows": waits(0.2, 3.6, 0.1),
    }  # fmt: skip
    found = against_without(rows)
    assert [(row["phase"], row["holds"]) for row in found] == [
        ("round", True), ("placing them", False), ("prune by rows", False),
    ]  # fmt: skip
    assert found[0]["next_ratio"] == 1.3 and found[0]["submit_ratio"] == 1.3
    assert against_without({"round": waits(0.2, 1.0, 0.1)}) == []


def test_what_was_served_is_checked_against_the_kept_orders():
    served = [
        Served("a", 0, 0.1, 5),  # before the backend
        Served("a", 1, 1.1, 1, "v1", "v1"),
        Served("b", 2, 2.1, 3, "v1", "v1"),  # task 2 was free
        Served("b", 4, 4.1, 2, "v9", "v9"),
    ]
    done = [Done("a", 1, 1.5, 1.6, False)]
    life = SimpleNamespace(
        annotators=[SimpleNamespace(served=served, done=done)],
        looked_at=[],
        orders={"v1": {1: 0.0, 2: 1.0, 3: 2.0}},
        phase_at=lambda moment: "round" if moment > 1 else "",
    )
    first = {
        "annotator": "b", "task": 3, "better": 2, "verdict": "out_of_order", "version": "v1",
        "phase": "round",
    }  # fmt: skip
    assert order_met(life) == {
        "served": 4, "checked": 2, "verdicts": {"in_order": 1, "out_of_order": 1}, "defects": 1,
        "first_defects": [first],
    }  # fmt: skip


@pytest.mark.parametrize("person", [True, False])
def test_a_task_that_is_locked_by_a_request_outside_the_check_is_not_free(person):
    """By an annotator before the backend was connected, or by the benchmark's own account."""
    first = Served("a", 0, 0.1, 1)
    served = [*([first] if person else []), Served("b", 2, 2.1, 2, "v1", "v1")]
    life = SimpleNamespace(
        annotators=[SimpleNamespace(served=served, done=[])],
        looked_at=[] if person else [first],
        orders={"v1": {1: 0.0, 2: 1.0}},
        phase_at=lambda moment: "label",
    )
    assert order_met(life)["verdicts"] == {"in_order": 1}


def test_the_waits_of_a_phase_are_those_of_its_time():
    life = Life(*[None] * 9)
    life.journal = SimpleNamespace(add=lambda name, row: None)
    life.memory = SimpleNamespace(reset=dict)
    with life.phase("round"):
        now = time.time()
        person = SimpleNamespace(
            served=[Served("a", now, now + 0.2, 1), Served("a", now - 60, now - 59, 2)],
            done=[Done("a", 1, now, now + 0.1, False)],
        )
        life.annotators.append(person)
        time.sleep(0.01)
    found = life.waited("round")
    assert (found["next_s"]["count"], found["submit_s"]["count"]) == (1, 1)
    assert life.phase_at(now) == "round" and life.phase_at(now - 60) == ""
