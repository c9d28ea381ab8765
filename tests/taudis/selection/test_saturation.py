"""The facts of a cover that is complete too soon, on pools like those of real detectors.

After ReLU no embedding has a negative number, and all are alike: nearly every pair passes 0.8.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from taudis.selection.params import Labelled, SelectionParams
from taudis.selection.strategies import query
from taudis.types import Pool, Uncertainty

IMAGES, PER_IMAGE, WIDTH, BUDGET = 70, 6, 24, 8
SEED_SET = Labelled(float(PER_IMAGE))
FLAT = SelectionParams(sigma_rule="flat")
COVERS = ("taudis", "taudis_cover", "taudis_img")
covering = pytest.mark.parametrize("name", COVERS)


def ask(name, pool, params, *, budget=BUDGET, seed=0):
    return query(name, pool, budget=budget, labelled=SEED_SET, params=params, seed=seed)


@pytest.fixture(scope="module", params=["spread", "clusters"])
def relu_pool(build, request) -> Pool:
    """Absolute normals and an offset, with and without clusters; cosines from 0.85 to 1."""
    rng = np.random.default_rng(8)
    noise = {"spread": 1.0, "clusters": 0.15}[request.param]
    pool = build.clustered_pool(IMAGES, PER_IMAGE, 45, seed=5, noise=noise, width=WIDTH)
    vectors = np.abs(pool.instances.embeddings)
    if request.param == "spread":
        vectors = np.abs(rng.normal(size=vectors.shape)).astype(np.float32)
    vectors += 2
    means = vectors.reshape(IMAGES, PER_IMAGE, WIDTH).mean(axis=1)
    found = replace(pool.instances, embeddings=vectors)
    return replace(pool, instances=found, image_embeddings=means)


def cosines(pool: Pool, rows, *, centre: bool = False):
    """[C, N] in float64."""
    vectors = pool.instances.embeddings.astype(np.float64)
    if centre:
        vectors -= vectors.mean(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors[rows] @ vectors.T


def away_from(sigma: float, values) -> float:
    """The middle of the widest gap between neighbouring cosines around sigma."""
    near = np.unique(values.round(9))
    at = np.searchsorted(near, sigma)
    near = near[max(0, at - 50) : at + 50]
    widest = np.argmax(np.diff(near))
    assert near[widest + 1] - near[widest] > 4e-6, "an edge would hang on float32 rounding"
    return float(near[widest] + near[widest + 1]) / 2


def named_sigma(warnings: tuple[str, ...]) -> float:
    """The sigma of the one warning."""
    (warning,) = warnings
    found = re.search(r"At sigma of about (0\.\d+) it would not be\.", warning)
    assert found, warning
    return float(found[1])


def curve(selection):
    """Instances covered after each pick of the first layer."""
    return np.cumsum(selection.gains[selection.layers == 0]).tolist()


def brute_force_curve(edges, k):
    """The same by greedy on sets, and what all rows reach; edges: [C, N] bool."""
    sets = [set(np.flatnonzero(row).tolist()) for row in edges]
    covered, counts = set(), []
    reach = set().union(*sets)
    while len(counts) < k and covered != reach:
        covered |= max(sets, key=lambda one: len(one - covered))
        counts.append(len(covered))
    return counts, len(reach)


@covering
def test_one_pick_covers_a_pool_after_relu_and_it_is_told(name, relu_pool):
    got = ask(name, relu_pool, FLAT)
    facts = got.diagnostics
    assert (facts["density"], facts["coverage"], facts["coverable"]) == (1.0, 1.0, 1.0)
    assert facts["saturation_pick"] == 1
    (warning,) = got.warnings
    assert "complete after 1 picks, fewer than the budget of 8 images, at sigma 0.8000" in warning


@covering
@pytest.mark.parametrize("budget", [4, 8, 16])
def test_at_the_sigma_that_the_warning_names_it_is_not(name, relu_pool, budget):
    sigma = named_sigma(ask(name, relu_pool, FLAT, budget=budget).warnings)
    again = ask(name, relu_pool, replace(FLAT, sigma=sigma), budget=budget)
    done = again.diagnostics["saturation_pick"]
    assert done is None or done >= budget
    assert again.warnings == ()
    assert 0.8 < sigma < 1 and 0 < again.diagnostics["density"] < 0.5


def covering_images(pool, selection):
    """How many images hold a chosen instance of the first layer."""
    first = selection.chosen[selection.layers == 0]
    return len(np.unique(pool.instances.image_index[first]))


@pytest.mark.parametrize("name", ["taudis", "taudis_cover"])
def test_centring_rescues_it(name, relu_pool):
    flat, centred = (ask(name, relu_pool, replace(FLAT, centre=on)) for on in (False, True))
    assert flat.diagnostics["saturation_pick"] == 1
    assert covering_images(relu_pool, flat) == 1
    assert centred.diagnostics["sigma_eff"] == 0.8
    assert centred.diagnostics["saturation_pick"] is None or name == "taudis"
    assert centred.warnings == ()
    assert covering_images(relu_pool, centred) >= BUDGET


def test_centred_figures_agree_with_float64(relu_pool):
    first = ask("taudis", relu_pool, replace(FLAT, centre=True))
    values = cosines(relu_pool, first.candidates, centre=True)
    sigma = away_from(0.5, values)
    got = ask("taudis", relu_pool, replace(FLAT, centre=True, sigma=sigma))
    counts, reach = brute_force_curve(values >= sigma, int(got.diagnostics["chosen"]))
    assert curve(got) == counts
    assert got.diagnostics["density"] == pytest.approx((values >= sigma).mean())
    assert got.diagnostics["coverable"] == reach / len(relu_pool.instances)


@pytest.mark.parametrize("budget", [2, 8, 20])
def test_the_adaptive_sigma_keeps_the_cover_from_collapsing(relu_pool, budget):
    got = ask("taudis", relu_pool, SelectionParams(), budget=budget)
    k = min(len(got.candidates), int(np.ceil(1.5 * PER_IMAGE * budget)))
    assert got.diagnostics["sigma_eff"] > 0.8
    assert got.diagnostics["density"] == pytest.approx(2 / k, rel=0.5)
    assert len(curve(got)) >= min(budget, BUDGET)
    assert got.warnings == ()


@pytest.mark.parametrize("name", ["taudis_cover", "taudis_img"])
def test_the_adaptive_sigma_of_image_covers(name, relu_pool):
    got = ask(name, relu_pool, SelectionParams())
    assert got.diagnostics["sigma_eff"] > 0.8
    done = got.diagnostics["saturation_pick"]
    assert done is None or done >= BUDGET
    assert got.warnings == ()


def test_an_image_reaches_further_than_one_of_its_instances(relu_pool):
    """So `taudis_cover` takes its sigma from images: each covers about 1/B of the pool."""
    got = ask("taudis_cover", relu_pool, SelectionParams())
    sigma = got.diagnostics["sigma_eff"]
    edges = cosines(relu_pool, got.candidates) >= sigma
    image = relu_pool.instances.image_index
    rows = [edges[image[got.candidates] == i].any(axis=0) for i in set(image[got.candidates])]
    own = np.array([(image[got.candidates] == i).sum() for i in set(image[got.candidates])])
    shares = (np.sum(rows, axis=1) - own) / len(image)
    assert np.mean(shares) == pytest.approx(1 / BUDGET, rel=0.1)
    assert got.diagnostics["density"] < 0.7 / BUDGET


@pytest.mark.parametrize("wanted", [0.86, 0.9, 0.95])
def test_the_figures_agree_with_brute_force(relu_pool, wanted):
    """Density, curve, coverage, what can be covered, and the pick that completes it."""
    candidates = ask("taudis", relu_pool, FLAT).candidates
    values = cosines(relu_pool, candidates)
    sigma = away_from(wanted, values)
    got = ask("taudis", relu_pool, replace(FLAT, sigma=sigma))
    facts, total = got.diagnostics, len(relu_pool.instances)
    counts, reach = brute_force_curve(values >= sigma, int(facts["chosen"]))
    assert got.candidates.tolist() == candidates.tolist()
    assert facts["density"] == pytest.approx((values >= sigma).mean())
    assert curve(got) == counts
    assert facts["coverage"] == counts[-1] / total
    assert facts["coverable"] == reach / total
    assert facts["saturation_pick"] == (len(counts) if counts[-1] == reach else None)
    early = counts[-1] == reach and len(counts) < BUDGET
    assert bool(got.warnings) == early


@covering
def test_the_papers_preset_keeps_its_sigma_flat(name, relu_pool):
    got = ask(name, relu_pool, SelectionParams.paper())
    assert got.diagnostics["sigma_eff"] == got.diagnostics["sigma"] == 0.8
    assert got.diagnostics["saturation_pick"] == 1
    assert got.diagnostics["remainder"] == "uncertainty"
    assert len(got.warnings) == 1


def test_what_the_remainder_does_with_a_complete_cover(relu_pool):
    """After one pick covers all, the paper's preset is a vote of the most uncertain instances."""
    rules = {rule: ask("taudis", relu_pool, replace(FLAT, remainder=rule)) for rule in
             ("layers", "uncertainty", "none")}  # fmt: skip
    k = int(np.ceil(1.5 * PER_IMAGE * BUDGET))
    unsure = rules["uncertainty"]
    by_uncertainty = np.argsort(-relu_pool.uncertainty.se, kind="stable")
    assert unsure.chosen.tolist() == by_uncertainty[:k].tolist()
    votes = np.bincount(relu_pool.instances.image_index[by_uncertainty[:k]], minlength=IMAGES)
    assert unsure.votes.tolist() == votes.tolist()
    assert len(rules["none"].chosen) == 1
    layers = rules["layers"]  # each layer is one pick, so half the vote of the one before
    assert layers.layers.tolist() == list(range(31))
    assert layers.chosen.tolist() == by_uncertainty[:31].tolist()


def test_a_threshold_that_fits_is_left_alone_and_not_warned_of(build):
    """Clusters that 0.8 tells apart: raising it would only hurt."""
    pool = build.clustered_pool(IMAGES, PER_IMAGE, 150, seed=5, noise=0.05, width=WIDTH)
    for name in ("taudis", "taudis_cover"):
        for params in (FLAT, SelectionParams()):
            got = ask(name, pool, params)
            assert got.diagnostics["sigma_eff"] == 0.8
            assert got.warnings == ()


def test_the_warning_of_a_cover_by_images_counts_images(build):
    """Fewer images than the budget hold a candidate: that is told, not a complete cover."""
    pool = build.clustered_pool(3, 4, 3, seed=1)
    unsure = np.full(12, 0.1)
    unsure[:4] = 0.6  # the candidates of B = 1 lie in image 0
    pool = replace(pool, uncertainty=Uncertainty(1 - unsure, unsure, unsure))
    params = SelectionParams(alpha=2.0, beta=1.5, sigma_rule="flat")
    got = ask("taudis_cover", pool, params, budget=2)
    assert got.diagnostics["picked"] == got.diagnostics["saturation_pick"] == 1
    assert got.warnings == (
        "The 4 candidates lie in 1 image, expected 3 or more (all that have detections): the cover"
        " has hardly any images to choose from. Set candidates_per_image to 1 or alpha to 4.5"
        " (now 2).",
    )
