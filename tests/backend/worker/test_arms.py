"""The control arm: which task is in which arm, and how the queue takes from both."""

import itertools

import numpy as np
import pytest

from backend.store import predictions
from backend.store.predictions import Place
from backend.worker.arms import DRAWN, Draw, budget_of_strategy, divided, interleaved
from backend.worker.context import version_name
from tests.backend.worker.round_cases import UNREADABLE, open_round, run

TASKS = range(1, 2001)


def places(tasks):
    """The strategy's order of tasks, as `select` makes it."""
    return [Place(task, rank, 0.0, "by the strategy") for rank, task in enumerate(tasks, 1)]


@pytest.mark.parametrize("share", [0.03, 0.1, 0.25, 0.4, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_every_prefix_has_the_share_of_random_places_within_one_task(share, seed):
    found = list(itertools.takewhile(lambda p: p < 3000, Draw(7, share, seed).random_places()))
    taken = np.zeros(3000, bool)
    taken[found] = True
    assert taken.sum() == len(found)
    wrong = np.abs(np.cumsum(taken) - share * np.arange(1, 3001))
    assert wrong.max() <= 1


def test_the_arm_of_a_task_depends_on_seed_project_and_task_alone():
    draw = Draw(7, 0.3, 5)
    arms = [draw.arm(task) for task in TASKS]
    assert arms == [Draw(7, 0.3, 5).arm(task) for task in TASKS]
    assert 0.25 < arms.count("random") / len(arms) < 0.35
    for other in (Draw(7, 0.3, 6), Draw(8, 0.3, 5)):
        assert arms != [other.arm(task) for task in TASKS]
    # The order of the arm is the same whatever else is in the pool, so it goes on over all rounds.
    whole = draw.in_random_order(TASKS)
    some = set(TASKS[::3])
    assert draw.in_random_order(reversed(TASKS[::3])) == [task for task in whole if task in some]
    assert whole != sorted(whole) and len(whole) == arms.count("random")


def test_an_order_has_each_task_once_and_each_arm_in_its_own_order():
    draw = Draw(7, 0.25, 0)
    mine = [task for task in TASKS[::-1] if draw.arm(task) == "strategy"]
    drawn = draw.in_random_order(TASKS)
    found = interleaved(draw, places(mine), drawn)
    assert sorted(place.task for place in found) == list(TASKS)
    assert [place.task for place in found if place.reason != DRAWN] == mine
    assert [place.task for place in found if place.reason == DRAWN] == drawn
    assert [place.rank for place in found] == list(range(1, 2001))
    assert [place.score for place in found] == [rank / 2000 for rank in range(1, 2001)]


@pytest.mark.parametrize(
    ("mine", "drawn"), [([], [1, 2, 3]), ([1, 2, 3], []), ([], []), ([4], [5])]
)
def test_where_one_arm_is_empty_the_other_goes_on(mine, drawn):
    found = interleaved(Draw(7, 0.5, 0), places(mine), drawn)
    assert sorted(place.task for place in found) == sorted([*mine, *drawn])


def test_unreadable_images_stay_behind_both_arms():
    found = interleaved(Draw(7, 0.5, 0), places([1, 2, 8, 9]), [3, 4, 5, 6], last=2)
    assert [place.task for place in found[-2:]] == [8, 9]


def test_the_budget_of_the_strategy_is_its_share():
    assert budget_of_strategy(16, None) == 16
    assert budget_of_strategy(16, Draw(7, 0.25, 0)) == 12
    assert budget_of_strategy(1, Draw(7, 0.5, 0)) == 1


def order_of(context, round_):
    path = predictions.path_of(context.data, 7, version_name(round_))
    return predictions.order(path)


def ended(context, round_):
    """Another round can be opened after this one."""
    return context.store.end_round(context.lease, round_.id, "served", "")


@pytest.fixture
def scored(make_context):
    """A round whose pool of 13 images is scored, one of them unreadable."""
    context = make_context(broken=[UNREADABLE])
    pool = [*range(1, 12), UNREADABLE, 15]
    return run(context, open_round(context, pool=pool), "scored")


def test_without_a_share_nothing_changes(make_context, scored):
    context = make_context()
    plain = run(context, scored, "selected")
    before = order_of(context, plain)
    assert "control" not in plain.steps["selected"]
    assert not any(place.reason == DRAWN for place in before)
    assert sorted(place.task for place in before) == [*range(1, 13), 15]
    again = run(make_context(control_share=0.0), scored, "selected")
    assert order_of(context, again) == before


def test_the_strategy_orders_its_own_arm_as_if_there_were_no_other(make_context, scored):
    context = make_context(control_share=0.5)
    draw = Draw(7, 0.5, 0)
    round_ = run(context, scored, "selected")
    found = order_of(context, round_)
    drawn = draw.in_random_order(place.task for place in found if place.task != UNREADABLE)
    assert [place.task for place in found if place.reason == DRAWN] == drawn
    assert 0 < len(drawn) < 12 and found[-1].task == UNREADABLE
    said = round_.steps["selected"]["control"]
    assert said == {"draw": "share 0.5, seed 0", "share": 0.5, "tasks": len(drawn),
                    "served_before": ""}  # fmt: skip

    ended(context, round_)
    mine = [place.task for place in found if place.reason != DRAWN]
    alone = make_context(broken=[UNREADABLE], budget=budget_of_strategy(4, draw))
    only = run(alone, open_round(alone, pool=mine), "scored", "selected")
    assert [place.task for place in order_of(alone, only)] == mine


def test_the_random_arm_is_the_same_for_every_strategy_and_in_every_later_order(
    make_context, scored
):
    arms = []
    for strategy in ("core_set", "taudis", "random"):
        context = make_context(control_share=0.3, strategy=strategy)
        found = order_of(context, run(context, scored, "selected"))
        arms.append([place.task for place in found if place.reason == DRAWN])
    assert arms[0] and arms[0] == arms[1] == arms[2]
    ended(context, scored)
    later = [2, 3, 5, 7, 11, 15, 16, 17]  # some were labelled, others imported
    round_ = run(context, open_round(context, pool=later), "scored", "selected")
    again = [place.task for place in order_of(context, round_) if place.reason == DRAWN]
    assert [task for task in again if task in arms[0]] == [t for t in arms[0] if t in later]


def test_what_is_not_scored_yet_stays_behind_in_its_arm():
    from backend.worker.anytime import empty_pool

    draw = Draw(7, 0.5, 0)
    pool = empty_pool(np.arange(1, 9))
    mine, behind, drawn = divided(draw, pool, [12, 11, 10, 9])
    assert behind == [task for task in (12, 11, 10, 9) if draw.arm(task) == "strategy"]
    assert drawn == draw.in_random_order(range(1, 13))
    assert sorted([*mine.image_ids.tolist(), *behind, *drawn]) == list(range(1, 13))
    assert divided(None, pool, [9]) == (pool, [9], [])
