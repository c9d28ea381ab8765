"""Rounds that score a part of the pool, with Label Studio, restarts, rollbacks and new tasks."""

import itertools

import pytest
from sqlalchemy.exc import OperationalError

from backend.worker import anytime
from backend.worker import round as rounds
from tests.backend.local_loop import PASSWORD, USER

pytestmark = pytest.mark.slow
AT_A_TIME = 3


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A second passes with every image: the time is asked for once before each."""
    monkeypatch.setattr(anytime, "monotonic", itertools.count().__next__)


@pytest.fixture
def project(make_loop):
    """Seven tasks in the order of a model, and an eighth that was imported since."""
    made = make_loop(SCORE_SECONDS=str(AT_A_TIME)).project(7)
    made.give_model()
    made.import_pictures(1)
    return made


def scored(round_):
    """How many images a round has scored or taken over, and how many are the rest."""
    found = round_.steps["scored"]
    return found["images"], found.get("rest", 0)


def check_whole(project):
    """Every unlabelled task has one place in the order that is served; returns the order."""
    order, rows = project.order(), project.rows(project.version())
    unlabelled = [task["id"] for task in project.tasks() if not task["is_labeled"]]
    assert sorted(order) == unlabelled
    assert [rows[task][0] for task in order] == [
        rank / len(order) for rank in range(1, len(order) + 1)
    ]
    assert project.stored_order(project.version()) == order
    return order


def page(project):
    return project.loop.app.test_client().get("/", auth=(USER, PASSWORD)).text


def test_a_large_pool_is_scored_in_rounds_each_with_an_order_of_all_tasks(project):
    old = project.order()
    new = project.tasks()[-1]["id"]
    project.loop.turn()
    first = project.rounds[0]
    assert first.outcome == "served" and scored(first) == (3, 5)
    order = check_whole(project)
    assert sorted(order[:3]) == sorted(old[:3]) and order[3:] == [*old[3:], new]
    assert "3 of 8 images are scored; 5 keep their old order behind these" in first.message
    assert first.message in page(project)
    assert "8 unlabelled, 5 of them not scored yet" in page(project)
    assert project.client.next_task(project.id)["id"] == order[0]

    project.loop.turn()
    second = project.rounds[0]
    assert (second.kind, second.reason) == ("refresh", "5 images are not scored yet")
    assert scored(second) == (6, 2) and check_whole(project)[6:] == [old[6], new]
    project.loop.turn()
    third = project.rounds[0]
    assert scored(third) == (8, 0)
    assert "all 8 images are scored (6 of them by the same model" in third.message
    check_whole(project)
    assert "8 unlabelled</dd>" in page(project)
    project.loop.turn()
    assert project.rounds[0].number == third.number  # nothing is left to do


STEPS = ("synced", "scored", "selected", "published", "flipped", "pruned")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("number", [1, 2])
def test_a_worker_killed_after_any_step_goes_on_to_the_same_order(
    project, monkeypatch, step, number
):
    """Its files are written and its row is not."""
    old, loop = project.order(), project.loop
    new = project.tasks()[-1]["id"]
    for _ in range(number - 1):
        loop.turn()
    function = rounds.STEP_FUNCTIONS[step]

    def killed(*arguments):
        function(*arguments)
        raise OperationalError("killed", None, Exception("killed"))

    with monkeypatch.context() as patch:
        patch.setitem(rounds.STEP_FUNCTIONS, step, killed)
        loop.turn()
    assert project.rounds[0].ended is None and step not in project.rounds[0].steps
    loop.start_worker()
    loop.turn()
    assert project.rounds[0].outcome == "served" and len(project.rounds) == 2 + number
    assert scored(project.rounds[0]) == (3 * number, 8 - 3 * number)
    order = check_whole(project)
    assert sorted(order[: 3 * number]) == sorted(old[: 3 * number])
    assert order[3 * number :] == [*old, new][3 * number :]


def test_a_rollback_ends_the_scoring_of_the_rest_until_unpin(project):
    before = project.version()
    loop = project.loop
    loop.turn()
    cut = project.version()
    project.cli("rollback")
    assert project.version() == before
    number = project.rounds[0].number
    loop.turn()
    assert project.rounds[0].number == number
    project.cli("unpin")
    assert project.version() == cut
    loop.turn()
    assert project.rounds[0].number == number + 1 and scored(project.rounds[0]) == (6, 2)


def test_a_promoted_model_scores_anew_and_takes_nothing_over(project):
    project.loop.turn()
    model = project.add_model("taudis-0000-other")
    project.cli("promote", model)
    project.loop.turn()
    round_ = project.rounds[0]
    assert round_.steps["scored"]["model"] == model and scored(round_) == (3, 5)
    check_whole(project)
    project.loop.turn()
    assert project.rounds[0].steps["scored"]["model"] == model
    assert scored(project.rounds[0]) == (6, 2)


def test_tasks_that_come_and_go_while_a_part_is_scored(project):
    """One is imported, one deleted, one labelled, between the reading of tasks and the post."""
    old, loop = project.order(), project.loop

    def change():
        project.import_pictures(1)
        loop.studio.api("DELETE", f"/api/tasks/{old[4]}/")
        project.client.create_annotation(old[0], [])

    loop.studio.fault("POST", f"/api/projects/{project.id}/import/predictions", before=change)
    loop.turn()
    assert project.rounds[0].outcome == "served"
    served, newest = project.order(), project.tasks()[-1]["id"]
    assert old[4] not in served and newest not in served
    loop.turn()
    second = project.rounds[0]
    assert second.reason == "1 task has no place in the order yet"
    order = check_whole(project)
    assert scored(second) == (5, 2) and newest == order[-1]
    loop.turn()
    assert scored(project.rounds[0]) == (7, 0)
    check_whole(project)


def test_labels_train_before_the_rest_is_scored(make_loop):
    loop = make_loop(SCORE_SECONDS=str(AT_A_TIME), TRAIN_AFTER="4")
    project = loop.project(12)
    project.give_model()
    project.import_pictures(1)
    loop.turn()
    assert scored(project.rounds[0]) == (3, 10)
    project.label_some(4)
    loop.turn()
    trained = project.rounds[0]
    assert (trained.kind, trained.outcome) == ("train", "served"), trained.message
    assert scored(trained) == (3, 6) and trained.steps["scored"]["taken_over"] == 0
    assert "3 of 9 images are scored" in trained.message
    check_whole(project)
    loop.turn()
    assert project.rounds[0].kind == "refresh" and scored(project.rounds[0]) == (6, 3)
    assert project.rounds[0].steps["scored"]["model"] == trained.steps["scored"]["model"]


def test_versions_go_while_the_rest_is_scored(make_loop):
    """Each order has all that it shows in its own file."""
    loop = make_loop(SCORE_SECONDS="2", KEEP_VERSIONS="2")
    project = loop.project(9)
    project.give_model()
    project.import_pictures(1)
    for part in range(1, 6):
        loop.turn()
        assert scored(project.rounds[0]) == (2 * part, 10 - 2 * part)
        loop.clean()
        check_whole(project)
    folder = loop.data / "predictions" / str(project.id)
    assert len(list(folder.glob("taudis-*.sqlite3"))) == 2
    loop.turn()
    assert scored(project.rounds[0]) == (10, 0)
