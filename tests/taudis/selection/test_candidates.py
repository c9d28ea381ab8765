"""Which instances become candidates, against plain Python and by hand."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taudis.selection.candidates import (
    acquisition,
    earlier_of_group,
    few_images_warning,
    order_instances,
    priority_order,
)
from taudis.selection.params import Labelled, SelectionParams
from taudis.selection.strategies import query

SEED_SET = Labelled(mean_instances=2.0)


def expected_candidates(images, labels, wanted, per_image, balanced):
    """Places of the candidates, in plain Python; images, labels: of instances by priority."""
    held, free = Counter(), []
    for place, image in enumerate(images):
        if per_image is None or held[image] < per_image:
            free.append(place)
        held[image] += 1
    if not balanced:
        return free[:wanted]
    queues = {label: [p for p in free if labels[p] == label] for label in set(labels)}
    chosen = []
    while len(chosen) < wanted and any(queues.values()):
        turn = sorted(queue.pop(0) for queue in queues.values() if queue)
        chosen += turn[: wanted - len(chosen)]
    return sorted(chosen)


@settings(max_examples=80)
@given(data=st.data())
def test_equals_plain_python(build, data):
    pool = build.scene_pool(data.draw(build.scenes()))
    params = SelectionParams(
        alpha=data.draw(st.sampled_from((1.5, 2.5, 6.0))),
        beta=1.2,
        candidates_per_image=data.draw(st.sampled_from((None, 1, 2, 3))),
        balanced=data.draw(st.booleans()),
    )
    budget = data.draw(st.integers(0, len(pool)))
    got = order_instances(pool, budget, SEED_SET, params)
    rows = priority_order(pool, acquisition(pool, "se"))
    images = pool.instances.image_index[rows].tolist()
    labels = pool.instances.labels[rows].tolist()
    wanted = math.ceil(params.alpha * budget)
    places = expected_candidates(
        images, labels, wanted, params.candidates_per_image, params.balanced
    )
    others = [place for place in range(len(rows)) if place not in places]
    assert got.candidates == len(places)
    assert got.rows.tolist() == rows[places + others].tolist()
    assert got.owner.tolist() == [images[place] for place in places]
    assert got.uncertainty.tolist() == pool.uncertainty.se[got.rows].tolist()
    found = len(set(images))
    enough = min(2 * budget, found) if found > budget else 0
    assert bool(got.warnings) == (len(set(got.owner.tolist())) < enough)


def test_earlier_elements_of_the_same_group():
    assert earlier_of_group(np.array([5, 5, 1, 5, 1])).tolist() == [0, 1, 0, 2, 1]
    assert earlier_of_group(np.zeros(0, np.int64)).tolist() == []


def test_the_papers_candidates_are_the_most_uncertain_instances(build):
    pool = build.mixed_pool(40, seed=2)
    for params in (SelectionParams.paper(), SelectionParams()):
        got = order_instances(pool, 6, Labelled(3.0), params)
        assert got.rows.tolist() == np.argsort(-pool.uncertainty.se).tolist()
        assert (got.candidates, got.alpha, got.beta) == (45, 7.5, 4.5)


def crowded(build):
    """A crowded image of very uncertain detections, and three others of one or two."""
    a = (1, 0, 0)
    rows = {0: [(9, n, a) for n in range(6)], 1: [(5, 0, a), (4, 1, a)], 2: [(3, 0, a)],
            3: [(2, 0, a), (1, 1, a)]}  # fmt: skip
    return build.pool(rows)


def test_at_most_so_many_candidates_an_image(build):
    pool = crowded(build)

    def owners(**changed):
        params = SelectionParams(alpha=5, beta=2, **changed)
        return order_instances(pool, 1, SEED_SET, params).owner.tolist()

    assert owners() == [0, 0, 0, 0, 0]
    assert owners(candidates_per_image=2) == [0, 0, 1, 1, 2]
    assert owners(candidates_per_image=1) == [0, 1, 2, 3]


def test_alpha_and_beta_by_the_pools_own_detections(build):
    pool = crowded(build)  # 11 detections in 4 images
    params = SelectionParams(alpha_rule="detections")
    got = order_instances(pool, 1, Labelled(40.0), params)
    assert (got.alpha, got.beta) == (2.5 * 11 / 4, 1.5 * 11 / 4)
    assert got.candidates == 7  # of alpha B = 6.875
    fewer = query(
        "taudis",
        replace(
            pool, instances=replace(pool.instances, scores=np.linspace(0, 1, 11, dtype=np.float32))
        ),
        budget=1,
        labelled=Labelled(40.0),
        params=replace(params, least_score=0.45),
        seed=0,
    )
    assert fewer.diagnostics["alpha"] == 2.5 * 6 / 4  # scores of 0.5, 0.6, ... 1


def test_shares_of_the_labels_are_even(build):
    pool = build.mixed_pool(60, seed=1)
    labels = np.where(np.arange(len(pool.instances)) % 10, 1, 2)  # nine in ten are of label 1
    pool = replace(pool, instances=replace(pool.instances, labels=labels))
    for balanced, even in ((False, False), (True, True)):
        params = SelectionParams(alpha=3, beta=2, balanced=balanced)
        order = order_instances(pool, 8, SEED_SET, params)
        of_label = np.bincount(labels[order.rows[: order.candidates]])[1:]
        assert (of_label.tolist() == [12, 12]) == even
        if even:  # each label names its most uncertain ones
            for label in (1, 2):
                own = np.flatnonzero(labels == label)
                best = own[np.argsort(-pool.uncertainty.se[own])][:12]
                assert set(best) <= set(order.rows[: order.candidates].tolist())


def test_uncertainty_times_the_probability_of_an_object(build):
    pool = build.pool({1: [(8, 0, (1, 0, 0))], 2: [(6, 0, (1, 0, 0))], 3: [(4, 0, (1, 0, 0))]})
    probs = np.array([[0.75, 0.25, 0], [0.25, 0.5, 0.25], [0, 1, 0]], np.float32)
    found = replace(pool.instances, class_probs=probs, scores=np.array([0.25, 0.5, 1], np.float32))
    pool = replace(pool, instances=found)
    assert acquisition(pool, "se").tolist() == [0.5, 0.375, 0.25]
    assert acquisition(pool, "se", "score").tolist() == [0.125, 0.1875, 0.25]
    assert acquisition(pool, "se", "foreground").tolist() == [0.125, 0.28125, 0.25]
    for weighting, order in (("none", [1, 2, 3]), ("score", [3, 2, 1]), ("foreground", [2, 3, 1])):
        params = SelectionParams(weighting=weighting, alpha=1.1, beta=1.05)
        for name in ("taudis", "taudis_cover"):
            got = query(name, pool, budget=1, labelled=SEED_SET, params=params, seed=0)
            assert pool.image_ids[got.order[:1]].tolist() == order[:1]


# --- the warning ------------------------------------------------------------------------------


def test_candidates_in_few_images_are_named_with_what_to_set(build):
    got = order_instances(crowded(build), 1, SEED_SET, SelectionParams(alpha=5, beta=2))
    assert got.warnings == (
        "The 5 candidates lie in 1 image, expected 2 or more (twice the budget of 1): the cover"
        " has hardly any images to choose from. Set candidates_per_image to 2 or alpha to 7"
        " (now 5).",
    )


def test_a_pool_that_has_no_more_images_with_detections_is_not_warned_of(build):
    pool = build.pool({1: [(2, 0, (1, 0, 0))], 2: [], 3: []})
    assert order_instances(pool, 3, SEED_SET, SelectionParams()).warnings == ()
    assert order_instances(pool, 0, SEED_SET, SelectionParams()).warnings == ()


def test_images_that_are_all_among_the_first_of_the_budget_are_not_warned_of():
    image = np.array([0, 0, 1])
    assert few_images_warning(image, np.arange(3), 2, budget=2, alpha=1.0) == ()
    assert len(few_images_warning(np.array([0, 0, 1, 2]), np.arange(4), 2, budget=2, alpha=1.0))


def test_fewer_candidates_than_images_need_a_higher_alpha():
    image = np.array([0, 0, 1, 2, 3])
    (warning,) = few_images_warning(image, np.arange(5), 2, budget=2, alpha=1.0)
    assert warning.endswith(" Set alpha to 2.5 (now 1).")


@pytest.mark.parametrize("name", ["taudis", "taudis_cover"])
@pytest.mark.parametrize("setting", ["candidates_per_image", "alpha"])
@pytest.mark.parametrize("balanced", [False, True])
def test_what_the_warning_says_to_set_ends_it(build, name, setting, balanced):
    """On pools in which the uncertain detections are crowded together."""
    warned = 0
    for seed in range(6):
        pool = build.mixed_pool(50, seed=seed)
        crowd = pool.uncertainty.se + 0.5 * (pool.instances.image_index < 8)
        pool = replace(pool, uncertainty=replace(pool.uncertainty, se=crowd))
        params = SelectionParams(balanced=balanced)
        asked = {"budget": 8, "labelled": Labelled(1.3), "seed": 0}
        found = [w for w in query(name, pool, params=params, **asked).warnings if " lie in " in w]
        if not found:
            continue
        warned += 1
        value = float(found[0].split(f"{setting} to ")[1].split()[0].rstrip("."))
        value = int(value) if setting == "candidates_per_image" else value
        got = query(name, pool, params=replace(params, **{setting: value}), **asked)
        assert not any(" lie in " in each for each in got.warnings)
        assert got.diagnostics["images_with_candidates"] >= 16
    assert warned >= 3
