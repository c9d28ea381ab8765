"""What a 404 in a round ends, and what it does not."""

import pytest

from backend.errors import RoundWaits
from backend.worker.context import RoundContext
from backend.worker.due import RoundDue

IMPORT = "/api/projects/{}/import/predictions"


@pytest.fixture
def project(loop):
    """A connected project before its first order."""
    made = loop.project(3, connect=False)
    made.connect()
    return made


def test_a_404_that_passes_does_not_end_the_round(project):
    """A proxy answers it while Label Studio restarts; before the post may be hours of training."""
    project.loop.studio.fault("POST", IMPORT.format(project.id), status=404)
    project.loop.turn()
    assert project.rounds[0].outcome == "served", project.rounds[0].message
    assert len(project.order()) == 3


def test_a_round_waits_for_a_project_that_is_hidden(project):
    loop, path = project.loop, f"/api/projects/{project.id}/"
    hide = lambda: loop.studio.fault("GET", path, status=404, times=99)  # noqa: E731
    loop.studio.fault("POST", IMPORT.format(project.id), status=404, times=99, before=hide)
    loop.turn()
    (round_,) = project.rounds
    assert round_.ended is None and round_.next_step == "published"
    assert "once the project is there again" in loop.store.project(project.id).state.waiting_reason
    loop.start_worker()
    loop.turn()
    assert loop.store.project(project.id).state.gone and project.rounds[0].ended is None
    loop.studio.faults.clear()
    loop.start_worker()
    loop.turn()
    assert project.rounds[0].outcome == "served"
    assert project.rounds[0].steps["synced"] == round_.steps["synced"]


def test_what_the_project_has_no_more_ends_the_round(project):
    project.loop.studio.fault("POST", IMPORT.format(project.id), status=404, times=99)
    project.loop.turn()
    assert project.rounds[0].outcome == "failed"
    assert "no longer has what the round needs" in project.rounds[0].message


def beside_another(loop):
    """Context and round of a project, and another project that has an open round, too."""
    mine, other = loop.project(2), loop.project(2)
    context = RoundContext(loop.settings(POLL_SECONDS="3600"), loop.store, loop.lease, mine.id)
    number = loop.store.open_round(loop.lease, mine.id, "train", "a test", [])
    loop.store.open_round(loop.lease, other.id, "train", "a test", [])
    for event in loop.store.pending_events():
        loop.store.acknowledge(event)
    return context, number, other


def test_the_open_round_of_a_deleted_project_holds_up_no_comparison(loop):
    context, number, other = beside_another(loop)
    with pytest.raises(RoundWaits):
        RoundDue(context, number)()
    loop.store.update_project(other.id, gone=True)
    assert RoundDue(context, number)() is False


def test_a_waiting_round_of_another_project_holds_up_no_comparison(loop):
    """Its token was revoked, for example: it waits until somebody gives another."""
    context, number, other = beside_another(loop)
    loop.store.update_project(other.id, waiting_reasons={"scheduler": "no token"})
    with pytest.raises(RoundWaits):
        RoundDue(context, number)()
    loop.store.update_project(other.id, waiting_reasons={"round_runner": "no token"})
    assert RoundDue(context, number)() is False
