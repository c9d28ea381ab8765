"""A project without an unlabelled task: one round says so, and no further one starts."""

import pytest

from tests.backend.local_loop import PASSWORD, USER


def page(loop):
    return loop.app.test_client().get("/", auth=(USER, PASSWORD)).text


@pytest.mark.parametrize("pictures", [0, 2])
def test_connecting_it_makes_one_round_and_new_tasks_make_the_next(loop, pictures):
    project = loop.project(pictures, connect=False)
    for task in project.tasks():
        project.client.create_annotation(task["id"], [])
    project.connect()
    for _ in range(4):
        loop.turn()
    assert [round_.outcome for round_ in project.rounds] == ["kept"]
    assert "Nothing to label" in page(loop) and "Connecting" not in page(loop)
    assert "no task is without a label" in project.cli("doctor")

    project.import_pictures(1)
    loop.turn()
    assert [round_.outcome for round_ in project.rounds] == ["served", "kept"]
    assert len(project.order()) == 1
    assert "No model yet" in page(loop)


def test_a_promotion_in_a_finished_project_makes_one_round(loop):
    project = loop.project(2)
    model = project.give_model()
    loop.turn()
    for task in project.tasks():
        project.client.create_annotation(task["id"], [])
    number = len(project.rounds)
    project.cli("promote", model)
    for _ in range(3):
        loop.turn()
    assert len(project.rounds) == number + 1
    project.cli("promote", model)  # nothing is left that a round could order
    loop.turn()
    assert len(project.rounds) == number + 1


@pytest.mark.slow
def test_a_finished_project_whose_order_was_not_scored_to_its_end_makes_one_round(make_loop):
    """It opened a round at each poll for the images that the time had not sufficed for."""
    project = make_loop(SCORE_SECONDS="0.000001").project(3)
    project.give_model()
    project.import_pictures(1)
    project.loop.turn()
    assert project.rounds[0].steps["scored"]["rest"] == 3
    for task in project.tasks():
        project.client.create_annotation(task["id"], [])
    number = len(project.rounds)
    for _ in range(3):
        project.loop.turn()
    assert len(project.rounds) == number + 1
    assert "Nothing to label" in page(project.loop)
    project.import_pictures(1)
    project.loop.turn()
    assert len(project.order()) == 1
