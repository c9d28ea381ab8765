"""What people ask for on the status page, carried out by the scheduler."""

import re

import pytest

from tests.backend.local_loop import PASSWORD, USER


@pytest.fixture
def project(make_loop):
    """A first order, and a model whose order serves."""
    made = make_loop().project(6)
    made.first = made.version()
    made.model = made.give_model()
    made.loop.turn()
    return made


def press(project, action, version=""):
    """Press a button of the project's page."""
    client, path = project.loop.app.test_client(), f"/projects/{project.id}"
    token = re.search(r'name="token" value="(\w+)"', client.get(path, auth=(USER, PASSWORD)).text)
    answer = client.post(
        f"{path}/{action}", data={"token": token[1], "version": version}, auth=(USER, PASSWORD),
        headers={"Origin": "http://localhost"},
    )  # fmt: skip
    assert answer.status_code == 303
    project.loop.schedule()
    return client.get(path, auth=(USER, PASSWORD)).text


def test_roll_back_unpin_and_promote_from_the_page(project):
    page = press(project, "rollback", project.first)
    assert project.version() == project.first
    assert f"Rolled back: {project.first} is served and pinned" in page
    page = press(project, "unpin")
    assert project.version() == project.model and "Unpinned" in page
    page = press(project, "promote", project.model)
    assert f"scores the unlabelled images with {project.model}" in page
    assert project.loop.store.project(project.id).state.promoted == project.model
    assert project.rounds[0].reason == f"{project.model} was promoted"


def test_what_cannot_be_done_is_said_and_not_tried_again(project):
    project.client.delete_version(project.id, project.first)
    page = press(project, "rollback", project.first)
    assert "Not done: Expected a published version" in page
    state = project.loop.store.project(project.id).state
    assert state.asked is None and not state.pinned and project.version() == project.model


def test_a_request_waits_while_label_studio_is_down(project):
    loop, path = project.loop, f"/api/projects/{project.id}/"
    loop.studio.fault("PATCH", path, status=401, times=99)
    page = press(project, "rollback", project.first)
    assert "The worker was asked to roll back to" in page
    loop.studio.faults.clear()
    loop.start_worker()
    loop.schedule()
    assert project.version() == project.first
