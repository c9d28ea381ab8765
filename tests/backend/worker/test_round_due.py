"""Which round is due, from what Label Studio and the store hold."""

import time

import pytest

from backend.label_studio.client import Studio
from backend.worker.context import RoundContext
from backend.worker.round import STEP_FUNCTIONS

HOUR = "3600"
DAY = 86_400.0


@pytest.fixture
def later(monkeypatch):
    """Sets the clock to so many seconds after the start of the test."""
    start, begun = time.time(), time.monotonic()

    def move(seconds):
        monkeypatch.setattr(time, "time", lambda: start + seconds + time.monotonic() - begun)

    return move


def submit(project, number, first=0):
    """Empty annotations: a training on these alone fails before it takes time."""
    tasks = project.tasks()[first : first + number]
    return [project.client.create_annotation(task["id"], []) for task in tasks]


def test_as_many_changes_as_were_set_start_a_training(make_loop):
    loop = make_loop(TRAIN_AFTER="3")
    project = loop.project()
    submit(project, 2)
    loop.schedule()
    assert len(project.rounds) == 1
    submit(project, 1, first=2)
    loop.schedule()
    assert project.rounds[0].kind == "train"
    assert "3 labelled tasks changed" in project.rounds[0].reason


def test_skips_are_no_changes(make_loop):
    loop = make_loop(TRAIN_AFTER="1")
    project = loop.project()
    project.client.create_annotation(project.tasks()[0]["id"], [], was_cancelled=True)
    loop.schedule()
    assert [round_.kind for round_ in project.rounds] == ["first"]


def test_new_edited_and_deleted_labels_count_since_the_last_training(make_loop):
    """One after the other, each starts a training, and none starts a second."""
    loop = make_loop(TRAIN_AFTER="1")
    project = loop.project(4)
    (made,) = submit(project, 1)
    path = f"/api/annotations/{made['id']}/"

    def edit():
        loop.studio.api("PATCH", path, json={"result": [{"id": "x"}]})

    def delete():
        loop.studio.api("DELETE", path)

    def label():
        submit(project, 1, first=2)

    def nothing():
        pass

    for number, change in enumerate((nothing, edit, label, delete), start=1):
        change()
        loop.schedule()
        trainings = [round_ for round_ in project.rounds if round_.kind == "train"]
        assert len(trainings) == number, change
        assert trainings[0].reason.startswith("1 labelled tasks changed"), change
        finish_by_hand(project, trainings[0])
        loop.schedule()
        trainings = [round_ for round_ in project.rounds if round_.kind == "train"]
        assert len(trainings) == number, change


def finish_by_hand(project, round_):
    """Read the labels as the first step of a round does, and end it without a training."""
    loop = project.loop
    context = RoundContext(loop.settings(), loop.store, loop.lease, project.id)
    step, function = next(iter(STEP_FUNCTIONS.items()))
    loop.store.finish_step(loop.lease, round_.id, step, function(context, round_, lambda _: None))
    loop.store.end_round(loop.lease, round_.id, "kept", "")


@pytest.mark.slow
def test_after_a_failed_training_the_next_waits_but_start_training_never(make_loop, later):
    loop = make_loop(TRAIN_AFTER="1")
    project = loop.project()
    submit(project, 1)
    loop.turn()
    assert project.rounds[0].outcome == "failed"
    assert "object" in project.rounds[0].message
    submit(project, 1, first=1)
    loop.turn()
    assert len(project.rounds) == 2
    later(65)  # after the first failure in a row: a minute
    loop.turn()
    assert len(project.rounds) == 3
    later(65 + 65)  # after the second: two
    loop.turn()
    assert len(project.rounds) == 3
    project.start_training()
    loop.turn()
    assert len(project.rounds) == 4
    later(DAY)
    loop.turn()
    assert len(project.rounds) == 5


def test_while_a_first_training_has_just_failed_no_label_is_read(make_loop, monkeypatch):
    """Each Submit read all of them, also where no training could start."""
    loop = make_loop(TRAIN_AFTER="2", POLL_SECONDS=HOUR)
    project = loop.project(6)
    submit(project, 2)
    loop.turn()
    loop.turn()
    assert project.rounds[0].outcome == "failed" and project.rounds[0].kind == "train"
    read, export = [], Studio.export_annotated
    monkeypatch.setattr(
        Studio, "export_annotated", lambda *given: [read.append(given), export(*given)][1]
    )
    for first in (2, 3, 4):
        submit(project, 1, first=first)
        loop.schedule()
        assert loop.store.project(project.id).state.changed == first + 1
    assert read == []
    loop.start_worker()
    loop.schedule()  # a poll
    assert read == [] and len(project.rounds) == 2


@pytest.mark.slow
def test_tasks_that_are_imported_later_get_a_place(loop):
    project = loop.project(3)
    loop.turn()
    assert len(project.rounds) == 1
    project.import_pictures(2)
    loop.turn()
    assert project.rounds[0].kind == "first"  # there is no model yet
    assert "2 tasks have no place" in project.rounds[0].reason
    assert sorted(project.order()) == [task["id"] for task in project.tasks()]
    loop.turn()
    assert len(project.rounds) == 2


@pytest.mark.slow
def test_with_a_model_they_are_scored_by_it(loop):
    project = loop.project(2)
    project.give_model()
    project.import_pictures(1)
    loop.turn()
    assert (project.rounds[0].kind, project.rounds[0].outcome) == ("refresh", "served")
    assert sorted(project.order()) == [task["id"] for task in project.tasks()]
    scored = project.rounds[0].steps["scored"]
    assert (scored["model"], scored["images"]) == ("taudis-0000-kept", 3)
    assert scored["instances"] > 0


@pytest.mark.slow
def test_a_task_that_loses_its_label_gets_a_place_again(loop):
    project = loop.project(3)
    made = project.client.create_annotation(project.order()[0], [])
    project.import_pictures(1)
    loop.turn()  # an order without the labelled task
    assert len(project.order()) == 3
    loop.studio.api("DELETE", f"/api/annotations/{made['id']}/")
    loop.turn()
    assert sorted(project.order()) == [task["id"] for task in project.tasks()]


@pytest.mark.slow
def test_a_promotion_is_noticed_at_once(make_loop):
    loop = make_loop(POLL_SECONDS=HOUR)
    project = loop.project(2)
    project.give_model()
    loop.turn()
    model = project.add_model("taudis-0000-other")
    assert model in project.cli("promote", model)
    loop.turn()
    assert (project.rounds[0].kind, project.rounds[0].outcome) == ("refresh", "served")
    assert f"{model} was promoted" in project.rounds[0].reason
    assert project.rounds[0].steps["scored"]["model"] == model


@pytest.mark.slow
@pytest.mark.parametrize(("labelled", "kind"), [(0, "first"), (1, "train")])
def test_a_model_with_other_labels_than_the_config_scores_nothing(loop, labelled, kind):
    """With annotations the next round trains; without one there is nothing to train on."""
    project = loop.project(3)
    project.give_model()
    submit(project, labelled)
    config = project.current()["label_config"].replace("square", "box")
    project.client.patch_project(project.id, label_config=config)
    project.import_pictures(1)
    loop.schedule()
    assert project.rounds[0].kind == kind
    assert "no model can be read" in project.rounds[0].reason
