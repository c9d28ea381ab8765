"""A promotion is carried out whenever it comes: also while a round of another model runs."""

import pytest

from backend.store.lease import NO_LEASE
from backend.web.predict import _OnTheSpot
from backend.worker import operate
from backend.worker import round as rounds
from backend.worker.context import RoundContext

OTHER = "taudis-0000-other"


@pytest.fixture
def project(make_loop):
    """A project whose served order is of a model, and another kept model."""
    made = make_loop().project(3)
    made.give_model()
    made.add_model(OTHER)
    made.loop.turn()
    return made


def promote(project, version=OTHER):
    """What a person does beside the worker."""
    loop = project.loop
    return operate.promote(RoundContext(loop.settings(), loop.store, NO_LEASE, project.id), version)


def during(monkeypatch, step, act):
    """Do something once, after a step has done its work and before its row is written."""
    function, left = rounds.STEP_FUNCTIONS[step], [act]

    def also(context, round_, report):
        result = function(context, round_, report)
        if left:
            left.pop()()
        return result

    monkeypatch.setattr(rounds, "STEP_FUNCTIONS", {**rounds.STEP_FUNCTIONS, step: also})


def state(project):
    return project.loop.store.project(project.id).state


@pytest.mark.parametrize("step", ["scored", "published"])
def test_a_promotion_while_a_round_runs_gets_its_round(project, monkeypatch, step):
    """Until now the round's own switch took back the wish for an order of the promoted model."""
    during(monkeypatch, step, lambda: promote(project))
    project.import_pictures(1)
    project.loop.turn()
    assert project.rounds[0].steps["scored"]["model"] != OTHER
    project.loop.turn()
    assert project.rounds[0].steps["scored"]["model"] == OTHER
    assert project.rounds[0].reason == f"{OTHER} was promoted"
    assert state(project).model == OTHER
    number = len(project.rounds)
    project.loop.turn()
    assert len(project.rounds) == number


def test_a_promotion_before_the_pool_is_scored_needs_no_second_round(project, monkeypatch):
    during(monkeypatch, "synced", lambda: promote(project))
    project.import_pictures(1)
    project.loop.turn()
    assert project.rounds[0].steps["scored"]["model"] == OTHER
    number = len(project.rounds)
    project.loop.turn()
    assert len(project.rounds) == number


def test_a_promotion_is_kept_while_a_chosen_version_holds_the_order_back(project, monkeypatch):
    row = {"task": project.tasks()[0]["id"], "result": [], "score": 0.5, "model_version": "theirs"}
    project.client.import_predictions(project.id, [row])
    project.client.patch_project(project.id, model_version="theirs")
    during(monkeypatch, "scored", lambda: promote(project))
    project.import_pictures(1)
    project.loop.turn()
    project.loop.turn()
    assert project.rounds[0].steps["scored"]["model"] == OTHER
    assert project.rounds[0].outcome == "kept"
    number = len(project.rounds)
    project.loop.turn()
    assert len(project.rounds) == number


def test_a_promoted_model_that_is_damaged_calls_for_one_round(project):
    """Another model stands in for it, and the wish for an order ends all the same."""
    promote(project)
    card = project.loop.data / "models" / str(project.id) / OTHER / "card.json"
    card.unlink()  # tests share the file by its links
    card.write_text("{")
    number = len(project.rounds)
    for _ in range(3):
        project.loop.turn()
    assert project.rounds[0].steps["scored"]["stand_in"]
    assert len(project.rounds) == number + 1


def test_a_model_is_promoted_after_a_rollback_to_the_first_order(make_loop):
    """No model made that order, and the promoted one scored nothing: the queue stayed random."""
    project = make_loop().project(3)
    first = project.version()
    model = project.give_model()
    project.loop.turn()
    project.cli("rollback", first)
    assert state(project).model == ""
    promote(project, model)
    services = project.loop.app.extensions["taudis"]
    predicting = _OnTheSpot(services, services.store.project(project.id), "", 1.0)
    assert predicting._job(project.tasks()[0]).checkpoint.name == model
    project.loop.turn()
    assert (project.rounds[0].kind, project.rounds[0].outcome) == ("refresh", "served")
    assert project.rounds[0].steps["scored"]["model"] == model
    assert state(project).model == model and project.version() not in (first, model)
    number = len(project.rounds)
    project.loop.turn()
    assert len(project.rounds) == number
