"""The commands rollback, unpin, disconnect and connect have their effect in Label Studio."""

import time

import pytest

from tests.backend.other_backend import OtherBackend
from tests.studio.loop import QUICK, connect_backend, make_pictures, make_project
from tests.studio.processes import wait_for

pytestmark = [pytest.mark.studio, pytest.mark.slow]

FIELDS = ("sampling", "model_version", "show_collab_predictions")
POLLS = 2 * float(QUICK["POLL_SECONDS"]) + 1  # seconds, for two polls


def state(work):
    """The settings of the project that the backend changes."""
    current = work.current()
    hooks = work.loop.studio.api("GET", "/api/webhooks/", params={"project": work.id})
    return {field: current[field] for field in FIELDS}, [
        {key: value for key, value in hook.items() if key != "updated_at"} for hook in hooks
    ]


@pytest.fixture(scope="module")
def work(loop, tmp_path_factory):
    pictures = make_pictures(tmp_path_factory.mktemp("pictures"), 20, size=64)
    made = make_project(loop, pictures, "Rollback", connect=False)
    made.before, hooks = state(made)
    assert hooks == []
    with loop.frozen_worker():
        connect_backend(made)
        _, hooks = state(made)  # the row that connecting made
        assert len(hooks) == 1
    wait_for(lambda: made.version().startswith("taudis-") and made.ended(1), "the first order")
    assert state(made)[1] != hooks
    return made


def regions(work, version):
    """The predictions of a version: task -> score and regions."""
    return {row["task"]: (row["score"], row["result"]) for row in work.rows(version)}


def published(round_):
    return round_.steps["published"]["version"]


def test_rollback_restores_order_and_predictions_until_unpin(work):
    cli = work.loop.cli
    work.label_some(5)
    second = published(work.train())
    was = work.order(second), regions(work, second)
    assert any(result for _, result in was[1].values())
    work.label_next()
    third = published(work.train())
    assert work.version() == third != second

    assert second in cli("rollback", "--project", str(work.id))
    assert work.version() == second == work.check_whole()
    assert (work.order(second), regions(work, second)) == was
    served = work.client.next_task(work.id)
    open_ = {task["id"] for task in work.tasks() if not task["is_labeled"]}
    assert served["id"] == next(task for task in was[0] if task in open_)
    found = [row for row in served["predictions"] if row["model_version"] == second]
    assert [(row["score"], row["result"]) for row in found] == [was[1][served["id"]]]
    work.label(served)

    round_ = work.train()  # published, and held back
    fourth = published(round_)
    assert round_.outcome == "kept"
    assert f"pinned to {second}" in round_.message
    assert work.version() == second
    work.label_next()  # served by the pinned order still
    assert set(work.order(fourth)) == set(work.stored_order(fourth))

    assert fourth in cli("unpin", "--project", str(work.id))
    assert work.version() == fourth == work.check_whole()
    work.label_next()


def check_untouched(work):
    """Check that the project has its former settings, and keeps them."""
    fields, hooks = state(work)
    assert fields == work.before
    assert hooks == []


def test_disconnect_restores_and_stays_even_with_a_round_under_way(work):
    number = work.rounds()[0].number + 1
    work.start_training()
    wait_for(lambda: work.rounds()[0].number == number, "the round")
    work.loop.cli("disconnect", "--project", str(work.id))
    check_untouched(work)
    wait_for(lambda: work.ended(number), "the end of the round")
    check_untouched(work)
    for _ in range(3):  # somebody opens the Model page: Label Studio calls /health and /setup
        work.loop.studio.api("GET", "/api/ml", params={"project": work.id})
        time.sleep(POLLS / 3)
    check_untouched(work)
    assert work.rounds()[0].number == number


def test_connecting_again_arms_again(work):
    work.loop.cli("connect", "--project", str(work.id))
    wait_for(lambda: work.version().startswith("taudis-"), "an order to be served again")
    assert work.current()["sampling"] == "Uncertainty sampling"
    work.check_whole()
    wait_for(lambda: [hook for hook in state(work)[1] if hook["headers"]], "the webhook's header")
    work.label_next()


def check_not_taken_for_ours(work):
    """Connect another ML backend, and check that the worker leaves it and the project alone."""
    studio = work.loop.studio
    with OtherBackend() as other:
        backend = studio.connect_backend(work.id, other.url, "Other", None)
        _, hooks = state(work)
        assert [hook["url"] for hook in hooks] == [f"{other.url}/webhook"]
        time.sleep(POLLS)  # polls that must change nothing
        fields, still = state(work)
        assert fields["sampling"] == work.before["sampling"]
        assert not fields["model_version"].startswith("taudis-")
        assert still == hooks
        work.label_some(1)  # Label Studio posts to the webhook
        assert other.credentials == {""}
        studio.api("DELETE", f"/api/ml/{backend}")
        for hook in hooks:
            studio.api("DELETE", f"/api/webhooks/{hook['id']}/")


def test_removing_and_adding_the_backend_on_the_model_page(work):
    work.loop.cli("disconnect", "--project", str(work.id))
    check_untouched(work)
    work.loop.studio.api("DELETE", f"/api/ml/{work.backend}")
    time.sleep(POLLS)
    check_not_taken_for_ours(work)
    connect_backend(work)
    wait_for(lambda: work.version().startswith("taudis-"), "an order to be served again")
    work.check_whole()
