"""F16: a worker that sleeps past its lease, while another one works; then it wakes."""

import random

import pytest

from backend.errors import LeaseLost
from tests.faults.driver import Event
from tests.faults.schedules import Schedules

SEED, A_RUN = 16, 20  # trials on one project
KINDS = ("import", "train")
"""What the sleeping worker's round is for: new tasks, or labels."""


def trials(driver, dice, number):
    """Let a worker sleep at a random point of a round, again and again; each wakes afterwards."""
    points = 120
    for _ in range(number):
        driver.happen(Event("label", dice.randrange(2)))
        driver.happen(Event(dice.choice(KINDS)))
        before = driver.takeovers
        while driver.takeovers == before:
            sleep = Event("sleep", dice.randrange(3))
            driver.happen(Event("turn", 0, ((dice.randrange(1, points), sleep),)))
            points = max(driver.points.count, 20)
            driver.happen(Event(dice.choice(KINDS)))
        driver.happen(Event("edit", dice.randrange(100)))
        for _ in range(max(0, len(driver.project.tasks()) - 10)):
            driver.happen(Event("drop", dice.randrange(100)))


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.fault("F16", "publish", "lease")
def test_a_worker_that_wakes_after_its_lease_changes_nothing(
    tmp_path, untrained_model, figures, full
):
    dice, done, found = random.Random(SEED), 0, []
    while done < (1000 if full else 8):
        with Schedules(tmp_path, untrained_model).driver() as driver:
            trials(driver, dice, min(A_RUN, 8 if not full else A_RUN))
            driver.settle()
            found += driver.history().violations()
            done += driver.takeovers
    stale = sum(each.name == "stale flip" for each in found)
    figures(trials=done, stale=stale, mixed=len(found) - stale)
    assert not found


def test_a_switch_that_was_on_its_way_is_undone(loop):
    """Its worker sleeps; when it arrives, the next worker has switched to a newer order."""
    project = loop.project(4)
    project.import_pictures(1)
    orders = []

    def others_go_on():
        loop.start_worker()
        loop.turn()  # it ends the round that the sleeping worker began
        project.import_pictures(1)
        loop.turn()
        orders.extend(row.version for row in loop.store.versions(project.id))
        assert project.version() == orders[0]

    path = f"/api/projects/{project.id}/"
    switch = lambda call: "taudis-" in str(call.json.get("model_version"))  # noqa: E731
    loop.studio.fault("PATCH", path, before=others_go_on, when=switch)
    with pytest.raises(LeaseLost):
        loop.turn()
    assert project.version() == orders[1]  # of two workers, the late one has the last word
    loop.turn()
    assert project.version() == orders[0]
    assert "changed" not in project.cli("rounds")

    project.client.patch_project(project.id, model_version=orders[1])  # now it is a person's choice
    loop.turn()
    assert project.version() == orders[1]
    assert "Choose it in Settings" in loop.store.project(project.id).state.changed_by_person


def test_a_worker_without_the_lease_sends_nothing_more(loop):
    project = loop.project(3)
    loop.start_worker()
    old, new = loop.lease, loop.store.acquire()
    context = loop.worker._context(old, project.id)
    with pytest.raises(LeaseLost):
        context.studio.patch_project(project.id, title="From a worker that woke up")
    assert context.studio.project(project.id)["title"] == "A project"  # reading changes nothing
    fresh = loop.worker._context(new, project.id)
    assert fresh.studio.patch_project(project.id, title="Renamed")["title"] == "Renamed"


@pytest.mark.parametrize("answers", [1, 2])
def test_a_request_is_not_sent_again_after_the_lease_is_lost(loop, answers):
    project = loop.project(3)
    path = f"/api/projects/{project.id}/"
    loop.start_worker()
    context = loop.worker._context(loop.lease, project.id)
    loop.studio.fault("PATCH", path, status=503, times=answers - 1)
    loop.studio.fault("PATCH", path, status=503, before=loop.start_worker)
    before = loop.studio.asked("PATCH", path)
    with pytest.raises(LeaseLost):
        context.studio.patch_project(project.id, title="Twice")
    assert loop.studio.asked("PATCH", path) == before + answers
