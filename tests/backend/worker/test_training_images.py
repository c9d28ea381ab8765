"""An image that was readable when a step began, and whose storage fails for a while after that."""

import dataclasses
import logging

import pytest

from backend.worker import round as rounds
from backend.worker import train, training_images
from taudis.training import samples

UPLOADS = r"/data/upload/.*\.png"


@pytest.fixture
def project(make_loop, monkeypatch):
    """Labelled pictures whose files are kept nowhere: each look at one asks Label Studio."""
    monkeypatch.setattr(samples, "CACHE_BYTES", 0)
    made = make_loop(CACHE_BYTES="0").project(8)
    made.label_some(7)
    return made


def fail(project, **how):
    """From now on Label Studio answers 404 for uploads."""
    project.loop.studio.fault("GET", UPLOADS, **{"status": 404, "times": 999, **how})


def again(project):
    """A worker that waits no longer."""
    project.loop.start_worker()
    project.loop.turn()
    return project.rounds[0]


@pytest.fixture
def trained_in_part(project, monkeypatch):
    """A round whose images fail after two of eight steps. Each step saves its state."""
    recipe_of, progress, begun = train.recipe_of, train._training_progress, []

    def recipe(*given):
        return dataclasses.replace(recipe_of(*given), steps=8, batch=1, checkpoint_every=1)

    def report(found):
        if found.step == 2 and not begun:
            begun.append(1)
            fail(project)
        return progress(found)

    monkeypatch.setattr(train, "recipe_of", recipe)
    monkeypatch.setattr(train, "_training_progress", report)
    project.start_training()
    project.loop.turn()
    return project


@pytest.mark.slow
def test_a_training_waits_for_its_images_and_goes_on_where_it_was(trained_in_part, caplog):
    """One failure of 20 s ended the round, and the next training started from zero."""
    project = trained_in_part
    for _ in range(2):
        assert project.rounds[0].outcome is None
        said = project.loop.store.project(project.id).state.waiting_reason
        assert "404" in said and "Task" in said
        again(project)
    assert "images of the training cannot be read now" in said
    project.loop.studio.faults.clear()
    with caplog.at_level(logging.INFO):
        round_ = again(project)
    assert round_.outcome in ("served", "kept") and len(project.rounds) == 2
    (step,) = [r.args[0] for r in caplog.records if r.msg == "Training goes on from step %d."]
    assert step >= 2
    assert round_.steps["trained"]["images"] == round_.steps["synced"]["train"]


@pytest.mark.slow
def test_an_image_that_does_not_come_back_is_left_out_in_the_end(trained_in_part, monkeypatch):
    project = trained_in_part
    project.loop.studio.faults.clear()
    lost = next(task for task in project.tasks() if task["is_labeled"])["data"]["image"]
    fail(project, when=lambda call: call.path == lost)
    assert again(project).outcome is None
    monkeypatch.setattr(training_images, "PATIENCE_SECONDS", 0.0)
    round_ = again(project)
    assert round_.outcome in ("served", "kept")
    assert "404" in round_.message


@pytest.mark.slow
def test_an_image_that_was_left_out_at_first_stays_so_when_the_step_runs_again(project):
    lost = next(task for task in project.tasks() if task["is_labeled"])["data"]["image"]
    project.start_training()
    project.loop.schedule()
    fail(project, times=1, when=lambda call: call.path == lost)
    number = sum(task["is_labeled"] for task in project.tasks())
    fail(project, skip=number - 1, times=2, when=lambda call: call.path != lost)
    project.loop.worker.runner_turn(project.loop.lease)
    assert project.rounds[0].outcome is None
    round_ = again(project)
    assert round_.outcome in ("served", "kept")
    assert round_.steps["trained"]["left_out"]["tasks"] == 1
    assert "404" in round_.message


@pytest.mark.slow
def test_the_evaluation_waits_too(project, monkeypatch):
    function = rounds.STEP_FUNCTIONS["trained"]

    def trained(context, round_, report):
        result = function(context, round_, report)
        held = result["left_out"]["validation"]
        assert held
        fail(project, skip=held, times=1)
        return result

    monkeypatch.setattr(rounds, "STEP_FUNCTIONS", {**rounds.STEP_FUNCTIONS, "trained": trained})
    project.start_training()
    project.loop.turn()
    assert project.rounds[0].outcome is None and "trained" in project.rounds[0].steps
    assert again(project).outcome in ("served", "kept")
    assert len(project.rounds) == 2
