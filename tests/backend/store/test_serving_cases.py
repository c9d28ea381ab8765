"""Every row of the tables in `backend.store.serving`: which order and which model serve."""

import pytest

from backend.store.projects import Project
from backend.store.serving import (
    after_connecting,
    after_switch,
    models_in_use,
    orders_in_use,
    served_version,
    serving_model,
    why_to_stay,
)
from backend.store.state import ProjectState
from backend.store.versions import Version

TITLES = {"TAUDIS", None}
PUBLISHED = {"taudis-0001-a", "taudis-0002-b"}
NEW = "taudis-0003-c"


def order(version, tasks=5):
    return Version(
        project=7,
        version=version,
        round=1,
        model="m",
        tasks=tasks,
        metrics={},
        created=0.0,
        pruned=None,
    )


@pytest.mark.parametrize(
    ("pinned", "serving", "current", "reason"),
    [
        ("taudis-0001-a", "taudis-0001-a", "taudis-0001-a", "pinned to taudis-0001-a"),
        ("taudis-0001-a", "taudis-0002-b", "", "pinned to taudis-0001-a"),
        ("", "taudis-0002-b", "", ""),
        ("", "taudis-0002-b", "None", ""),
        ("", "taudis-0002-b", "TAUDIS", ""),
        ("", "", "TAUDIS", ""),
        ("", "taudis-0002-b", NEW, ""),
        ("", "taudis-0002-b", "taudis-0002-b", ""),
        ("", "", "taudis-0009-ff", ""),
        ("", "taudis-0002-b", "taudis-0009-ff", "a version that is not ours"),
        ("", "taudis-0002-b", "taudis-0001-a", "an older version of ours"),
        ("", "taudis-0002-b", "yolo", "a version that is not ours"),
        ("", "", "yolo", "a version that is not ours"),
    ],
)
def test_a_new_order_serves_unless_a_person_chose_another(pinned, serving, current, reason):
    state = ProjectState(pinned=pinned, serving=serving)
    why = why_to_stay(state, current, NEW, titles=TITLES, published=PUBLISHED)
    assert (reason in why) if reason else why == ""


@pytest.mark.parametrize(
    ("armed", "pinned", "serving", "current", "decision"),
    [
        (None, "", NEW, NEW, "disconnected"),
        (None, "v1", "v1", "v1", "disconnected"),
        ({"webhook": 1}, "", "v1", NEW, "the new order"),
        ({"webhook": 1}, "v1", "v1", "v1", "the new order"),
        ({"webhook": 1}, "v1", "v1", NEW, "pinned"),
        ({"webhook": 1}, "v1", NEW, "v1", "pinned"),
    ],
)
def test_a_rollback_or_a_disconnect_during_the_switch_wins(
    armed, pinned, serving, current, decision
):
    state = ProjectState(armed=armed, pinned=pinned, serving=serving)
    assert after_switch(state, current) == decision


@pytest.mark.parametrize(
    ("current", "versions", "held", "expected"),
    [
        ("yolo", [order("v2")], {"v2": 5, "yolo": 1}, "as it is"),
        ("v1", [order("v2")], {"v2": 5, "v1": 2}, "as it is"),
        ("Removed", [order("v2")], {"v2": 5}, "v2"),
        ("Removed", [], {}, None),
        ("", [order("v2"), order("v1")], {"v2": 5, "v1": 5}, "v2"),
        ("TAUDIS", [order("v2"), order("v1")], {"v1": 5}, "v1"),
        ("TAUDIS", [order("v2", tasks=0), order("v1")], {"v2": 5, "v1": 5}, "v1"),
        ("", [order("v2"), order("v1")], {"v1": 0}, None),
        ("TAUDIS", [], {}, None),
    ],
)
def test_connecting_anew_serves_the_newest_order_that_is_still_held(
    current, versions, held, expected
):
    found = after_connecting(current, TITLES, versions, held)
    assert (found.version if isinstance(found, Version) else found) == expected


@pytest.mark.parametrize(
    ("promoted", "model", "expected"),
    [("", "", ""), ("", "m2", "m2"), ("m1", "m2", "m1"), ("m1", "", "m1")],
)
def test_the_promoted_model_scores_else_that_of_the_served_order(promoted, model, expected):
    state = ProjectState(promoted=promoted, model=model)
    assert serving_model(state) == expected
    assert models_in_use(state) == {promoted, model} - {""}


def test_orders_in_use_are_the_served_one_here_and_there_and_the_pinned_one():
    state = ProjectState(serving="v2", pinned="v1")
    assert orders_in_use(state, "v3") == {"v1", "v2", "v3"}
    assert orders_in_use(ProjectState(), "") == set()


def test_label_studio_gets_no_name_before_the_first_order():
    assert served_version(None) == served_version(Project(7, "", ProjectState())) == ""
    assert served_version(Project(7, "", ProjectState(serving="v2"))) == "v2"
