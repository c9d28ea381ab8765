"""Changes in Label Studio that set no task's time: deleted predictions, and re-opened tasks."""

import pytest

from backend.label_studio.client import Studio
from backend.worker import inventory, triggers
from tests.backend.local_loop import PASSWORD, USER


@pytest.fixture(autouse=True)
def _nothing_listed(monkeypatch):
    """The numbers of projects begin anew with each test."""
    monkeypatch.setattr(inventory, "_listed", {})


@pytest.fixture
def listings(monkeypatch):
    """The listings of all tasks so far."""
    made, list_all = [], Studio.tasks
    monkeypatch.setattr(Studio, "tasks", lambda *given: [made.append(given), list_all(*given)][1])
    return made


def delete_predictions(project, tasks=None):
    """The Data Manager's action "Delete Predictions": it sets no task's time."""
    records = project.loop.studio.records
    with records.lock:
        for each in list(records.projects[project.id].predictions):
            if tasks is None or each.task.id in tasks:
                records.remove_prediction(each)


def page(project):
    client = project.loop.app.test_client()
    return client.get(f"/projects/{project.id}", auth=(USER, PASSWORD)).text


def state(project):
    return project.loop.store.project(project.id).state


def turns(project, number=3):
    """How many rounds so many turns open."""
    before = len(project.rounds)
    for _ in range(number):
        project.loop.turn()
    return len(project.rounds) - before


@pytest.mark.parametrize("how", ["one by one", "the version"])
def test_an_order_that_was_deleted_in_label_studio_is_made_anew(loop, how):
    """The queue was random for good, and the page and the doctor found nothing."""
    project = loop.project(4)
    loop.turn()
    version = project.version()
    if how == "the version":
        project.client.delete_version(project.id, version)
    else:
        delete_predictions(project)
    said = next(row for row in project.cli("doctor", well=False).splitlines() if "served o" in row)
    assert said.startswith("FAIL") and f"{version!r} were deleted in Label Studio" in said
    loop.schedule()
    assert project.rounds[0].reason == f"4 predictions of {version} were deleted in Label Studio"
    assert turns(project) == 0
    assert project.version() not in ("", version) and len(project.order()) == 4
    assert state(project).changed_by_person == ""
    assert "FAIL served order" not in project.cli("doctor")


@pytest.mark.slow
def test_while_a_round_runs_the_page_says_that_the_order_was_deleted(loop):
    project = loop.project(4)
    loop.turn()
    project.label_some(1)
    project.start_training()
    loop.schedule()
    delete_predictions(project)
    loop.schedule()
    assert "were deleted in Label Studio, so the queue is random. The worker makes" in page(project)


@pytest.mark.slow
def test_predictions_of_some_tasks_that_were_deleted_are_made_anew(loop):
    project = loop.project(4)
    loop.turn()
    delete_predictions(project, project.order()[:1])
    assert turns(project) == 1
    assert len(project.order()) == 4


@pytest.mark.slow
def test_tasks_that_are_deleted_call_for_no_order(loop):
    project = loop.project(4)
    loop.turn()
    loop.studio.api("DELETE", f"/api/tasks/{project.order()[0]}/")
    project.import_pictures(1)
    assert turns(project) == 1  # for the imported one
    loop.studio.api("DELETE", f"/api/tasks/{project.order()[0]}/")
    assert turns(project) == 0
    for task in project.tasks():
        project.client.create_annotation(task["id"], [])
    delete_predictions(project)  # nobody is served any of them
    assert turns(project) == 0
    assert state(project).changed_by_person == ""


@pytest.mark.slow
def test_while_a_rollback_holds_a_deleted_order_unpin_serves_one_that_is_there(loop):
    project = loop.project(4)
    first, second = project.version(), project.give_model()
    loop.turn()
    project.cli("rollback", first)
    project.client.delete_version(project.id, first)
    assert turns(project) == 0
    assert "a rollback holds it, so the queue is random. Run `unpin`" in page(project)
    assert second in project.cli("unpin")
    assert project.version() == second


@pytest.mark.slow
def test_where_every_order_was_deleted_unpin_lets_the_worker_make_one(loop):
    project = loop.project(4)
    first, second = project.version(), project.give_model()
    loop.turn()
    project.cli("rollback", first)
    delete_predictions(project)
    assert turns(project) == 0
    assert "no order of ours" in project.cli("unpin")
    assert turns(project) == 1
    assert project.version() not in ("", first, second) and len(project.order()) == 4


# --- re-opened tasks ------------------------------------------------------------------------------


def open_to(project, annotations):
    """Settings > Quality > Annotations per task minimum: a bulk update of the tasks."""
    project.client.patch_project(project.id, maximum_annotations=annotations)


def label_before_the_order(project, number):
    """Label tasks, and let the order be made without them, later than the margin of times."""
    project.label_some(number)
    project.loop.studio.records.now.jump(60)
    project.import_pictures(1)
    project.loop.turn()


@pytest.mark.slow
def test_tasks_that_more_annotations_per_task_re_open_get_a_place(loop):
    """They had none until the next training, and no pre-annotation."""
    project = loop.project(5)
    label_before_the_order(project, 3)
    assert len(project.order()) == 3
    open_to(project, 2)
    assert turns(project) == 1
    assert "3 tasks have no place" in project.rounds[0].reason
    assert sorted(project.order()) == [task["id"] for task in project.tasks()]


@pytest.mark.slow
def test_while_people_label_no_listing_of_all_tasks_is_made(loop, listings):
    project = loop.project(8)
    label_before_the_order(project, 3)
    del listings[:]
    made = project.label_some(2)
    assert turns(project, 1) == 0
    loop.studio.api("DELETE", f"/api/annotations/{made[0]['id']}/")
    assert turns(project, 1) == 0
    unlabelled = [task["id"] for task in project.tasks() if not task["is_labeled"]]
    loop.studio.api("DELETE", f"/api/tasks/{unlabelled[-1]}/")
    del listings[:]
    assert turns(project) == 0
    assert listings == []


@pytest.mark.slow
def test_deleted_tasks_do_not_hide_those_that_were_re_opened(loop):
    project = loop.project(8)
    label_before_the_order(project, 3)
    for task in project.order()[:2]:
        loop.studio.api("DELETE", f"/api/tasks/{task}/")
    open_to(project, 2)
    assert turns(project) == 1
    assert "3 tasks have no place" in project.rounds[0].reason


@pytest.mark.slow
def test_labelled_tasks_that_are_deleted_cost_one_listing(loop, listings):
    project = loop.project(5)
    label_before_the_order(project, 3)
    labelled = next(task["id"] for task in project.tasks() if task["is_labeled"])
    loop.studio.api("DELETE", f"/api/tasks/{labelled}/")
    del listings[:]
    assert turns(project) == 0
    assert len(listings) == 1
    open_to(project, 2)
    assert turns(project) == 1
    assert "2 tasks have no place" in project.rounds[0].reason


@pytest.mark.slow
def test_re_opened_tasks_that_wait_for_a_young_order_are_listed_once(loop, listings, monkeypatch):
    project = loop.project(6)
    label_before_the_order(project, 3)
    monkeypatch.setattr(triggers, "SMALL", 0)
    monkeypatch.setattr(triggers, "SECONDS_A_TASK", 3600.0)
    open_to(project, 2)
    del listings[:]
    assert turns(project) == 0 and len(listings) == 1
    project.client.create_annotation(project.tasks()[0]["id"], [])  # closes a re-opened one
    del listings[:]
    assert turns(project) == 0 and listings == []
    monkeypatch.setattr(triggers, "SECONDS_A_TASK", 0.0)
    assert turns(project) == 1
    assert "2 tasks have no place" in project.rounds[0].reason


@pytest.mark.slow
def test_a_finished_project_that_is_re_opened_keeps_the_places_that_it_has(loop):
    """The newest round found nothing to label; the order before it is served still."""
    project = loop.project(3)
    loop.turn()
    for task in project.tasks():
        project.client.create_annotation(task["id"], [])
    loop.studio.records.now.jump(60)
    project.cli("promote", project.add_model())
    assert turns(project) == 1
    open_to(project, 2)
    assert turns(project) == 0
    assert sorted(project.order()) == [task["id"] for task in project.tasks()]
