"""From an order to what annotators are served, with people, faults and deletions in between."""

import pytest

IMPORT = "/api/projects/{}/import/predictions"


def unserved(loop, number=5):
    """A connected project before its first order."""
    project = loop.project(number, connect=False)
    project.connect()
    return project


def test_a_lost_answer_does_not_post_the_order_twice(loop):
    """Rows of one version posted twice would decide the order twice."""
    project = unserved(loop)
    loop.studio.fault("POST", IMPORT.format(project.id), cut=True)
    loop.turn()
    assert project.rounds[0].ended is None
    (posted,) = [name for name in project.versions() if name.startswith("taudis-")]
    loop.start_worker()
    loop.turn()
    assert project.rounds[0].outcome == "served"
    assert project.version() == posted
    assert len(project.rows(posted)) == 5  # one a task, or `rows` fails
    assert loop.studio.asked("POST", IMPORT.format(project.id)) == 1


def test_a_post_that_failed_is_repeated_under_a_fresh_version(loop):
    project = unserved(loop)
    loop.studio.fault("POST", IMPORT.format(project.id), status=500)
    loop.turn()
    loop.start_worker()
    loop.turn()
    assert project.version().endswith("-2")
    assert project.versions() == {project.version(): 5}
    assert project.stored_order(project.version()) == project.order()


def test_label_studio_that_never_takes_the_order_is_asked_five_times(loop):
    project = unserved(loop)
    loop.studio.fault("POST", IMPORT.format(project.id), status=500, times=99)
    for _ in range(6):
        loop.start_worker()
        loop.turn()
    assert project.rounds[0].outcome == "failed"
    assert "5 attempts" in project.rounds[0].message
    assert loop.studio.asked("POST", IMPORT.format(project.id)) == 5


def test_a_task_that_is_deleted_before_the_post_does_not_stop_the_others(loop):
    project = unserved(loop)
    doomed = project.tasks()[1]["id"]
    path = IMPORT.format(project.id)
    delete = lambda: loop.studio.api("DELETE", f"/api/tasks/{doomed}/")  # noqa: E731
    loop.studio.fault("POST", path, before=delete)
    loop.turn()
    alive = [task["id"] for task in project.tasks()]
    assert len(alive) == 4 and sorted(project.order()) == alive
    scores = sorted(score for score, _ in project.rows(project.version()).values())
    assert scores == [0.25, 0.5, 0.75, 1.0]
    assert project.stored_order(project.version()) == project.order()


def test_a_task_that_is_labelled_while_tasks_are_listed_is_not_in_the_order(loop):
    """Of the two readings the later one counts."""
    project = unserved(loop)
    task = project.tasks()[0]["id"]
    label = lambda: project.client.create_annotation(task, [])  # noqa: E731
    loop.studio.fault(
        "GET", "/api/tasks", after=label, when=lambda call: call.args.get("page_size") == "500"
    )
    loop.turn()
    assert project.rounds[0].steps["synced"]["pool"] == 4
    assert task not in project.order()


def test_a_label_that_came_while_tasks_were_read_counts_as_a_change(make_loop):
    """The moment from which changes count is asked for before the tasks are."""
    loop = make_loop(TRAIN_AFTER="1")
    project = loop.project(3)
    project.client.create_annotation(project.tasks()[0]["id"], [])
    project.start_training()
    loop.schedule()
    (_, task, _) = project.tasks()
    label = lambda: project.client.create_annotation(task["id"], [])  # noqa: E731
    labels = lambda call: "annotations" in call.args["include"].split(",")  # noqa: E731
    loop.studio.fault("GET", "/api/tasks", skip=1, after=label, when=labels)
    loop.worker.runner_turn(loop.lease)
    assert project.rounds[0].steps["synced"]["labelled"] == 1
    newest = max(each["updated_at"] for each in project.tasks())
    assert project.rounds[0].steps["synced"]["watermark"] < newest


def new_order(project):
    """Ask for another order, for tasks that were imported just now."""
    project.import_pictures(1)
    project.loop.turn()
    return project.rounds[0]


@pytest.mark.slow
def test_a_version_that_somebody_chose_stays(loop):
    project = loop.project(3)
    ours = project.version()
    task = project.tasks()[0]["id"]
    row = {"task": task, "result": [], "score": 0.5, "model_version": "theirs"}
    project.client.import_predictions(project.id, [row])
    project.client.patch_project(project.id, model_version="theirs")
    round_ = new_order(project)
    assert round_.outcome == "kept"
    assert "somebody chose 'theirs'" in round_.message and ours in round_.message
    assert project.version() == "theirs"
    newest = round_.steps["published"]["version"]
    assert newest in project.cli("unpin")
    assert project.version() == newest
    assert new_order(project).outcome == "served"


@pytest.mark.slow
def test_a_rollback_stays_until_unpin(loop):
    project = loop.project(3)
    first = project.version()
    second = new_order(project).steps["published"]["version"]
    assert project.version() == second
    assert first in project.cli("rollback")
    assert project.version() == first
    round_ = new_order(project)
    assert round_.outcome == "kept" and f"pinned to {first}" in round_.message
    assert project.version() == first
    loop.turn()
    assert project.rounds[0].number == round_.number  # it is not tried again and again
    project.cli("unpin")
    assert project.version() == round_.steps["published"]["version"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_rollback_in_the_middle_of_a_switch_wins(loop, moment):
    project = loop.project(3)
    first = project.version()
    new_order(project)
    project.import_pictures(1)
    back = lambda: project.cli("rollback")  # noqa: E731
    loop.studio.fault("PATCH", f"/api/projects/{project.id}/", **{moment: back})
    loop.turn()
    assert project.version() == first
    assert f"{first} (pinned)" in project.cli("doctor")
    assert project.rounds[0].outcome == "kept" and "rollback" in project.rounds[0].message
    loop.turn()
    assert project.version() == first


def test_nothing_is_published_after_a_disconnect(loop):
    project = loop.project(3)
    project.import_pictures(1)
    path = f"/api/projects/{project.id}/"
    synced = lambda: project.cli("disconnect")  # noqa: E731
    before = project.versions()
    loop.studio.fault("GET", "/api/tasks", before=synced, when=listing_of_all)
    loop.turn()
    assert project.rounds[0].outcome == "stopped"
    assert "disconnected" in project.rounds[0].message
    assert set(project.rounds[0].steps) == {"synced"}  # it looked at no image after that
    assert {name for name in project.versions() if project.versions()[name]} == set(before)
    assert project.version() == ""
    assert loop.studio.asked("PATCH", path) > 0


def test_a_training_stops_at_a_disconnect_and_uses_no_label(loop):
    project = loop.project(4)
    for task in project.tasks()[:2]:
        project.label(task)
    project.start_training()
    leave = lambda: project.cli("disconnect")  # noqa: E731
    loop.studio.fault("GET", "/api/tasks", before=leave, when=listing_of_all)
    loop.turn()
    stopped = project.rounds[0]
    assert (stopped.kind, stopped.outcome) == ("train", "stopped")
    assert "trained" not in stopped.steps
    loop.turn()
    assert project.rounds[0].id == stopped.id  # nothing runs while it is disconnected
    project.cli("connect")
    loop.turn()
    assert project.rounds[0].id == stopped.id and project.version() != ""  # the first order again
    assert loop.store.project(project.id).state.changed == 2  # the stopped round used no label
    project.start_training()
    loop.turn()
    assert project.rounds[0].outcome == "served"


def listing_of_all(call):
    """Whether a request lists the project's tasks, as the first step of a round does."""
    query = call.args.get("query", "")
    return call.args.get("page_size") == "500" and "updated_at" not in query


def test_a_disconnect_in_the_middle_of_a_switch_wins(loop):
    project = loop.project(3)
    project.import_pictures(1)
    switch = lambda call: "taudis-" in str(call.json.get("model_version"))  # noqa: E731
    leave = lambda: project.cli("disconnect")  # noqa: E731
    loop.studio.fault("PATCH", f"/api/projects/{project.id}/", before=leave, when=switch)
    loop.turn()
    assert project.version() == ""
    assert project.rounds[0].outcome == "stopped"
    assert "undone" in project.rounds[0].message


def test_when_every_task_is_labelled_nothing_is_switched(loop):
    project = loop.project(2)
    before = project.version()
    for task in project.tasks():
        project.client.create_annotation(task["id"], [])
    project.start_training()
    loop.turn()
    assert project.version() == before
