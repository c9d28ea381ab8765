"""F18: trainings that diverge, and labels from which nothing or little can be learnt."""

import math
import re
from dataclasses import replace

import pytest
import torch

from backend.worker import train
from backend.worker.dataset import is_validation
from taudis.training.train import _Trainer
from tests.backend.local_loop import PASSWORD, QUICK, USER, truth


def sides(project):
    """The tasks of the training split and those of the validation split."""
    fraction, of = float(QUICK["VALIDATION_FRACTION"]), {False: [], True: []}
    for task in project.tasks():
        of[is_validation(project.id, task["id"], fraction)].append(task)
    return of[False], of[True]


def page(project):
    """The words of the project's status page."""
    client = project.loop.app.test_client()
    text = client.get(f"/projects/{project.id}", auth=(USER, PASSWORD)).text
    return re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", text)).replace("&#39;", "'")


def served_by(project, round_):
    """How many models and orders of a round are or were served."""
    rows = project.loop.store.versions(project.id, pruned=True)
    return sum(row.round == round_.number for row in rows)


def refused(project, version, round_, reason):
    """Check that a round failed for a reason that the page shows, and that an order is served."""
    assert round_.outcome == "failed" and re.search(reason, round_.message), round_.message
    assert project.version() == version
    assert project.stored_order(version) and project.client.next_task(project.id)
    said = page(project)
    assert round_.message in said and "the previous order is served" in said


@pytest.mark.slow
@pytest.mark.fault("F18", "diverges", "order")
@pytest.mark.parametrize("what", ["loss", "weights"])
def test_a_training_that_diverges_is_never_served(loop, monkeypatch, figures, what):
    project = loop.project(8)
    before = project.give_model()
    project.label_some(5)
    if what == "loss":
        chosen = train.recipe_of
        monkeypatch.setattr(
            train, "recipe_of",
            lambda *given: replace(
                chosen(*given), steps=40, optimizer="sgd", lr=1e18, clip=1e30, precision="fp32"
            ),
        )  # fmt: skip
    else:
        step = _Trainer.step

        def last(self, loader, state):
            loss = step(self, loader, state)
            with torch.no_grad():  # its loss and gradient were finite, what it wrote is not
                next(self.model.roi_heads.parameters()).view(-1)[0] = math.nan
            return loss

        monkeypatch.setattr(_Trainer, "step", last)
    round_ = project.train()
    served = served_by(project, round_)
    figures(served=served)
    refused(project, before, round_, "Training diverged: ")
    assert served == 0


@pytest.mark.fault("F18", "labels", "order")
@pytest.mark.parametrize("what", ["empty images", "one image to judge by"])
def test_labels_that_teach_nothing_end_the_round_with_the_reason(loop, figures, what):
    project = loop.project(12)
    before, (learn, judge) = project.version(), sides(project)
    if what == "empty images":
        for task in [*learn[:4], *judge[:2]]:
            project.client.create_annotation(task["id"], [])
        reason = "at least one labelled object to train on, got none in 4 images"
    else:
        project.label(judge[0])
        reason = "at least 1 labelled image to train on, got 0 of 0 labelled tasks of the training"
    round_ = project.train()
    served = served_by(project, round_)
    figures(served=served)
    refused(project, before, round_, reason)
    assert served == 0


@pytest.mark.slow
@pytest.mark.fault("F18", "labels")
def test_a_model_of_one_image_never_takes_the_place_of_an_evaluated_one(loop, figures):
    """One image to learn from, none to judge by: it serves where there is no other, and says so."""
    project = loop.project(12)
    learn, judge = sides(project)
    made = project.label(learn[0])
    alone = project.train()
    assert alone.outcome == "served" and "served without evaluation" in alone.message
    assert "not measured yet: no validation image is labelled" in page(project)
    others = [project.label(task) for task in judge[:2]]
    project.label(learn[1])
    evaluated = project.train()
    assert evaluated.outcome == "served" and "mAP50" in evaluated.message, evaluated.message
    for each in [made, *others]:
        loop.studio.api("DELETE", f"/api/annotations/{each['id']}/")
    again = project.train()
    assert again.outcome == "kept" and "not served without evaluation" in again.message
    assert again.message.split(";")[0] in page(project)
    state = loop.store.project(project.id).state
    assert state.model == evaluated.steps["trained"]["version"]
    unlabelled = {task["id"] for task in project.tasks() if not task["is_labeled"]}
    assert unlabelled <= set(project.order())  # and it is an order of that model
    figures(served=int(state.model == again.steps["trained"]["version"]))


@pytest.mark.slow
@pytest.mark.fault("F18", "labels")
def test_a_label_without_an_object_is_named(loop, figures):
    project = loop.project(10)
    learn, judge = sides(project)
    for task in [*learn[:3], *judge[:2]]:
        regions = [each for each in truth(task) if each["value"]["brushlabels"] == ["square"]]
        project.client.create_annotation(task["id"], regions)
    round_ = project.train()
    says = "labels without an object to train on, which the model cannot find: bar"
    assert says in round_.message and says in page(project)
    assert round_.outcome == "served"  # it knows the other label
    assert "bar no validation object" in page(project)
    figures(named=int(says in round_.message))
