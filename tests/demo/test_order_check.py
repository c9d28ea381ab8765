"""The check of the served order finds every defect, and calls nothing else a defect."""

from typing import get_args

from demo.order_check import MEANING, OrderCheck, Verdict
from demo.records import Deleted, Done, Served, Switched

ORDERS = {"v1": {1: 0.25, 2: 0.5, 3: 0.75, 4: 1.0}, "v2": {4: 0.25, 3: 0.5, 2: 0.75, 1: 1.0}}


def served(who, at, task, before="v1", after=None):
    return Served(who, at, at + 0.1, task, before, after or before)


def done(who, at, task, skipped=False):
    return Done(who, task, at, at + 0.1, skipped)


def check(served, done, orders):
    return OrderCheck(served, done, orders).checked()


def verdicts(found):
    return [one.verdict for one in found]


def test_best_first_is_in_order():
    acts = [done("a", 1, 1), done("a", 3, 2)]
    assert verdicts(check([served("a", 0, 1), served("a", 2, 2)], acts, ORDERS)) == ["in_order"] * 2


def test_a_better_free_task_is_a_defect_and_is_named():
    (found,) = check([served("a", 0, 2)], [], ORDERS)
    assert (found.verdict, found.better) == ("out_of_order", 1)


def test_a_task_locked_by_another_is_not_free():
    both = [served("b", 0, 1), served("a", 1, 2)]
    assert verdicts(check(both, [], ORDERS)) == ["in_order"] * 2


def test_a_lock_ends_with_the_submit_and_the_task_is_labelled():
    both = [served("b", 0, 1), served("a", 5, 2)]
    assert verdicts(check(both, [done("b", 2, 1)], ORDERS)) == ["in_order"] * 2


def test_a_skipped_task_is_free_for_others_but_not_for_who_skipped_it():
    skip = [done("b", 1, 1, skipped=True)]
    assert verdicts(check([served("b", 0, 1), served("b", 2, 2)], skip, ORDERS)) == ["in_order"] * 2
    found = check([served("b", 0, 1), served("a", 2, 2)], skip, ORDERS)
    assert verdicts(found) == ["in_order", "out_of_order"]


def test_the_order_is_that_of_the_version_in_force():
    assert verdicts(check([served("a", 0, 4, "v2")], [], ORDERS)) == ["in_order"]
    assert verdicts(check([served("a", 0, 1, "v2")], [], ORDERS)) == ["out_of_order"]


def test_a_request_that_met_a_flip_may_be_served_from_either_order():
    for task, verdict in ((1, "in_order"), (4, "in_order"), (2, "out_of_order")):
        assert verdicts(check([served("a", 0, task, "v1", "v2")], [], ORDERS)) == [verdict]


def test_recorded_flips_say_which_orders_were_in_force():
    flips = [Switched("v1", -2, -1), Switched("v2", 3, 4)]
    for asked, task, verdict in (
        (0, 1, "in_order"), (0, 4, "out_of_order"), (2.95, 4, "in_order"), (3.5, 1, "in_order"),
        (3.5, 4, "in_order"), (5, 4, "in_order"), (5, 1, "out_of_order"),
    ):  # fmt: skip
        one = Served("a", asked, asked + 0.1, task)
        (found,) = OrderCheck([one], [], ORDERS, flips).checked()
        assert (asked, task, found.verdict) == (asked, task, verdict)


def test_a_submit_during_the_request_is_counted_apart():
    both = [served("b", -2, 1), served("a", 0, 2)]
    found = check(both, [Done("b", 1, 0.05, 0.3, False)], ORDERS)
    assert verdicts(found) == ["in_order", "changed_meanwhile"]


def test_a_labelled_task_that_comes_back_is_a_defect_unless_its_label_was_deleted():
    act = Done("a", 1, 1, 1.1, False, annotation=9)
    both = [served("a", 0, 1), served("a", 4, 1)]
    assert verdicts(check(both, [act], ORDERS)) == ["in_order", "labelled"]
    flips = [Switched("v1", -2, -1)]
    deleted = [Deleted(9, 2, 2.1)]
    found = OrderCheck(both, [act], ORDERS, flips, deleted).checked()
    assert verdicts(found) == ["in_order", "in_order"]


def test_overlapping_calls_with_the_same_answer_are_doubles():
    found = check([served("a", 0, 1), served("b", 0.05, 1)], [], ORDERS)
    assert verdicts(found) == ["double", "double"]


def test_a_lock_from_before_the_flip_is_counted_apart():
    held = [served("a", 0, 1, "v1"), served("a", 5, 1, "v2")]
    assert verdicts(check(held, [], ORDERS)) == ["in_order", "locked_before_flip"]


def test_a_task_without_a_place_is_a_defect_while_the_order_has_a_free_one():
    (found,) = check([served("a", 0, 9)], [], ORDERS)
    assert (found.verdict, found.better) == ("unranked", 1)
    acts = [done("b", task - 10, task) for task in ORDERS["v1"]]
    assert verdicts(check([served("a", 0, 9)], acts, ORDERS)) == ["after_the_order"]


def test_every_verdict_has_its_meaning_in_words():
    assert set(MEANING) == set(get_args(Verdict))
