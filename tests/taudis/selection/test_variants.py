"""Strategies beyond the paper, against plain Python and by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from taudis.errors import SelectionError
from taudis.selection.foreground_random import expected_objects
from taudis.selection.params import Labelled, SelectionParams
from taudis.selection.strategies import STRATEGIES, query
from taudis.selection.variants import embeddings_of_objects
from tests.taudis.selection.algorithm1_oracle import algorithm_one
from tests.taudis.selection.taudis_cover_oracle import cover_by_images

A, B, C = (1, 0, 0), (0, 1, 0), (0, 0, 1)


def ids(pool, selection):
    return pool.image_ids[selection.order].tolist()


@st.composite
def questions(draw, build):
    """A pool's content, labelled embeddings, and the arguments that oracle and strategy share."""
    content = draw(build.contents())
    vector = st.tuples(*[st.integers(-1, 1)] * 3)
    return content, draw(st.lists(vector, max_size=3)), {
        "budget": draw(st.integers(0, len(content) + 2)),
        "alpha": draw(st.sampled_from((1.5, 3.0, 7.0))),
        "sigma": draw(st.sampled_from(build.sigmas)),
        "remainder": draw(st.sampled_from(("layers", "uncertainty", "none"))),
        "seed": draw(st.integers(0, 99)),
    }  # fmt: skip


def ask(name, pool, asked, known=(), **changed):
    params = SelectionParams(
        alpha=asked["alpha"],
        beta=1.2,
        sigma=asked["sigma"],
        sigma_rule="flat",
        remainder=asked["remainder"],
    )
    vectors = np.array(known, np.float32).reshape(-1, 3)
    return query(
        name,
        pool,
        budget=asked["budget"],
        labelled=Labelled(2.0, instance_embeddings=vectors),
        params=replace(params, **changed),
        seed=asked["seed"],
    )


# --- what is labelled is covered ------------------------------------------------------------------


@settings(max_examples=80)
@given(data=st.data())
def test_algorithm_one_on_what_no_labelled_instance_resembles(build, data):
    content, known, asked = data.draw(questions(build))
    pool = build.pool(content)
    got = ask("taudis_uncovered", pool, asked, known)
    order, _, sets, chosen, gains, votes = algorithm_one(
        build, content, asked["budget"], asked["alpha"], 1.2, asked["sigma"], asked["remainder"],
        asked["seed"], known,
    )  # fmt: skip
    assert ids(pool, got) == order
    assert pool.instances.boxes[got.chosen, 0].tolist() == [x for _, _, x, _ in chosen]
    assert got.gains.tolist() == gains
    assert {int(k): v for k, v in zip(pool.image_ids, got.votes, strict=True) if v} == votes
    warned = any("nothing is left to cover" in each for each in got.warnings)
    assert warned == (bool(sets) and not any(sets))


@settings(max_examples=60)
@given(data=st.data())
def test_cover_by_images_of_what_no_labelled_instance_resembles(build, data):
    content, known, asked = data.draw(questions(build))
    found = [(u, key, x, e) for key, rows in content.items() for u, x, e in rows]
    found.sort(key=lambda t: (-t[0], t[1], t[2], np.array(t[3], np.float32).tobytes()))
    free = [
        row
        for row, one in enumerate(found)
        if not any(build.similar(one[3], each, asked["sigma"]) for each in known)
    ]
    assume(free)
    pool = build.pool(content)
    got = ask("taudis_cover_uncovered", pool, asked, known)
    want = cover_by_images(build, content, **asked, columns=free)
    assert ids(pool, got) == want.order
    assert got.gains.tolist() == want.gains
    assert got.layers.tolist() == want.layers
    share = 1 - len(free) / len(found)
    assert got.diagnostics.get("covered_by_labelled", 0) == pytest.approx(share)


def test_by_hand_a_kind_that_is_labelled_is_not_sought_again(build):
    pool = build.pool({1: [(9, 0, A)], 2: [(8, 0, B)], 3: [(1, 0, A)], 4: [(1, 0, A)]})
    asked = {"budget": 1, "alpha": 2.0, "sigma": 0.8, "remainder": "none", "seed": 0}
    for name, plain in (("taudis_uncovered", "taudis"), ("taudis_cover_uncovered", "taudis_cover")):
        assert ids(pool, ask(plain, pool, asked))[0] == 1
        assert ids(pool, ask(name, pool, asked))[0] == 1
        got = ask(name, pool, asked, known=[A])
        assert ids(pool, got)[0] == 2
        assert got.gains.tolist() == [1]
        assert got.diagnostics["covered_by_labelled"] == 0.75
        assert got.diagnostics["coverable"] == 0.25


def test_without_labelled_instances_the_order_is_the_plain_one_and_that_is_said(build):
    pool = build.mixed_pool(20, seed=4)
    for plain in ("taudis", "taudis_cover"):
        one, two = (
            query(name, pool, budget=4, labelled=Labelled(2.0), params=SelectionParams(), seed=0)
            for name in (plain, f"{plain}_uncovered")
        )
        assert one.order.tolist() == two.order.tolist()
        assert two.warnings == (
            "No labelled instance is known: expected detections of a score of 0.5 or more in"
            " labelled images, got none. Nothing counts as covered, so the order is that of"
            f" {plain}.",
            *one.warnings,
        )


def test_labelled_instances_are_centred_as_the_pool_is(build):
    pool = build.clustered_pool(30, 4, 12, seed=3)
    pool.instances.embeddings[:] += 5
    known = pool.instances.embeddings[:5].copy()
    params = SelectionParams(centre=True, sigma_rule="flat")
    labelled = Labelled(4.0, instance_embeddings=known)
    got = query("taudis_uncovered", pool, budget=4, labelled=labelled, params=params, seed=0)
    centred = pool.instances.embeddings - pool.instances.embeddings.mean(axis=0)
    units = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    near = (units @ units[:5].T >= 0.8).any(axis=1)
    assert 0 < near.sum() < len(near)
    assert got.diagnostics["covered_by_labelled"] == near.mean()


def test_a_sample_of_the_universe_is_covered_alike(build):
    pool = build.clustered_pool(60, 6, 30, seed=2)
    known = pool.instances.embeddings[:50].copy()
    labelled = Labelled(1.0, instance_embeddings=known)
    params = SelectionParams(sigma_rule="flat", sketch="always")
    got = query("taudis_uncovered", pool, budget=20, labelled=labelled, params=params, seed=0)
    exact = query(
        "taudis_uncovered",
        pool,
        budget=20,
        labelled=labelled,
        params=replace(params, sketch="never"),
        seed=0,
    )
    assert got.diagnostics["sketch_columns"] == 100
    assert got.diagnostics["covered_by_labelled"] == pytest.approx(
        exact.diagnostics["covered_by_labelled"], abs=0.15
    )


def test_objects_of_labelled_images_are_the_sure_detections(build):
    pool = build.mixed_pool(9, seed=1)
    sure = pool.instances.scores >= 0.5
    assert 0 < sure.sum() < len(sure)
    assert np.array_equal(embeddings_of_objects(pool), pool.instances.embeddings[sure])


def test_labelled_instances_of_another_width_and_the_guarantee_are_refused(build):
    pool = build.mixed_pool(9, seed=1)
    for name in ("taudis_uncovered", "taudis_cover_uncovered"):
        other = Labelled(1.0, instance_embeddings=np.ones((2, 5), np.float32))
        with pytest.raises(SelectionError, match="expected the pool's width 8, got 5"):
            query(name, pool, budget=2, labelled=other, params=SelectionParams(), seed=0)
        with pytest.raises(SelectionError, match="sketch: expected auto, never or always"):
            params = SelectionParams(sketch="guaranteed")
            query(name, pool, budget=2, labelled=Labelled(1.0), params=params, seed=0)


# --- gain for its cost ----------------------------------------------------------------------------


def of_background(pool, share):
    """The pool with a background probability for each instance row."""
    p = np.array(share)
    probs = np.stack([p, 1 - p], axis=1).astype(np.float32)
    return replace(pool, instances=replace(pool.instances, class_probs=probs))


def test_by_hand_the_crowded_image_has_to_cover_more(build):
    pool = build.pool(
        {
            1: [(9, n, A) for n in range(3)] + [(9, 3, B), (9, 4, C)],  # 3 kinds, 5 objects
            2: [(8, 0, A), (8, 1, B)],  # 2 kinds, 1 object: one is background for sure
            3: [(1, 0, C)],
        }
    )
    pool = of_background(pool, [0] * 5 + [0, 1] + [0])
    assert expected_objects(pool).tolist() == [5, 1, 1]
    asked = {"budget": 3, "alpha": 7.0, "sigma": 0.8, "remainder": "none", "seed": 0}
    covered = ask("taudis_cover", pool, asked)
    assert ids(pool, covered)[0] == 1  # 8 instances
    got = ask("taudis_cover_cost", pool, asked, look_cost=0.25)
    # 8/5.25 = 1.5; 6/1.25 = 4.8 (four of A, two of B); 2/1.25. Then 2/5.25 or 2/1.25 for C.
    assert ids(pool, got) == [2, 3, 1]
    assert got.gains.tolist() == [4, 2, 2]
    dear = ask("taudis_cover_cost", pool, asked, look_cost=1000.0)  # all images cost the same
    assert ids(pool, dear)[0] == 1


@settings(max_examples=60)
@given(data=st.data())
def test_at_equal_costs_it_is_the_cover_by_images(build, data):
    content, _, asked = data.draw(questions(build))
    pool = build.pool(content)
    pool = of_background(pool, np.ones(len(pool.instances)))
    one, two = (ask(name, pool, asked) for name in ("taudis_cover", "taudis_cover_cost"))
    assert ids(pool, one) == ids(pool, two)
    assert one.gains.tolist() == two.gains.tolist()
    assert one.reasons == two.reasons


# --- what the table of strategies says ------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_the_table_says_who_reads_labelled_instances_and_the_count_of_labelled_images(name, build):
    pool = build.mixed_pool(40, seed=4)

    def order(labelled):
        params = SelectionParams()
        return list(query(name, pool, budget=6, labelled=labelled, params=params, seed=0))

    known = pool.instances.embeddings[:60]
    bare = order(Labelled(3.0))
    assert (order(Labelled(3.0, instance_embeddings=known)) != bare) == (
        STRATEGIES[name].labelled_instances
    )
    assert (order(Labelled(3.0, images=60)) != bare) == STRATEGIES[name].labelled_count
