"""Algorithm 2 by a hand-computed example, against brute force, and beyond what the paper says."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taudis.selection.params import Labelled, SelectionParams
from taudis.selection.taudis_img import taudis_img
from taudis.selection.vote import seeded_hash

FLAT = SelectionParams(sigma=0.9, sigma_rule="flat", remainder="none")
ZERO = (0, 0, 0)


def ask(pool, *, budget, params=FLAT, seed=0):
    return taudis_img(pool, budget=budget, labelled=Labelled(2.0), params=params, seed=seed)


def scene(embedding, unsure):
    """An image of 8 x 8 px; each detection fills half of it, so WSE is half the sum of its SE."""
    return (embedding, (8, 8), [(se, 0, 0, 1, 32, 0, ZERO) for se in unsure])


@pytest.fixture
def seven(build):
    """Seven images; embeddings point right, up or to the upper left; WSE in 1/32.

    image      1      2      3      4      5      6      7
    points     right  right  right  up     up     left   right
    WSE x 32   16+8   20     12     9      2      1      nothing detected
    """
    right, up, left = (1, 0), (0, 2), (-1, 1)
    return build.scene_pool(
        {
            1: scene(right, [16, 8]),
            2: scene((2, 0), [20]),
            3: scene(right, [12]),
            4: scene(up, [9]),
            5: scene(up, [2]),
            6: scene(left, [1]),
            7: scene(right, []),
        }
    )


def test_algorithm_two_by_hand(seven):
    # B = 2, alpha_img = 2: the candidates are images 1, 2, 3, 4, by WSE 24, 20, 12, 9 of 32.
    # sigma 0.9: images 1, 2, 3 each cover {1, 2, 3, 7}, image 4 covers {4, 5} (up and left have a
    # cosine of 0.707). Greedy: 1 with 4 (before 2 and 3 by its WSE), then 4 with 2; 6 of 7 covered.
    # The order goes on with the candidates 2, 3, the other images 5, 6, and 7 without detections.
    got = ask(seven, budget=2, params=replace(FLAT, alpha_img=2.0))
    assert seven.image_ids[got.order].tolist() == [1, 4, 2, 3, 5, 6, 7]
    assert got.utilities.tolist() == [7, 5, 4, 6, 3, 2, 1]
    reported = "weighted segmentation entropy"
    assert got.reasons == (
        f"covers 4 images that no pick before covered; {reported} 0.750 of its 2 detections",
        f"covers 2 images that no pick before covered; {reported} 0.281 of its 1 detection",
        f"not picked; {reported} 0.625 of its 1 detection",
        f"not picked; {reported} 0.375 of its 1 detection",
        f"not picked; {reported} 0.062 of its 1 detection",
        f"not picked; {reported} 0.031 of its 1 detection",
        "no detections; seeded random place",
    )
    assert got.diagnostics == {
        "sigma": 0.9,
        "sigma_eff": 0.9,
        "sketch_columns": None,
        "density": 14 / 28,  # 4 + 4 + 4 + 2 edges of 4 x 7 pairs
        "alpha_img": 2.0,
        "remainder": "none",
        "candidates": 4,
        "picked": 2,
        "coverage": 6 / 7,
        "coverable": 6 / 7,
        "saturation_pick": 2,
    }
    assert got.warnings == ()


@pytest.mark.parametrize(
    ("remainder", "order"),
    [
        ("none", [1, 4, 2, 3, 5, 6, 7]),
        # After 1 and 4 nothing is left to gain: a new cover takes 2 (with {1, 2, 3, 7}).
        ("layers", [1, 4, 2, 3, 5, 6, 7]),
        ("uncertainty", [1, 4, 2, 3, 5, 6, 7]),
    ],
)
def test_what_follows_a_complete_cover(seven, remainder, order):
    got = ask(seven, budget=3, params=replace(FLAT, alpha_img=1.4, remainder=remainder))
    assert got.diagnostics["candidates"] == 5
    assert seven.image_ids[got.order].tolist() == order
    third = "not picked" if remainder == "none" else "picked after the cover was complete"
    assert got.reasons[2].startswith(third)
    assert got.diagnostics["picked"] == (2 if remainder == "none" else 3)
    assert "complete after 2 picks, fewer than the budget of 3 images" in got.warnings[0]


def test_images_without_detections_are_covered_but_no_candidates(seven):
    got = ask(seven, budget=7)
    assert got.diagnostics["candidates"] == 6
    assert got.diagnostics["coverage"] == 1  # 7 looks like 1
    assert seven.image_ids[got.order[-1]] == 7


def algorithm_two(build, scenes, budget, params, seed):
    """Image ids in order, candidates, gains and layers, in exact arithmetic."""

    def entropy(key):
        _, (height, width), rows = scenes[key]
        return sum((Fraction(row[4] * row[0], height * width) for row in rows), Fraction())

    def tie(key):
        return int(seeded_hash(np.array([key]), seed)[0])

    found = sorted(
        (key for key in scenes if scenes[key][2]), key=lambda key: (-entropy(key), tie(key))
    )
    empty = sorted((key for key in scenes if not scenes[key][2]), key=tie)
    candidates = found[: math.ceil(round(params.alpha_img * min(budget, len(scenes)), 9))]
    sets = [
        {
            other
            for other in scenes
            if other == key or build.similar(scenes[key][0], scenes[other][0], params.sigma)
        }
        for key in candidates
    ]
    picks, gains, layers = build.greedy_by_sets(sets, budget, params.remainder)
    head = [candidates[pick] for pick in picks]
    return head + [key for key in found + empty if key not in head], candidates, gains, layers


@pytest.mark.slow
@settings(max_examples=200)
@given(data=st.data())
def test_algorithm_two_equals_brute_force(build, data):
    scenes, seed = data.draw(build.scenes()), data.draw(st.integers(0, 9))
    params = SelectionParams(
        # Cosines of {-2..2}^2 are 0, .316, .447, .6, .707, .8, .949, 1.
        sigma=data.draw(st.sampled_from((0.2, 0.5, 0.65, 0.75, 0.9))),
        sigma_rule="flat",
        remainder=data.draw(st.sampled_from(("layers", "uncertainty", "none"))),
        alpha_img=data.draw(st.sampled_from((1.0, 1.5, 3.0))),
    )
    budget = data.draw(st.integers(0, len(scenes) + 1))
    pool = build.scene_pool(scenes)
    got = ask(pool, budget=budget, params=params, seed=seed)
    order, candidates, gains, layers = algorithm_two(build, scenes, budget, params, seed)
    assert pool.image_ids[got.order].tolist() == order
    assert got.diagnostics["candidates"] == len(candidates)
    assert got.diagnostics["picked"] == len(gains)
    covered = sum(gain for gain, layer in zip(gains, layers, strict=True) if layer == 0)
    assert got.diagnostics["coverage"] == pytest.approx(covered / max(1, len(scenes)))
    reported = [int(r.split()[1]) for r in got.reasons if r.startswith("covers")]
    assert reported == [gain for gain, layer in zip(gains, layers, strict=True) if layer == 0]


def test_adaptive_sigma_keeps_the_cover_from_collapsing(build):
    pool = build.mixed_pool(120, seed=2)
    pool = replace(pool, image_embeddings=pool.image_embeddings + 5)  # every pair passes 0.8
    flat, adaptive = (
        ask(pool, budget=10, params=SelectionParams(sigma_rule=rule))
        for rule in ("flat", "adaptive")
    )
    assert flat.diagnostics["sigma_eff"] == 0.8
    assert flat.diagnostics["saturation_pick"] == 1
    assert "complete after 1 picks, fewer than the budget of 10 images" in flat.warnings[0]
    assert adaptive.diagnostics["sigma_eff"] > 0.9
    assert adaptive.diagnostics["density"] == pytest.approx(2 / 10, abs=0.08)
    assert adaptive.warnings == ()


def test_centring_applies_to_the_image_embeddings(build):
    pool = build.mixed_pool(60, seed=2)
    pool = replace(pool, image_embeddings=pool.image_embeddings + 5)
    densities = [
        ask(pool, budget=5, params=SelectionParams(sigma_rule="flat", **how)).diagnostics["density"]
        for how in ({}, {"centre": True}, {"standardise": True})
    ]
    assert densities[0] == 1
    assert max(densities[1:]) < 0.5


def test_picks_are_more_diverse_than_the_most_uncertain(build):
    """Ten directions, 36 degrees apart; the most uncertain images all point the same way."""
    angles = np.repeat(np.arange(10), 12) * 2 * np.pi / 10
    pool = build.scene_pool({i: scene((1, 0), [16 - i // 12]) for i in range(120)})
    turned = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    pool = replace(pool, image_embeddings=turned)
    got = ask(pool, budget=10, params=replace(FLAT, alpha_img=12.0))
    assert sorted(row // 12 for row in got.order[:10].tolist()) == list(range(10))
    assert got.diagnostics["coverage"] == 1
