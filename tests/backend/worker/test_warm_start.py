"""WARM_START: a round trains on from the serving model, or says why it does not."""

import pytest


def card(project, round_):
    """The card of the model that a round trained."""
    return project.card(round_.steps["trained"]["version"])


@pytest.mark.slow
def test_a_round_trains_on_from_the_serving_model(make_loop):
    loop = make_loop(WARM_START="true", MAX_STEPS="4")
    project = loop.project(12)
    project.label_some(4)
    first = project.train()
    assert first.outcome == "served" and first.steps["trained"]["start"] == "", first.message
    assert card(project, first)["recipe"]["steps"] == 4

    for task in project.tasks()[4:8]:
        project.label(task)
    second = project.train()
    assert second.steps["trained"]["start"] == first.steps["trained"]["version"]
    assert "initial weights" not in second.message
    assert card(project, second)["start"] == first.steps["trained"]["version"]
    assert card(project, second)["recipe"]["steps"] == 2

    loop.start_worker(WEIGHTS="none")  # another architecture: nothing to go on from
    project.label(project.tasks()[8])
    third = project.train()
    assert third.steps["trained"]["start"] == ""
    assert "trained from the initial weights, not from model" in third.message
    assert "expected a model of backbone resnet18, got efficientnet_lite0" in third.message


@pytest.mark.slow
def test_without_it_every_round_starts_anew(make_loop):
    loop = make_loop()
    project = loop.project(8)
    project.label_some(4)
    project.train()
    project.label(project.tasks()[4])
    assert card(project, project.train())["start"] == ""
