"""The comparison of both arms: a real Label Studio loop with trainings of one step."""

from __future__ import annotations

import json

import pytest
from sqlalchemy.exc import OperationalError

from backend.worker import arm_models, compare_arms, due
from backend.worker import round as rounds
from backend.worker.arms import Draw
from tests.backend.local_loop import PASSWORD, USER

pytestmark = pytest.mark.slow
SHARE = "0.5"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Two images of each arm are enough, and every step of a training asks for due rounds."""
    monkeypatch.setattr(compare_arms, "FEWEST", 2)
    monkeypatch.setattr(due, "LOOK_SECONDS", 0.0)


@pytest.fixture
def project(make_loop):
    """Four labels in the first order; then a model's order with both arms."""
    made = make_loop(CONTROL_SHARE=SHARE, STRATEGY="core_set").project(23)
    label_next(made, 4)
    made.give_model()
    made.import_pictures(1)
    made.loop.turn()
    first, *_, last = made.rounds[::-1]
    assert (last.kind, last.outcome) == ("refresh", "served"), last.message
    assert "control" in last.steps["selected"] and "control" not in first.steps["selected"]
    assert "0 were labelled in random order" in last.message
    return made


def label_next(project, number):
    """Label the tasks that Label Studio serves; their ids."""
    done = []
    for _ in range(number):
        task = project.client.next_task(project.id)
        project.label(task)
        done.append(task["id"])
    return done


def draw(project):
    return Draw(project.id, float(SHARE), 0)


def page(project, path="/"):
    return project.loop.app.test_client().get(path, auth=(USER, PASSWORD)).text


def trained_on(project, round_):
    """The tasks of a round's training split."""
    folder = project.loop.data / "rounds" / str(project.id) / f"{round_.number:04d}"
    entries = json.loads((folder / "snapshot.json").read_text())["entries"]
    return [entry["task_id"] for entry in entries if entry["split"] == "train"]


def trainings(monkeypatch):
    """The trainings of arms from here on: the numbers of their images."""
    found, real = [], arm_models.train_detector

    def train(samples, *args, **kwargs):
        found.append(len(samples))
        return real(samples, *args, **kwargs)

    monkeypatch.setattr(arm_models, "train_detector", train)
    return found


def test_both_arms_are_compared_by_equally_many_labels(project, monkeypatch):
    store = project.loop.store
    common = {task["id"] for task in project.tasks() if task["is_labeled"]}
    assert store.arms(project.id, draw(project).name) == dict.fromkeys(common, "both")
    served = label_next(project, 14)
    wanted = [draw(project).arm(task) for task in served]
    assert 6 <= wanted.count("random") <= 8  # the queue is interleaved
    more = [
        t for t in project.tasks() if not t["is_labeled"] and draw(project).arm(t["id"]) == "random"
    ]
    for task in more:  # by hand, so that this arm has more
        project.label(task)
    images = trainings(monkeypatch)
    round_ = project.train()
    assert round_.outcome == "served", round_.message
    arms = store.arms(project.id, draw(project).name)
    assert {task: arms[task] for task in served} == dict(zip(served, wanted, strict=True))

    (found,) = store.comparisons(project.id)
    train = trained_on(project, round_)
    assert found.common == len(common.intersection(train))
    by_arm = {arm: [t for t in train if arms[t] == arm] for arm in ("random", "strategy")}
    assert found.labelled == {arm: len(tasks) for arm, tasks in by_arm.items()}
    assert max(found.labelled.values()) > found.images == min(found.labelled.values()) >= 2
    assert images == [found.labels, found.labels]
    assert found.validation == 18 + len(more) - len(train) > 0
    assert (found.number, found.version) == (round_.number, round_.steps["published"]["version"])
    assert found.strategy == "core_set"
    assert found.difference == pytest.approx(found.map50["strategy"] - found.map50["random"])
    assert "whether the order pays: cannot be told yet" in round_.message
    assert not (project.loop.data / "control" / str(project.id)).exists()

    text = page(project)
    assert "Whether the order pays" in text and f">{found.labels}</td>" in text
    assert "taudis_arm_map50" in page(project, "/metrics")
    label_next(project, 1)
    assert "the arms are compared from" in project.train().message
    assert len(store.comparisons(project.id)) == 1 and len(images) == 2


def test_a_killed_comparison_goes_on_and_is_recorded_once(project, monkeypatch):
    """Killed between the two models, then after the result and before the step's row."""
    label_next(project, 14)
    images, loop, model = trainings(monkeypatch), project.loop, compare_arms.arm_model
    killed = OperationalError("killed", None, Exception("killed"))

    def one(*arguments, before, **more):
        if before:
            raise killed
        return model(*arguments, before=before, **more)

    with monkeypatch.context() as patch:
        patch.setattr(compare_arms, "arm_model", one)
        round_ = project.train()
    assert round_.ended is None and round_.next_step == "compared" and len(images) == 1
    assert project.version() == round_.steps["published"]["version"]  # served already
    real = rounds.STEP_FUNCTIONS["compared"]

    def step(*arguments):
        real(*arguments)
        raise killed

    with monkeypatch.context() as patch:
        patch.setitem(rounds.STEP_FUNCTIONS, "compared", step)
        loop.start_worker()
        loop.turn()
    (found,) = loop.store.comparisons(project.id)
    assert project.rounds[0].ended is None and images == [found.labels, found.labels]
    loop.start_worker()
    loop.turn()
    assert project.rounds[0].number == round_.number and project.rounds[0].outcome == "served"
    assert loop.store.comparisons(project.id) == [found] and len(images) == 2


def test_a_round_that_is_due_goes_first_and_the_next_goes_on_with_the_comparison(
    project, monkeypatch
):
    label_next(project, 14)
    images, model, first = trainings(monkeypatch), compare_arms.arm_model, len(project.rounds) + 1

    def one(*arguments, before, **more):
        if before and len(project.rounds) == first:
            project.start_training()
        return model(*arguments, before=before, **more)

    monkeypatch.setattr(compare_arms, "arm_model", one)
    waits = project.train()
    assert waits.outcome == "served" and waits.steps["compared"]["deferred"]
    assert "the comparison of the arms waits: a round is due" in waits.message
    label_next(project, 2)
    project.loop.turn()
    assert project.rounds[0].number == waits.number + 1
    (found,) = project.loop.store.comparisons(project.id)
    assert (found.number, len(images)) == (waits.number, 3)  # the first model was kept
    assert project.rounds[0].steps["compared"]["compared"] == waits.number


def fail_one_image(patch):
    """From now on the first image of a comparison cannot be read."""
    real = compare_arms.AnnotatedSamples
    patch.setattr(compare_arms, "AnnotatedSamples", lambda tasks, *more: real(tasks[1:], *more))


def wait_with_one_model(project, monkeypatch):
    """A comparison that waits in its second training, because a round is due."""
    label_next(project, 14)
    model = compare_arms.arm_model

    def one(*arguments, before, **more):
        if before:
            project.start_training()
        return model(*arguments, before=before, **more)

    with monkeypatch.context() as patch:
        patch.setattr(compare_arms, "arm_model", one)
        return project.train()


def test_an_image_that_fails_for_a_while_costs_no_model(project, monkeypatch):
    """The comparison lost its model at the first attempt that could not read an image."""
    images = trainings(monkeypatch)
    first = wait_with_one_model(project, monkeypatch)
    with monkeypatch.context() as patch:
        fail_one_image(patch)
        project.loop.turn()
    (second,) = [each for each in project.rounds if each.number == first.number + 1]
    assert "waits: 1 of its images cannot be read, such as that of task" in second.message
    project.train()
    (found,) = project.loop.store.comparisons(project.id)
    assert (found.number, len(images)) == (first.number, 3)  # the second training began twice


def test_an_image_that_stays_away_is_left_out_in_the_end(project, monkeypatch):
    images = trainings(monkeypatch)
    wait_with_one_model(project, monkeypatch)
    with monkeypatch.context() as patch:
        fail_one_image(patch)
        project.loop.turn()
        patch.setattr(compare_arms, "PATIENCE_SECONDS", 0.0)
        last = project.train()
    assert "compared anew in the next round, without the images that fail" in last.message
    again = project.train()
    (found,) = project.loop.store.comparisons(project.id)
    assert (found.number, len(images)) == (again.number, 4)


def test_a_round_of_another_project_goes_first(project, monkeypatch):
    label_next(project, 14)
    loop, model = project.loop, compare_arms.arm_model
    other = loop.project(4, title="Other")

    def one(*arguments, before, **more):
        if not other.rounds[0].number > 1:
            loop.store.open_round(loop.lease, other.id, "refresh", "a test", [])
        return model(*arguments, before=before, **more)

    monkeypatch.setattr(compare_arms, "arm_model", one)
    project.start_training()
    loop.turn()
    assert project.rounds[0].ended is None and project.rounds[0].next_step == "compared"
    loop.worker.runner_turn(loop.lease)
    assert other.rounds[0].ended is not None and project.rounds[0].ended is None
    loop.worker.runner_turn(loop.lease)
    assert project.rounds[0].outcome == "served" and loop.store.comparisons(project.id)


def test_a_training_that_fails_does_not_fail_the_round(project, monkeypatch):
    label_next(project, 14)

    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(compare_arms, "arm_model", fail)
    round_ = project.train()
    assert round_.outcome == "served" and "could not be compared: MemoryError" in round_.message
    assert project.loop.store.comparisons(project.id) == []


def test_labels_of_another_order_belong_to_both_arms(make_loop):
    """Switched off, tasks are served by the strategy alone; a new share is a new draw."""
    loop = make_loop(CONTROL_SHARE=SHARE, STRATEGY="core_set")
    project, store = loop.project(9), loop.store
    project.give_model()

    def another_order(**settings):
        """A new order, without a training, by other settings."""
        loop.start_worker(**settings)
        project.import_pictures(1)
        loop.turn()
        assert project.rounds[0].outcome == "served", project.rounds[0].message

    another_order()
    in_arms = label_next(project, 3)
    another_order(CONTROL_SHARE="0")
    alone = label_next(project, 2)
    another_order()
    arms = store.arms(project.id, draw(project).name)
    assert arms == dict.fromkeys([*in_arms, *alone], "both")  # unseen until the switch
    in_arms = label_next(project, 3)
    another_order(CONTROL_SHARE="0.3")
    other = Draw(project.id, 0.3, 0)
    assert set(store.arms(project.id, other.name).values()) == {"both"}
    later = label_next(project, 3)
    another_order(CONTROL_SHARE="0.3")
    arms = store.arms(project.id, other.name)
    assert [arms[task] for task in later] == [other.arm(task) for task in later]
    assert {arms[task] for task in in_arms} == {"both"}
