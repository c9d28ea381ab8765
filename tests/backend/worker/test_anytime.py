"""A pool that takes longer to score than a round may: what is scored, ranked and taken over."""

import itertools
import json

import numpy as np
import pytest
import torch

from backend.store import predictions
from backend.worker import anytime, score
from backend.worker.context import version_name
from taudis.data.pool_reader import load_pool
from taudis.detector.checkpoint import save_checkpoint
from taudis.selection.params import Labelled, SelectionParams
from taudis.selection.strategies import query
from tests.backend.worker.round_cases import BUDGET, POOL, open_round, order, run
from tests.taudis.detector_cases import detector

pytestmark = pytest.mark.slow

OLD = (4, 2, 7, 1, 5, 3)  # the served order; task 6 was imported since


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A second passes with every image: the time is asked for once before each."""
    monkeypatch.setattr(anytime, "monotonic", itertools.count().__next__)


@pytest.fixture
def limited(make_context):
    """Contexts whose rounds score `seconds` images of a pool with a served order."""

    bold = detector()
    with torch.no_grad():  # untrained masks are specks, which nobody is shown
        bold.model.roi_heads.mask_predictor.mask_fcn_logits.bias.add_(3)

    def make(seconds, **settings):
        settings = {"strategy": "taudis", "score_threshold": 0.01, **settings}
        context = make_context(score_seconds=seconds, **settings)
        save_checkpoint(context.model_dir("v1"), bold, card={})
        path = predictions.path_of(context.data, 7, "v1")
        with predictions.writing(path):
            pass
        places = enumerate(OLD, start=1)
        predictions.set_order(
            path, (predictions.Place(task, rank, rank / 6, "") for rank, task in places)
        )
        return context

    return make


def choose(context, round_=None, **how):
    """A round up to its order."""
    return run(context, round_ or open_round(context, **how), "scored", "selected")


def scored_pool(context, round_):
    return load_pool(context.round_dir(round_) / score.POOL_FILE)


def served(context, round_):
    """Makes the order of a round the served one, as its switch does."""
    context.store.update_project(7, serving=version_name(round_))


def regions(context, round_):
    """Task -> its regions without their ids, as the backend keeps them."""
    path = predictions.path_of(context.data, 7, version_name(round_))
    with predictions.Stored.opened(path) as stored:
        return {task: [each["value"] for each in json.loads(stored.result(task))] for task in POOL}


def places(context, round_):
    path = predictions.path_of(context.data, 7, version_name(round_))
    return predictions.order(path)


def in_memory(pool, tasks):
    """The rows of these tasks, in their order."""
    return pool.subset(np.array([pool.image_ids.tolist().index(task) for task in tasks]))


def same_bits(one, other):
    """Whether two pools of the same tasks hold the same, whatever the order of their images."""
    tasks = sorted(one.image_ids.tolist())
    assert tasks == sorted(other.image_ids.tolist())
    one, other = in_memory(one, tasks), in_memory(other, tasks)
    return all(
        np.array_equal(getattr(a, name), getattr(b, name))
        for a, b, names in (
            (one, other, ("sizes", "mask_areas", "image_embeddings")),
            (one.instances, other.instances, ("boxes", "scores", "class_probs", "embeddings")),
            (one.uncertainty, other.uncertainty, ("cm", "ce", "se")),
        )
        for name in names
    )


def expected_order(pool, tasks, strategy="taudis"):
    """The order of these tasks alone, by the strategy itself."""
    part = in_memory(pool, tasks)
    found = query(
        strategy, part, budget=BUDGET, labelled=Labelled(2.0), params=SelectionParams(), seed=0
    )
    return [int(part.image_ids[row]) for row in found]


@pytest.fixture
def whole(limited):
    """The round that scores everything, and its context: the oracle of the others."""
    context = limited(None)
    round_ = choose(context)
    context.store.end_round(context.lease, round_.id, "served", "")
    return context, round_


# --- one round ------------------------------------------------------------------------------------


def test_with_time_enough_the_whole_pool_is_scored_as_without_a_limit(whole, limited):
    context, full = whole
    round_ = choose(limited(len(POOL)))
    assert "rest" not in round_.steps["scored"] and "behind" not in round_.steps["selected"]
    assert round_.steps["scored"] == full.steps["scored"]
    assert same_bits(scored_pool(context, round_), scored_pool(context, full))
    assert order(context, round_) == order(context, full)
    assert regions(context, round_) == regions(context, full)
    assert anytime.in_words(round_) == ""


def test_when_the_time_is_up_the_head_is_ranked_and_the_rest_stays_in_order_behind(whole, limited):
    context, full = whole
    round_ = choose(limited(3))
    head, rest = list(OLD[:3]), [*OLD[3:], 6]
    assert scored_pool(context, round_).image_ids.tolist() == head
    expected = [*expected_order(scored_pool(context, full), head), *rest]
    found = places(context, round_)
    assert [each.task for each in found] == expected
    assert [each.rank for each in found] == [1, 2, 3, 4, 5, 6, 7]
    assert [each.score for each in found] == [rank / 7 for rank in range(1, 8)]
    assert all("not scored yet" in each.reason for each in found[3:])
    assert not any("not scored yet" in each.reason for each in found[:3])
    scored = round_.steps["scored"]
    assert (scored["images"], scored["rest"], scored["taken_over"]) == (3, 4, 0)
    assert round_.steps["selected"]["tasks"] == 7
    assert anytime.in_words(round_) == (
        "3 of 7 images are scored; 4 keep their old order behind these, without pre-annotations,"
        " until the next round goes on with them"
    )


def test_no_regions_of_another_model_are_under_the_new_version(whole, limited):
    context, full = whole
    round_ = choose(limited(3))
    known = regions(context, full)
    assert any(known.values())
    assert regions(context, round_) == {t: known[t] if t in OLD[:3] else [] for t in POOL}


def test_without_a_served_order_images_are_scored_by_id(limited):
    context = limited(2)
    predictions.path_of(context.data, 7, "v1").unlink()
    round_ = choose(context)
    assert scored_pool(context, round_).image_ids.tolist() == [1, 2]
    assert order(context, round_)[2:] == [3, 4, 5, 6, 7]


def test_what_cannot_be_read_is_behind_the_rest(limited):
    context = limited(3, broken=[4, 7])
    round_ = choose(context)
    assert scored_pool(context, round_).image_ids.tolist() == [2]
    assert order(context, round_) == [2, *OLD[3:], 6, 4, 7]
    assert "3 of 7 images are scored; 4 keep" in anytime.in_words(round_)


def test_random_ranks_all_images_whether_they_are_scored_or_not(limited):
    """It reads no scores. Its own head is scored first, for the pre-annotations."""
    context = limited(3, strategy="random")
    full = choose(limited(None, strategy="random"))
    context.store.end_round(context.lease, full.id, "served", "")
    round_ = choose(context)
    assert order(context, round_) == order(context, full)
    assert scored_pool(context, round_).image_ids.tolist() == order(context, full)[:3]
    assert "4 have their places by the same strategy" in anytime.in_words(round_)


@pytest.mark.slow
def test_all_labelled_images_are_looked_at_for_core_set(limited):
    context = limited(3, strategy="core_set")
    round_ = choose(context)
    assert (round_.steps["scored"]["labelled_seen"], round_.steps["scored"]["images"]) == (4, 3)
    assert order(context, round_)[3:] == [*OLD[3:], 6]


# --- the rounds that go on ------------------------------------------------------------------------


def cut(context, **how):
    """A round that the time did not suffice for, served."""
    round_ = choose(context, **how)
    assert round_.steps["scored"]["rest"]
    context.store.end_round(context.lease, round_.id, "served", "")
    served(context, round_)
    return round_


def test_the_next_round_scores_the_rest_and_takes_over_what_is_scored(whole, limited):
    context, full = whole
    context = limited(3)
    first = cut(context)
    context.images.loads.clear()
    second = cut(context)
    # Up to four images are read ahead; those that were scored before are not read at all.
    assert not {*OLD[:3]} & {*context.images.loads}
    scored = second.steps["scored"]
    assert (scored["images"], scored["rest"], scored["taken_over"]) == (6, 1, 3)
    head = [*OLD]
    assert sorted(scored_pool(context, second).image_ids.tolist()) == sorted(head)
    expected = expected_order(scored_pool(context, full), head)
    assert order(context, second) == [*expected, 6]
    assert "6 of 7 images are scored (3 of them by the same model" in anytime.in_words(second)

    third = choose(context)
    assert third.steps["scored"]["rest"] == 0
    assert order(context, third) == order(context, full)
    assert same_bits(scored_pool(context, third), scored_pool(context, full))
    assert regions(context, third) == regions(context, full)
    assert third.steps["scored"]["instances"] == full.steps["scored"]["instances"]
    assert anytime.in_words(third).startswith("all 7 images are scored (6 of them by the same")

    for earlier in (first, second):  # a version needs nothing of those before it
        predictions.path_of(context.data, 7, version_name(earlier)).unlink()
    assert regions(context, third) == regions(context, full)


def test_images_with_labels_are_not_taken_over_and_new_ones_wait_behind_the_rest(limited):
    context = limited(3)
    cut(context)
    pool = [task for task in POOL if task != 2] + [8, 9]
    second = choose(context, pool=pool)
    assert sorted(scored_pool(context, second).image_ids.tolist()) == sorted([4, 7, *OLD[3:]])
    assert order(context, second)[5:] == [6, 8, 9]


@pytest.mark.parametrize(
    "change", [{"score_threshold": 0.9}, {"embedding": "box"}, {"model": "v2"}, {"data": 4}]
)
def test_scores_that_were_made_otherwise_are_not_taken_over(limited, change):
    """Of another model, of other settings, or of a task whose image is another one now."""
    cut(limited(3))
    change = dict(change)
    model, data = change.pop("model", ""), change.pop("data", None)
    context = limited(3, **change)
    if model:
        save_checkpoint(context.model_dir(model), detector(), card={})
        context.store.update_project(7, model=model)
    round_ = open_round(context)
    if data:
        path = context.round_dir(round_) / "pool.json"
        path.write_text(path.read_text().replace(f'"/{data}"', '"/other"'))
    round_ = choose(context, round_)
    assert round_.steps["scored"]["taken_over"] == (2 if data else 0)


@pytest.mark.parametrize(("seconds", "taken"), [(4.9, False), (5.1, True)])
def test_a_pool_that_was_scored_as_a_whole_in_half_the_time_is_scored_anew(limited, seconds, taken):
    context = limited(10)
    round_ = choose(context)
    scored = {**round_.steps["scored"], "seconds": seconds}
    context.store.finish_step(context.lease, round_.id, "scored", scored)
    context.store.end_round(context.lease, round_.id, "served", "")
    context.images.loads.clear()
    again = choose(context)
    assert sorted(context.images.loads) == ([] if taken else sorted([*OLD, 6]))
    assert ("taken_over" in again.steps["scored"]) is taken
    assert order(context, again) == order(context, round_)


def test_images_that_cannot_be_read_do_not_call_for_one_round_after_the_other(limited):
    context = limited(3, broken=[4, 2, 7, 1])
    first, second = cut(context), cut(context)  # 4 2 7; 1 5 3
    third = choose(context)  # 6, then two of the four again
    assert first.steps["scored"]["unreadable"] == 3
    assert second.steps["scored"]["images"] == 2
    scored = third.steps["scored"]
    assert (scored["images"], scored["rest"], scored["unreadable"]) == (3, 0, 4)
    assert sorted(order(context, third)[3:]) == [1, 2, 4, 7]


def test_an_image_that_can_be_read_again_is_scored_after_the_rest(limited):
    cut(limited(3, broken=[2]))
    context = limited(5)
    second = choose(context)
    assert second.steps["scored"]["unreadable"] == 0
    assert scored_pool(context, second).image_ids.tolist() == [4, 7, *OLD[3:], 6, 2]


@pytest.mark.parametrize("name", ["pool.safetensors", "made_by.json", "unreadable.json"])
def test_files_that_are_gone_are_scored_anew(limited, name):
    context = limited(3)
    first = cut(context)
    (context.round_dir(first) / name).unlink()
    second = choose(context)
    assert second.steps["scored"]["taken_over"] == 0
    assert sorted(order(context, second)) == list(POOL)
