"""The Data Manager's tab of the queue: added once, removed at disconnect, never a tab of others."""

import pytest

from backend.label_studio.tabs import QUEUE

OURS = "TAUDIS queue"
VIEWS = "/api/dm/views/?"


def tabs(project):
    return {row["data"]["title"]: row["id"] for row in project.client.tabs.of(project.id)}


def connected(loop, **how):
    project = loop.project(2, **how)
    loop.schedule()
    return project


def test_it_is_added_behind_the_usual_tab_and_removed_at_disconnect(loop):
    project = connected(loop)
    assert list(tabs(project)) == ["Default", OURS]
    project.cli("connect")
    loop.turn()
    assert list(tabs(project)) == ["Default", OURS]
    project.cli("disconnect")
    assert list(tabs(project)) == ["Default"]
    project.cli("connect")
    loop.turn()
    assert list(tabs(project)) == ["Default", OURS]


def test_a_project_with_tabs_keeps_them(loop):
    project = loop.project(2, connect=False)
    theirs = project.client.tabs.add(project.id, {"title": "Mine"})
    project.connect()
    loop.schedule()
    assert list(tabs(project)) == ["Mine", OURS]
    project.cli("disconnect")
    assert tabs(project) == {"Mine": theirs}


def test_a_tab_that_a_person_removed_stays_away_until_it_is_connected_anew(loop):
    project = connected(loop)
    project.client.tabs.remove(tabs(project)[OURS])
    for _ in range(2):
        project.cli("connect")
        loop.turn()
        assert list(tabs(project)) == ["Default"]
    project.cli("disconnect")
    project.cli("connect")
    loop.turn()
    assert list(tabs(project)) == ["Default", OURS]


@pytest.mark.parametrize("status", [400, 404])
def test_without_the_tab_everything_else_is_set_up_and_it_is_not_asked_for_again(loop, status):
    project = loop.project(2, connect=False)
    loop.studio.fault("POST", VIEWS, status=status)
    project.connect()
    loop.schedule()
    assert tabs(project) == {} and project.version().startswith("taudis-")
    project.cli("connect")
    loop.turn()
    assert tabs(project) == {}
    project.cli("disconnect")


def test_one_whose_answer_was_lost_is_found_again(loop):
    project = loop.project(2, connect=False)
    ours = lambda request: request.get_json()["data"]["title"] == OURS  # noqa: E731
    fault = loop.studio.fault("POST", VIEWS, cut=True, when=ours)
    project.connect()
    loop.schedule()
    assert fault.happened == 1
    project.cli("connect")
    loop.turn()
    assert list(tabs(project)) == ["Default", OURS]
    project.cli("disconnect")
    assert list(tabs(project)) == ["Default"]


def test_it_lists_unlabelled_tasks_by_ascending_score():
    assert QUEUE["ordering"] == ["tasks:predictions_score"]
    hidden = QUEUE["hiddenColumns"]["explore"]
    assert "tasks:predictions_score" not in hidden and "tasks:id" not in hidden
