"""Which round a project gets for tasks that have no place in the order."""

import time
from types import SimpleNamespace

import pytest

from backend.settings import Settings
from backend.store.database import Store
from backend.worker import triggers
from backend.worker.context import RoundContext
from backend.worker.inventory import Inventory


@pytest.fixture
def context(tmp_path, monkeypatch):
    """A project with a model that does not have the config's labels, and tasks without a place."""
    store = Store(tmp_path)
    lease = store.acquire()
    store.update_project(3, model="taudis-0001-a")
    made = RoundContext(Settings(model_dir=tmp_path), store, lease, 3)
    studio = SimpleNamespace(export_annotated=lambda _: [{"id": 1}])
    monkeypatch.setitem(made.__dict__, "studio", studio)
    monkeypatch.setattr(triggers, "inventory", lambda _: Inventory(5))
    monkeypatch.setattr(triggers, "_model_fits", lambda _: False)
    yield made
    store.close()


def test_labels_without_a_fitting_model_are_trained_on(context):
    assert triggers._order_due(context).kind == "train"


def test_new_tasks_get_an_order_while_a_training_has_just_failed(context):
    """With every label of the config renamed no training can end well: the queue must go on."""
    round_ = context.store.open_round(context.lease, 3, "train", "new labels", [])
    context.store.end_round(context.lease, round_.id, "failed", "no labelled object")
    call = triggers._order_due(context)
    assert call.kind == "first" and "5 tasks have no place" in call.reason


@pytest.mark.parametrize(
    ("tasks", "placeless", "age", "due"),
    [
        (1_000, 5, 0.0, True),
        (10_000, 5, 0.0, False),
        (10_000, 5, 1_990.0, False),
        (10_000, 5, 2_010.0, True),
        (10_000, 10_000, 0.0, True),
    ],
)
def test_few_imported_tasks_wait_while_a_large_order_is_young(
    context, monkeypatch, tasks, placeless, age, due
):
    """Tasks that came in all day made an order of all tasks at every poll."""
    monkeypatch.setattr(triggers, "inventory", lambda _: Inventory(placeless))
    round_ = context.store.open_round(context.lease, 3, "first", "a test", [])
    context.store.add_version(
        context.lease, 3, "taudis-0001-a", round_id=round_.id, model="", tasks=tasks, metrics={}
    )
    context.store.end_round(context.lease, round_.id, "served", "")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + age)
    assert (triggers._order_due(context) is not None) is due
    context.store.update_project(3, reorder=True)  # what a person asked for never waits
    assert triggers._order_due(context) is not None
