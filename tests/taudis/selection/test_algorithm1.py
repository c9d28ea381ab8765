from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taudis.errors import SelectionError
from taudis.selection.algorithm1 import taudis
from taudis.selection.candidates import acquisition
from taudis.selection.cover import greedy_cover
from taudis.selection.params import Labelled, SelectionParams
from taudis.selection.similarity import similarity_rows
from tests.taudis.selection.algorithm1_oracle import algorithm_one

SEED_SET = Labelled(mean_instances=2.0)


def described(pool, rows):
    """Instances as the oracle names them."""
    found = pool.instances
    return [
        (
            round(float(pool.uncertainty.se[i]) * 16),
            int(pool.image_ids[found.image_index[i]]),
            int(found.boxes[i, 0]),
            tuple(int(x) for x in found.embeddings[i]),
        )
        for i in rows
    ]


@settings(max_examples=250)
@given(st.data())
def test_algorithm_one_equals_brute_force(build, bits_to_sets, data):
    content = data.draw(build.contents())
    budget = data.draw(st.integers(0, len(content) + 2))
    beta = data.draw(st.sampled_from((1.1, 1.5, 3.0)))
    alpha = beta + data.draw(st.sampled_from((0.1, 1.0, 4.0)))
    sigma = data.draw(st.sampled_from(build.sigmas))
    remainder = data.draw(st.sampled_from(("layers", "uncertainty", "none")))
    seed = data.draw(st.integers(0, 99))
    vote = data.draw(st.sampled_from(("count", "uncertainty")))
    pool = build.pool(content)
    params = SelectionParams(
        alpha=alpha, beta=beta, sigma=sigma, sigma_rule="flat", remainder=remainder, vote=vote
    )
    got = taudis(pool, budget=budget, labelled=SEED_SET, params=params, seed=seed)
    order, candidates, sets, chosen, gains, votes = algorithm_one(
        build, content, budget, alpha, beta, sigma, remainder, seed, vote=vote
    )
    assert described(pool, got.candidates) == candidates
    assert described(pool, got.chosen) == chosen
    assert got.gains.tolist() == gains
    assert {int(k): v for k, v in zip(pool.image_ids, got.votes, strict=True) if v} == votes
    assert pool.image_ids[got.order].tolist() == order
    pairs = len(candidates) * len(pool.instances)
    assert got.diagnostics["density"] == pytest.approx(sum(map(len, sets)) / max(1, pairs))


@pytest.mark.slow
@settings(max_examples=120)
@given(st.data())
def test_any_permutation_of_the_pool_gives_the_same_order(build, data):
    content = data.draw(build.contents())
    pool = build.pool(content)
    params = SelectionParams(
        uncertainty=data.draw(st.sampled_from(("se", "ce", "cm"))),
        centre=data.draw(st.booleans()),
        standardise=data.draw(st.booleans()),
        sigma_rule=data.draw(st.sampled_from(("adaptive", "flat"))),
        remainder=data.draw(st.sampled_from(("layers", "uncertainty", "none"))),
    )
    other = build.permute(pool, np.random.default_rng(data.draw(st.integers(0, 999))))
    one, two = (
        taudis(p, budget=3, labelled=SEED_SET, params=params, seed=5) for p in (pool, other)
    )
    assert pool.image_ids[one.order].tolist() == other.image_ids[two.order].tolist()
    assert described(pool, one.chosen) == described(other, two.chosen)
    assert one.reasons == two.reasons
    assert one.diagnostics == two.diagnostics


@pytest.mark.parametrize("how", [{}, {"centre": True}, {"standardise": True}])
def test_permutation_of_a_real_valued_pool(build, how):
    pool = build.clustered_pool(60, 7, 25, seed=3, noise=0.4)
    other = build.permute(pool, np.random.default_rng(1))
    params = SelectionParams(**how)
    one, two = (
        taudis(p, budget=8, labelled=Labelled(7.0), params=params, seed=0) for p in (pool, other)
    )
    assert pool.image_ids[one.order].tolist() == other.image_ids[two.order].tolist()
    assert one.diagnostics == two.diagnostics
    assert one.gains.tolist() == two.gains.tolist()


def test_the_line_by_line_parts_agree_with_the_whole(build):
    pool = build.clustered_pool(40, 6, 10, seed=8)
    params = SelectionParams(sigma_rule="flat")
    got = taudis(pool, budget=5, labelled=Labelled(6.0), params=params, seed=0)
    by_uncertainty = np.argsort(-pool.uncertainty.se)
    assert got.candidates.tolist() == by_uncertainty[: 5 * 15].tolist()
    embeddings = pool.instances.embeddings
    rows = similarity_rows(embeddings[got.candidates], embeddings, 0.8, own=got.candidates)
    cover = greedy_cover(rows, 45)
    assert got.chosen.tolist() == got.candidates[cover.picks].tolist()
    assert got.diagnostics["saturation_pick"] == cover.saturation_pick
    assert got.diagnostics["coverage"] == cover.covered / 240


def test_adaptive_sigma_keeps_the_cover_from_collapsing(build):
    pool = build.clustered_pool(80, 8, 60, seed=1)
    pool.instances.embeddings[:] += 4  # as after ReLU: every pair passes 0.8
    flat, adaptive = (
        taudis(
            pool,
            budget=10,
            labelled=Labelled(8.0),
            params=SelectionParams(sigma_rule=rule),
            seed=0,
        )
        for rule in ("flat", "adaptive")
    )
    assert flat.diagnostics["sigma_eff"] == 0.8
    assert flat.diagnostics["saturation_pick"] == 1
    assert adaptive.diagnostics["sigma_eff"] > 0.9
    done = adaptive.diagnostics["saturation_pick"]
    assert done is None or done >= 10
    assert adaptive.warnings == ()
    (warning,) = flat.warnings
    assert "complete after 1 picks, fewer than the budget of 10 images, at sigma 0.8000" in warning
    named = float(warning.split("At sigma of about ")[1].split()[0])
    again = taudis(
        pool,
        budget=10,
        labelled=Labelled(8.0),
        params=SelectionParams(sigma=named, sigma_rule="flat"),
        seed=0,
    )
    assert again.warnings == ()


def test_the_rule_of_the_budget_leaves_a_density_of_one_over_b(build):
    pool = build.clustered_pool(80, 8, 60, seed=1)
    pool.instances.embeddings[:] += 4
    sigmas = []
    for rule in ("adaptive", "budget"):
        params = SelectionParams(sigma_rule=rule)
        got = taudis(pool, budget=10, labelled=Labelled(8.0), params=params, seed=0)
        units = pool.instances.embeddings / np.linalg.norm(
            pool.instances.embeddings, axis=1, keepdims=True
        )
        sigmas.append(got.diagnostics["sigma_eff"])
        share = (units[got.candidates] @ units.T >= sigmas[-1]).mean()
        assert share == pytest.approx({"adaptive": 2 / 120, "budget": 1 / 10}[rule], rel=0.2)
    assert 0.8 < sigmas[1] < sigmas[0]


def test_an_image_of_one_very_uncertain_instance_before_one_of_two_sure_ones(build):
    a, b, c = (1, 0, 0), (0, 1, 0), (0, 0, 1)
    pool = build.pool({1: [(9, 0, a)], 2: [(4, 0, b), (3, 1, c)]})
    for vote, order, votes in (
        ("count", [2, 1], [1, 2]),
        ("uncertainty", [1, 2], [9 / 16, 7 / 16]),
    ):
        params = SelectionParams(alpha=4, beta=3, sigma_rule="flat", remainder="none", vote=vote)
        got = taudis(pool, budget=1, labelled=SEED_SET, params=params, seed=0)
        assert pool.image_ids[got.order].tolist() == order
        assert got.votes.tolist() == votes


def test_sigma_stays_where_it_fits(build):
    pool = build.clustered_pool(50, 6, 200, seed=2, noise=0.02)
    params = SelectionParams()
    got = taudis(pool, budget=8, labelled=Labelled(6.0), params=params, seed=0)
    assert got.diagnostics["sigma_eff"] == 0.8


def test_equal_embeddings_are_told_not_hidden(build):
    pool = build.pool({i: [(1, 0, (1, 1, 0))] * 3 for i in range(9)})
    got = taudis(pool, budget=4, labelled=SEED_SET, params=SelectionParams(), seed=0)
    assert "No higher sigma would help" in got.warnings[-1]


def test_reasons_say_why(build):
    a, b, zero = (1, 0, 0), (0, 1, 0), (0, 0, 0)
    pool = build.pool(
        {
            7: [(9, 0, a), (9, 1, b), (1, 2, a)],  # two chosen of two candidates
            3: [(8, 0, a)],  # candidate, covered by image 7
            5: [(2, 0, b), (4, 1, b)],  # detections, no candidate
            9: [],
        }
    )
    params = SelectionParams(alpha=1.5, beta=1.1, sigma_rule="flat", remainder="none")
    got = taudis(pool, budget=2, labelled=SEED_SET, params=params, seed=0)
    assert pool.image_ids[got.order].tolist() == [7, 3, 5, 9]
    assert got.reasons == (
        "2.0 votes: 2 of its 2 uncertain instances were chosen; "
        "they cover 6 pool instances that nothing before covered",
        "no votes; summed uncertainty 0.500 of its 1 uncertain instance",
        "no votes and no uncertain instance; mean uncertainty 0.188 of its 2 detections",
        "no detections; seeded random place",
    )
    assert zero not in described(pool, got.chosen)


def test_reasons_of_later_layers(build):
    pool = build.pool({i: [(4, 0, (1, 0, 0))] for i in range(4)})
    params = SelectionParams(alpha=4, beta=2, sigma_rule="flat")
    got = taudis(pool, budget=1, labelled=SEED_SET, params=params, seed=0)
    assert got.layers.tolist() == [0, 1]
    assert got.reasons[0].startswith(
        "1.0 vote: 1 of its 1 uncertain instance was chosen; it covers 4"
    )
    assert got.reasons[1] == (
        "0.5 votes: 1 of its 1 uncertain instance was chosen, after the cover was complete"
    )


@pytest.mark.parametrize("budget", [0, 1, 3, 50])
def test_odd_pools_still_get_a_total_order(build, budget):
    empty, one = build.pool({}), build.pool({4: [(3, 0, (1, 0, 0))]})
    blank = build.pool({i: [] for i in range(20)})
    for pool in (empty, one, blank):
        got = taudis(pool, budget=budget, labelled=Labelled(0.0), params=SelectionParams(), seed=1)
        assert sorted(got) == list(range(len(pool)))
        assert got.budget == min(budget, len(pool))
    assert not got.votes.any() and set(got.reasons) == {"no detections; seeded random place"}
    other = taudis(blank, budget=budget, labelled=SEED_SET, params=SelectionParams(), seed=2)
    assert list(other) != list(got)


def test_budget_zero_orders_by_mean_uncertainty(build):
    pool = build.pool({1: [(1, 0, (1, 0, 0))], 2: [(4, 0, (1, 0, 0)), (2, 0, (0, 1, 0))], 3: []})
    got = taudis(pool, budget=0, labelled=SEED_SET, params=SelectionParams(), seed=0)
    assert pool.image_ids[got.order].tolist() == [2, 1, 3]
    assert len(got.candidates) == len(got.chosen) == 0


def test_margin_is_uncertain_when_small(build):
    pool = build.pool({1: [(1, 0, (1, 0, 0))], 2: [(9, 0, (1, 0, 0))]})
    assert acquisition(pool, "cm").tolist() == [1 / 16, 9 / 16]
    params = SelectionParams(uncertainty="cm", alpha=1.5, beta=1.2)
    got = taudis(pool, budget=1, labelled=SEED_SET, params=params, seed=0)
    assert pool.image_ids[got.order].tolist() == [2, 1]


@pytest.mark.parametrize(
    ("given_", "mean", "wanted"),
    [
        ({}, 6.0, (15.0, 9.0)),
        ({}, 0.2, (2.5, 1.5)),
        ({"alpha": 20.0}, 6.0, (20.0, 9.0)),
        ({"alpha": 5.0}, 6.0, (5.0, 3.0)),
        ({"beta": 4.0}, 6.0, (15.0, 4.0)),
        ({"beta": 30.0}, 6.0, (50.0, 30.0)),
        ({"alpha": 3.0, "beta": 2.0}, 6.0, (3.0, 2.0)),
    ],
)
def test_multipliers(given_, mean, wanted):
    alpha, beta = SelectionParams(**given_).multipliers(Labelled(mean))
    assert (alpha, beta) == pytest.approx(wanted)
    assert alpha > beta > 1


def test_the_papers_presets():
    coco, overhead = SelectionParams.paper("coco"), SelectionParams.paper("overhead")
    assert (coco.alpha, coco.beta, overhead.alpha, overhead.beta) == (150, 40, 50, 30)
    plain = SelectionParams.paper()
    assert (plain.uncertainty, plain.sigma, plain.sigma_rule) == ("se", 0.8, "flat")
    assert (plain.remainder, plain.alpha, plain.centre) == ("uncertainty", None, False)
    with pytest.raises(SelectionError, match="coco, overhead"):
        SelectionParams.paper("lvis")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sigma": 0.0}, "0 < sigma < 1, got 0"),
        ({"sigma": 1.0}, "0 < sigma < 1"),
        ({"sigma": math.nan}, "0 < sigma < 1"),
        ({"alpha": 1.0}, "alpha: expected a number above 1"),
        ({"beta": math.inf}, "beta: expected a number above 1"),
        ({"alpha": 2.0, "beta": 2.0}, "alpha > beta > 1"),
        ({"uncertainty": "entropy"}, "one of se, ce, cm, got 'entropy'"),
        ({"sigma_rule": "auto"}, "one of adaptive, budget, flat"),
        ({"remainder": "random"}, "one of layers, uncertainty, none"),
    ],
)
def test_wrong_parameters_are_named(wrong, message):
    with pytest.raises(SelectionError, match=message):
        SelectionParams(**wrong)


def test_wrong_labelled_and_budget_are_named(build):
    for mean in (-1.0, math.nan):
        with pytest.raises(SelectionError, match="mean_instances"):
            Labelled(mean)
    with pytest.raises(SelectionError, match=r"\[L, D'\]"):
        Labelled(1.0, np.zeros(3))
    for budget in (-1, 2.5):
        with pytest.raises(SelectionError, match="budget"):
            taudis(
                build.pool({}), budget=budget, labelled=SEED_SET, params=SelectionParams(), seed=0
            )
