"""The first useful pre-annotations, from the rows that rounds left."""

import json

import pytest
import sqlalchemy as sa

from backend.store.database import Store
from backend.store.first_useful import FirstUseful, first_useful
from backend.store.rounds import rounds_table

TRAINED = {"images": 12, "mean_instances": 3.25}  # 39 objects
METRICS = {"images": 4, "instances": 11, "map50": None}


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    yield store
    store.close()


@pytest.fixture
def lease(store):
    return store.acquire()


def ended_round(store, lease, ended, evaluated=None, *, trained=TRAINED, outcome="served"):
    """A round that ended at a second; the first one starts at second 100."""
    round_ = store.open_round(lease, 7, "train", "test", [])
    if evaluated is not None:
        store.finish_step(lease, round_.id, "trained", trained)
        store.finish_step(lease, round_.id, "evaluated", evaluated)
    store.end_round(lease, round_.id, outcome, "")
    started = 100.0 if round_.number == 1 else ended - 20
    with store.writing() as db:
        db.execute(
            rounds_table.update()
            .where(rounds_table.c.id == round_.id)
            .values(started=started, ended=ended)
        )
    return round_.number


def cost(corrected, by_hand=2.75):
    return {"metrics": METRICS, "correction": {"corrected": corrected, "by_hand": by_hand}}


def test_the_first_served_round_where_correcting_costs_less_than_drawing(store, lease):
    assert first_useful(store, 7).in_words() == "not yet: no model was judged and served"
    ended_round(store, lease, 101)  # the first order has no model
    assert first_useful(store, 7).latest is None
    ended_round(store, lease, 160, cost(2.75))  # nothing is worth showing: the costs are equal
    found = first_useful(store, 7)
    assert found.first is None
    assert found.in_words() == (
        "not yet: after round 2, with 16 labelled images (50 objects), correcting an image costs as"
        " much as drawing 2.75 objects, as much as drawing all 2.75 (measured on 4 images)"
    )
    ended_round(store, lease, 200, cost(1.0), outcome="kept")  # nobody saw it
    ended_round(store, lease, 230, cost(0.5), outcome="failed")
    assert first_useful(store, 7) == found
    ended_round(store, lease, 400, cost(2.5), trained={"images": 20, "mean_instances": 2.0})
    ended_round(store, lease, 500, cost(2.875))  # a later model may be worse
    ended_round(store, lease, 600, cost(2.0))
    first = first_useful(store, 7).first
    assert (first.round, first.images, first.objects, first.seconds) == (5, 24, 51, 300.0)
    assert (first.corrected, first.by_hand) == (2.5, 2.75)
    assert first_useful(store, 7).latest.round == 7
    assert first_useful(store, 7).in_words() == (
        "round 5, with 24 labelled images (51 objects), 5 min after the project was connected:"
        " correcting an image costs as much as drawing 2.50 objects, 9 % less than drawing all"
        " 2.75 (measured on 4 images). Round 7, with 16 labelled images (50 objects): correcting an"
        " image costs as much as drawing 2.00 objects, 27 % less than drawing all 2.75 (measured on"
        " 4 images)"
    )
    assert first_useful(store, 8) == FirstUseful(None, None)  # another project


def test_no_cost_is_known_without_an_object_of_the_validation_split(store, lease):
    ended_round(store, lease, 120, cost(0.0, 0.0))
    assert "no object of a validation image is labelled" in first_useful(store, 7).in_words()


def test_rows_of_earlier_builds_stay_readable(store, lease):
    ended_round(store, lease, 120, {"metrics": METRICS})  # before costs were recorded
    ended_round(store, lease, 130, {})
    assert first_useful(store, 7) == FirstUseful(None, None)
    ended_round(store, lease, 160, cost(1.0), trained={"version": "v"})
    found = first_useful(store, 7)
    assert (found.first.images, found.first.objects, found.first.seconds) == (None, None, 60.0)
    assert "round 3, with an unknown number of labelled images, 60 s" in found.in_words()


def test_it_survives_json(store, lease):
    ended_round(store, lease, 120, cost(1.0))
    found = first_useful(store, 7)
    assert FirstUseful.from_json(json.loads(json.dumps(found.to_json()))) == found
    nothing = FirstUseful(None, None)
    assert FirstUseful.from_json(nothing.to_json()) == nothing


def test_a_page_reads_few_rows_however_many_rounds_there_are(store, lease):
    """No row is read but those of the two rounds: the page asks every five seconds."""
    counts = []
    for rounds in (2, 12):
        for number in range(rounds):
            ended_round(store, lease, 120.0 + number, cost(1.0))
        statements = []

        def note(_connection, _cursor, statement, *_, statements=statements):
            statements.append(statement)

        sa.event.listen(store._engine, "before_cursor_execute", note)
        first_useful(store, 7)
        sa.event.remove(store._engine, "before_cursor_execute", note)
        counts.append(len(statements))
    assert counts[0] == counts[1] > 0
