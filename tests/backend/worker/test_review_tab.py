"""The tab of the review: it lists the marks of the newest run whose labels are as they were."""

import pytest

from backend.errors import RoundError, StudioAuthError, StudioRejected
from backend.label_studio.marks import MARK
from backend.label_studio.tabs import QUEUE, REVIEW_TITLE
from backend.worker import connection, review_tab
from backend.worker.context import RoundContext
from backend.worker.dataset import fingerprint
from backend.worker.review_tab import Listed, Mark

TASK = r"/api/tasks/\d+/?"


@pytest.fixture
def project(loop):
    """A connected project with five labelled tasks and one that is not."""
    made = loop.project(6)
    made.label_some(5)
    loop.schedule()
    made.context = RoundContext(loop.settings(), loop.store, loop.lease, made.id)
    return made


def marks_of(project, numbers):
    """Marks of the tasks with these numbers, as the labels are now; the last is least suspicious"""
    rows = project.client.export_annotated(project.id)
    suspicions = {number: 1 - place / 10 for place, number in enumerate(numbers)}
    return [
        Mark(rows[number]["id"], f"{suspicion:.3f} label: task {number}", fingerprint(rows[number]))
        for number, suspicion in suspicions.items()
    ]


def publish(project, *numbers):
    return review_tab.publish(project.context, marks_of(project, numbers))


def marked(project):
    """Numbers of the marked tasks, as their texts have them, the most suspicious first."""
    texts = [row["data"][MARK] for row in project.client.tabs.marks.marked(project.id)]
    return [int(text[-1]) for text in sorted(texts, reverse=True)]


def titles(project):
    return [row["data"]["title"] for row in project.client.tabs.of(project.id)]


def state(project):
    return project.context.load_project().state


@pytest.mark.parametrize("moment", ["the first mark", "the end"])
def test_a_disconnect_meanwhile_leaves_nothing(project, monkeypatch, moment):
    done = []

    def disconnect(*_):
        if not done:
            done.append(connection.disarm(project.context))

    if moment == "the end":
        asked = project.context.studio.newest_change
        monkeypatch.setattr(
            project.context.studio, "newest_change", lambda id_: (disconnect(), asked(id_))[1]
        )
    with pytest.raises(RoundError, match="was disconnected meanwhile"):
        review_tab.publish(
            project.context,
            marks_of(project, (2, 0)),
            disconnect if moment == "the first mark" else lambda: None,
        )
    assert done and marked(project) == [] and REVIEW_TITLE not in titles(project)


def test_a_run_lists_its_marks_and_the_next_one_replaces_them(project):
    assert publish(project, 2, 0) == Listed(2, 0, 0, 0)
    assert marked(project) == [2, 0]
    assert titles(project) == ["Default", QUEUE["title"], REVIEW_TITLE]
    assert publish(project, 0, 3, 4) == Listed(3, 0, 0, 1)
    assert marked(project) == [0, 3, 4]
    assert titles(project) == ["Default", QUEUE["title"], REVIEW_TITLE]
    assert publish(project) == Listed(0, 0, 0, 3)
    assert marked(project) == []


def test_marks_change_neither_labels_nor_queue_nor_what_a_round_waits_for(project):
    events = list(project.loop.store.pending_events())
    labels, order = project.client.export_annotated(project.id), project.order()
    before, rounds = state(project).changed, len(project.rounds)
    publish(project, 2, 0)
    assert list(project.loop.store.pending_events()) == events
    project.loop.turn()
    assert state(project).changed == before == 5 and len(project.rounds) == rounds
    assert project.order() == order
    after = project.client.export_annotated(project.id)
    assert [row["annotations"] for row in after] == [row["annotations"] for row in labels]


@pytest.mark.parametrize("change", ["corrected", "deleted", "another"])
def test_a_mark_goes_at_the_next_poll_once_its_label_was_changed(project, change):
    publish(project, 2, 0, 1)
    studio, row = project.loop.studio, project.client.export_annotated(project.id)[2]
    annotation = f"/api/annotations/{row['annotations'][0]['id']}/"
    if change == "corrected":
        studio.api("PATCH", annotation, json={"result": []})
    elif change == "deleted":
        studio.api("DELETE", annotation)
    else:
        project.client.create_annotation(row["id"], [])
    assert marked(project) == [2, 0, 1]
    project.loop.schedule()
    assert marked(project) == [0, 1]


def test_a_label_that_was_confirmed_is_not_listed_again_until_it_changes(project):
    publish(project, 2, 0, 1)
    two, one = (project.client.export_annotated(project.id)[number] for number in (2, 1))
    before = fingerprint(two)
    with pytest.raises(RoundError, match=r"Expected numbers of tasks in the tab .*, got \[99\]"):
        review_tab.confirm(project.context, [two["id"], 99])
    assert marked(project) == [2, 0, 1]
    assert review_tab.confirm(project.context, [two["id"], one["id"], two["id"]]) == 2
    assert marked(project) == [0]
    project.loop.schedule()
    assert marked(project) == [0]
    assert fingerprint(project.client.export_annotated(project.id)[2]) == before

    new = [mark.task for mark in review_tab.unconfirmed(project.context, marks_of(project, (2, 3)))]
    assert new == [project.client.export_annotated(project.id)[3]["id"]]
    publish(project, 3)  # another run remembers what was confirmed
    assert review_tab.unconfirmed(project.context, marks_of(project, (1, 2))) == []
    project.client.create_annotation(two["id"], [])
    (again,) = review_tab.unconfirmed(project.context, marks_of(project, (1, 2)))
    assert again.task == two["id"]


def test_a_task_that_is_confirmed_while_a_run_writes_its_marks_stays_confirmed(project):
    marks = marks_of(project, (2, 1, 0))
    confirmed = []

    def on_mark():
        if not confirmed:
            confirmed.append(review_tab.confirm(project.context, [marks[0].task, marks[2].task]))

    assert review_tab.publish(project.context, marks, on_mark).tasks == 1
    assert confirmed == [2] and marked(project) == [1]
    assert review_tab.unconfirmed(project.context, marks) == [marks[1]]


def test_a_confirmation_that_label_studio_refused_can_be_finished(project):
    publish(project, 2, 0)
    tasks = [mark.task for mark in marks_of(project, (2, 0))]
    project.loop.studio.fault("PATCH", TASK, status=401, detail="token revoked", times=1)
    with pytest.raises(StudioAuthError):
        review_tab.confirm(project.context, tasks)
    assert review_tab.confirm(project.context, tasks) == 2
    assert marked(project) == []


def test_confirmed_tasks_stay_off_later_lists_after_the_tab_was_removed(project):
    publish(project, 2, 0)
    marks = marks_of(project, (2, 0))
    review_tab.confirm(project.context, [marks[0].task])
    assert review_tab.remove(project.context) == 1
    project.loop.schedule()
    assert review_tab.unconfirmed(project.context, marks) == [marks[1]]


def test_a_mark_stays_when_its_task_was_merely_opened(project):
    publish(project, 2, 0)
    task = project.client.export_annotated(project.id)[2]["id"]
    (prediction, *_) = project.client.predictions_of(task)
    project.client.patch_prediction(prediction["id"], score=0.5)  # touches the task
    project.loop.schedule()
    assert marked(project) == [2, 0]


def test_labels_that_change_before_or_while_marks_are_written_are_counted(project):
    marks = marks_of(project, (4, 3, 2, 1))
    studio, rows = project.loop.studio, project.client.export_annotated(project.id)
    written = []

    def change():
        written.append(1)
        if len(written) == 1:  # a mark that was written, and a task that is still to come
            project.client.create_annotation(rows[4]["id"], [])
            studio.api("DELETE", f"/api/tasks/{rows[2]['id']}/")

    project.client.create_annotation(rows[3]["id"], [])
    assert review_tab.publish(project.context, marks, change) == Listed(1, 2, 1, 0)
    assert marked(project) == [1]


def test_a_mark_of_a_run_that_was_stopped_goes(project):
    publish(project, 0)
    project.loop.studio.fault("PATCH", TASK, skip=1, status=400, detail="not this one")
    with pytest.raises(StudioRejected, match="not this one"):
        publish(project, 3, 4)
    assert sorted(marked(project)) == [0, 3]
    project.loop.schedule()  # the mark of the run before is not one of this run
    assert marked(project) == [3]
    assert publish(project, 4) == Listed(1, 0, 0, 1)


def test_disconnect_removes_the_tab_and_every_mark(project):
    publish(project, 2, 0)
    project.client.create_annotation(project.tasks()[2]["id"], [])  # counts its keys again
    tab = project.client.tabs.of(project.id)[-1]["id"]
    with project.loop.studio.records.lock:
        tabs = project.loop.studio.records.projects[project.id].tabs
        tabs[tab] = {**tabs[tab], "title": "Renamed"}
    project.cli("disconnect")
    assert titles(project) == ["Default"] and marked(project) == []
    assert state(project).review is None
    assert all(MARK not in task["data"] for task in project.tasks())
    assert MARK not in project.client.tabs.marks.columns(project.id)


def test_a_tab_that_a_person_removed_comes_back_with_the_next_run(project):
    publish(project, 2)
    project.client.tabs.remove(project.client.tabs.of(project.id)[-1]["id"])
    project.loop.schedule()
    assert REVIEW_TITLE not in titles(project)
    publish(project, 2)
    assert titles(project).count(REVIEW_TITLE) == 1


def test_rounds_do_not_depend_on_a_mark(project, caplog):
    publish(project, 2)
    row = project.client.export_annotated(project.id)[2]
    project.client.create_annotation(row["id"], [])
    project.loop.studio.fault("PATCH", TASK, status=400, detail="no", times=2)
    project.loop.schedule()
    assert "a mark stays" in caplog.text and state(project).waiting_reason == ""
    project.cli("disconnect")
    assert marked(project) == [2] and titles(project) == ["Default"]
