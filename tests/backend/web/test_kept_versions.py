"""The page says why a model does not serve, and promotes what the command promotes."""

import pytest

from backend.store.database import Store
from backend.store.next_labels import ROUNDS, next_labels
from backend.store.serving import kept_models, models_folder
from backend.store.state import ProjectState
from backend.store.versions import Version
from backend.web.status import quality
from backend.web.status.versions import choices

SERVES = "taudis-0004-aaaa"


def version(name, model, **metrics):
    return Version(1, name, 4, model, 9, metrics, 0.0, None)


def rows(versions, models, evaluations=None, **state):
    found = ProjectState(armed=1.0, serving=SERVES, model=SERVES, **state)
    return {row.version: row for row in choices(found, versions, models, evaluations or {}).rows}


def test_a_model_that_evaluated_worse_can_be_promoted_and_has_its_own_figure():
    worse = "taudis-0005-bbbb"
    orders = [version(worse, SERVES, map50=0.5), version(SERVES, SERVES, map50=0.5)]
    found = rows(orders, [worse, SERVES], {worse: {"map50": 0.31}})[worse]
    assert found.can_promote and found.can_roll_back
    assert (found.model, found.made_by, found.quality) == (worse, SERVES, "mAP50 0.310")
    assert not rows(orders, [worse, SERVES], promoted=worse)[worse].can_promote


def test_an_order_whose_model_was_deleted_promotes_nothing():
    old = "taudis-0005-bbbb"
    found = rows([version(old, SERVES), version(SERVES, SERVES)], [SERVES])[old]
    assert (found.model, found.can_promote, found.made_by) == ("", False, SERVES)


def test_a_second_attempt_to_publish_names_the_model_of_its_round():
    model, again = "taudis-0005-bbbb", "taudis-0005-bbbb-2"
    found = rows([version(again, model, map50=0.6), version(SERVES, SERVES)], [model, SERVES])
    assert found[again].model == model and found[again].can_promote
    assert found[again].quality == "mAP50 0.600"


@pytest.mark.slow
def test_a_model_that_a_promotion_holds_back_is_not_called_worse(loop):
    project = loop.project(10)
    project.label_some(6)
    first = project.train().steps["evaluated"]["version"]
    project.cli("promote", first)
    loop.turn()
    second = project.train().steps["evaluated"]
    assert not second["serve"] and "was promoted" in second["reason"]
    served = {row[0]: row[-1] for row in quality.curve_rows(quality.points_of(project.rounds))}
    assert served == {"2": "yes", "4": f"no, {quality.PROMOTED}"}, served
    kept = kept_models(models_folder(loop.data, project.id))
    found = choices(
        loop.store.project(project.id).state,
        loop.store.versions(project.id),
        kept,
        quality.evaluations(project.rounds),
    )
    (row,) = (row for row in found.rows if row.version == second["version"])
    assert row.can_promote and row.model == second["version"]


@pytest.mark.parametrize(
    ("outcome", "flipped", "expected"),
    [
        ("served", True, "yes"),
        ("kept", True, "no, the previous order stayed"),
        ("failed", False, "no, its round failed"),
        ("stopped", False, "no, its round was stopped"),
        (None, False, "no, its round still runs"),
        (None, True, "yes"),
    ],
)
def test_the_curve_says_served_only_of_models_that_served(tmp_path, outcome, flipped, expected):
    store = Store(tmp_path)
    lease = store.acquire()
    round_ = store.open_round(lease, 1, "train", "a test", [])
    verdict = {"version": "m", "serve": True, "metrics": {"images": 5, "map50": 0.3}}
    store.finish_step(lease, round_.id, "evaluated", verdict)
    if flipped:
        store.finish_step(lease, round_.id, "flipped", {"flipped": outcome != "kept"})
    if outcome:
        store.end_round(lease, round_.id, outcome, "")
    found = store.rounds(1, 5, steps=("evaluated", "flipped"), having="evaluated")
    assert [row[-1] for row in quality.curve_rows(quality.points_of(found))] == [expected]
    store.close()


@pytest.mark.parametrize(("images", "says"), [(0, ""), (1, "1 validation image "), (50, "")])
def test_few_validation_images_are_named_before_two_models_are_compared(images, says):
    assert quality.few_images({"images": images}).startswith(says)
    assert bool(quality.few_images({"images": images})) is bool(says)


def test_trainings_are_found_behind_any_number_of_refreshes(tmp_path):
    store = Store(tmp_path)
    lease = store.acquire()
    store.update_project(1, serving="m2")
    for number in range(3):
        round_ = store.open_round(lease, 1, "train", "a test", [])
        store.finish_step(lease, round_.id, "trained", {"images": 20 * (number + 1)})
        metrics = {"images": 5 * (number + 1), "map50": 0.3 + 0.05 * number}
        verdict = {"version": f"m{number}", "serve": True, "metrics": metrics}
        if number:
            gain = {"map50": 0.05, "interval": [0.0, 0.1]}
            verdict |= {"compared_with": f"m{number - 1}", "difference": gain}
        store.finish_step(lease, round_.id, "evaluated", verdict)
        store.end_round(lease, round_.id, "served", "")
    before = next_labels(store, 1, 16).in_words()
    assert "by 3 trainings" in before
    for _ in range(ROUNDS + 1):
        store.end_round(lease, store.open_round(lease, 1, "refresh", "a test", []).id, "served", "")
    assert next_labels(store, 1, 16).in_words() == before
    store.close()
