"""Labels that change while nobody or a training reads them: what the status page says at once."""

import time

import pytest

from backend.store.rounds import Round
from backend.store.state import ProjectState
from backend.web.status.now import now_of, progress_to_round
from backend.worker import changed_labels
from backend.worker.context import RoundContext
from backend.worker.round import STEP_FUNCTIONS
from tests.backend.local_loop import truth


@pytest.fixture
def project(make_loop):
    return make_loop(TRAIN_AFTER="4").project(6)


def state_of(project):
    return project.loop.store.project(project.id).state


def now(project):
    rounds = [project.loop.store.round(row.id) for row in project.rounds]
    return now_of(state_of(project), rounds, 4)


def submit(project, number, regions):
    return project.client.create_annotation(project.tasks()[number]["id"], regions)


def with_label(regions, label):
    return [each | {"value": each["value"] | {"brushlabels": [label]}} for each in regions]


def begin_training(project):
    """A training round that has read its labels and is not through with them."""
    loop = project.loop
    round_ = loop.store.open_round(loop.lease, project.id, "train", "Start Training", [])
    context = RoundContext(loop.settings(), loop.store, loop.lease, project.id)
    step, function = next(iter(STEP_FUNCTIONS.items()))
    loop.store.finish_step(loop.lease, round_.id, step, function(context, round_, lambda _: None))
    return round_


def test_an_edit_of_a_changed_label_counts_as_labelling(project):
    """The cleaner deletes a version in one call where nobody labels; see `prune._quiet`."""
    loop, old = project.loop, time.time() - 3600
    annotation = submit(project, 0, truth(project.tasks()[0]))
    loop.schedule()
    path = f"/api/annotations/{annotation['id']}/"
    loop.store.update_project(project.id, labelled_at=old)
    loop.schedule()
    assert state_of(project).labelled_at == old  # nothing happened
    loop.studio.api("PATCH", path, json={"result": truth(project.tasks()[0])[:1]})
    loop.schedule()
    assert state_of(project).changed == 1 and state_of(project).labelled_at > old + 3000


def test_a_region_that_cannot_be_used_is_named_before_any_training(project):
    task = project.tasks()[0]
    regions = truth(task)
    submit(project, 0, with_label(regions[:1], "fox") + regions[1:])
    project.loop.schedule()
    seen = now(project)
    assert seen.unusable == "regions with a label that the labelling config does not have: 1"
    (reason,) = seen.reasons
    assert reason.startswith(f"Task {task['id']}: Region t0:") and "fox" in reason
    assert "put the label back" in reason
    assert seen.next_round == "1 of 4 changed tasks, 3 to go"

    (annotation,) = project.client.export_annotated(project.id)[0]["annotations"]
    path = f"/api/annotations/{annotation['id']}/"
    project.loop.studio.api("PATCH", path, json={"result": regions})
    project.loop.schedule()
    assert now(project).unusable == "" and now(project).reasons == ()


def test_the_page_says_which_labels_the_running_training_does_not_have(project):
    submit(project, 0, truth(project.tasks()[0]))
    project.loop.schedule()
    round_ = begin_training(project)
    # Until the tasks are counted again, the count is of the time before the training.
    assert "takes those" not in now(project).next_round and "1 of 4" in now(project).next_round
    project.loop.schedule()
    assert state_of(project).changed_since == round_.number
    every = "the training that runs has every label; 0 of 4 changed tasks, 4 to go"
    assert now(project).next_round == every

    regions = truth(project.tasks()[1])
    submit(project, 1, with_label(regions[:1], "fox"))
    submit(project, 2, truth(project.tasks()[2]))
    project.loop.schedule()
    assert now(project).next_round == (
        "2 tasks have changed since this training read the labels; it does not have these labels,"
        " the next training does (2 of 4 changed tasks, 2 to go)"
    )
    assert "fox" in now(project).reasons[0]


def test_an_annotation_is_looked_at_once_and_a_look_ends_in_time(project, monkeypatch):
    looked = []
    look = changed_labels._problems
    monkeypatch.setattr(
        changed_labels, "_problems", lambda task, *rest: (looked.append(task), look(task, *rest))[1]
    )
    for number in range(3):
        submit(project, number, with_label(truth(project.tasks()[number])[:1], "fox"))
    monkeypatch.setattr(changed_labels, "MAX_SECONDS", 0.0)
    project.loop.schedule()
    assert looked == [] and now(project).unusable == ""
    monkeypatch.setattr(changed_labels, "MAX_SECONDS", 60.0)
    project.loop.schedule()
    project.loop.schedule()
    assert sorted(looked) == sorted(task["id"] for task in project.tasks()[:3])
    assert now(project).unusable.endswith(": 3")


def test_words_before_and_after_trainings():
    def said(changed, since=0, open_=None, ended=None):
        state = ProjectState(changed=changed, changed_since=since)
        return progress_to_round(state, 16, open_, ended)

    def round_(kind, steps=None, outcome=None):
        return Round(5, 7, 2, kind, "", 0.0, None, outcome, "", {}, steps or {})

    def training(steps):
        return round_("train", steps)

    uncounted = "the worker has not counted the labels yet; 16 changed tasks start a round"
    assert said(None) == uncounted
    off = progress_to_round(ProjectState(changed=3, disconnected=True), 16, None)
    assert off == "none while the project is disconnected"
    assert said(0) == "0 of 16 changed tasks, 16 to go"
    assert said(1, 2) == "1 of 16 changed tasks since the last training, 15 to go"
    enough = "enough labels are there: 24 tasks have changed"
    free = "; the next round begins as soon as the worker is free"
    assert said(24, 2) == f"{enough} since the last training (16 start a round){free}"
    assert said(24) == f"{enough} (16 start a round){free}"
    failed = said(24, ended=round_("train", outcome="failed"))
    assert failed.endswith("begins after a pause, because the last one failed")
    assert said(24, open_=round_("first")).endswith("the next round begins after round 2")
    waiting = said(24, 1, training({}))
    assert waiting.startswith(f"{enough} (16")
    assert waiting.endswith("round 2, queued or running, takes those from before its start")
    assert "1 task has changed since this training" in said(1, 2, training({"synced": {}}))
    late = said(24, 2, training({"synced": {}}))
    assert late.startswith("24 tasks have changed since this training read the labels")
    assert late.endswith("(16 are enough: it begins after this round)")
    assert not any(" of 16 changed tasks" in text for text in (failed, waiting, late))
