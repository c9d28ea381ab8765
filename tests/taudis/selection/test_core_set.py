"""Core-set against the naive farthest-first: every distance of every step, nothing reused."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import pairwise_distances

from taudis.errors import SelectionError
from taudis.selection import core_set as module
from taudis.selection.core_set import core_set, farthest_first
from taudis.selection.params import Labelled, SelectionParams
from taudis.selection.vote import seeded_hash

vectors = st.lists(st.integers(-4, 4), min_size=3, max_size=3)


def naive(points, known, count, order):
    """(picks, squared distance of each when picked, squared distances after); exact integers."""
    centres = [tuple(c) for c in known]
    picks, reached = [], []

    def near(row):
        gaps = [sum((a - b) ** 2 for a, b in zip(points[row], c, strict=True)) for c in centres]
        return min(gaps, default=float("inf"))

    for _ in range(count):
        rest = [row for row in order if row not in picks]
        best = max(rest, key=lambda row: (near(row), -order.index(row)))
        reached.append(near(best))
        picks.append(best)
        centres.append(tuple(points[best]))
    return picks, reached, [near(row) if centres else 0 for row in range(len(points))]


@pytest.mark.slow
@settings(max_examples=300)
@given(st.data())
def test_equals_naive_farthest_first(data):
    points = data.draw(st.lists(vectors, max_size=12))
    known = data.draw(st.lists(vectors, max_size=3))
    count = data.draw(st.integers(0, len(points)))
    order = list(data.draw(st.permutations(range(len(points)))))
    dtype = data.draw(st.sampled_from((np.float16, np.float32, np.float64)))
    scale = data.draw(st.sampled_from((1.0, 2.0**-10, 2.0**10)))
    picks, reached, after = naive(points, known, count, order)
    got = farthest_first(
        (np.array(points).reshape(-1, 3) * scale).astype(dtype),
        (np.array(known).reshape(-1, 3) * scale).astype(dtype),
        count,
        order=np.array(order, np.int64),
    )
    assert got.picks.tolist() == picks
    if count and not known:
        reached[0] = reached[1] if count > 1 else max(after)
    wanted = np.array(after, float)
    wanted[picks] = reached
    assert got.distances.tolist() == (np.sqrt(wanted) * scale).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("kind", ["normal", "clusters", "far from zero"])
def test_equals_the_usual_loop_over_pairwise_distances(kind, dtype):
    rng = np.random.default_rng(5)
    points = rng.normal(size=(3000, 24))
    if kind == "clusters":
        points = rng.normal(size=(40, 24))[rng.integers(40, size=3000)] + 0.01 * points
    if kind == "far from zero":  # float32 squares alone could not tell these apart
        points += 50
    points = points.astype(dtype)
    known = points[:5]
    points = points[5:]
    wide = points.astype(np.float64)
    near = pairwise_distances(wide, known.astype(np.float64)).min(axis=1)
    picks, reached = [], []
    for _ in range(300):
        picks.append(int(near.argmax()))
        reached.append(near.max())
        near = np.minimum(near, pairwise_distances(wide, wide[picks[-1:]])[:, 0])
    got = farthest_first(points, known, 300)
    assert got.picks.tolist() == picks
    assert got.distances[picks] == pytest.approx(reached, rel=1e-6)
    rest = np.delete(np.arange(len(points)), picks)
    # To the centre that float32 finds nearest: squares at most twice its rounding above the true.
    longest = np.square(wide - wide.mean(axis=0)).sum(axis=1).max()
    excess = np.square(got.distances[rest]) - np.square(near[rest])
    assert -1e-9 * longest < excess.min()
    assert excess.max() < 4 * (24 + 32) * 2.0**-24 * longest * 1.01


@pytest.mark.parametrize("guess", ["one at a time", "wrong", "as it is"])
def test_what_is_foreseen_changes_no_pick(monkeypatch, guess):
    rng = np.random.default_rng(1)
    points = rng.normal(size=(900, 6)).astype(np.float32)
    wanted = farthest_first(points, points[:0], 120)
    asked = []

    def foresee(race, place):
        asked.append(place)
        if guess == "one at a time":
            return [place]
        return (
            [place, *[p for p in range(31) if p != place]] if guess == "wrong" else old(race, place)
        )

    old = module._Race._foresee
    monkeypatch.setattr(module._Race, "_foresee", foresee)
    got = farthest_first(points, points[:0], 120)
    assert got.picks.tolist() == wanted.picks.tolist()
    assert got.distances == pytest.approx(wanted.distances, rel=1e-6)
    assert len(asked) == 120 if guess == "one at a time" else len(asked) < 120
    if guess == "as it is":
        assert len(asked) <= 12  # 120 picks in batches of 32, not 120 products


def test_ties_of_real_numbers_go_by_the_order():
    """Copies tie exactly, although a product may round two equal rows differently."""
    rng = np.random.default_rng(2)
    points = np.repeat(rng.normal(size=(150, 37)), 4, axis=0).astype(np.float32)
    order = rng.permutation(600)
    got = farthest_first(points, points[:0], 600, order=order)
    place = np.argsort(order)
    first = {
        group: min(range(4 * group, 4 * group + 4), key=place.__getitem__) for group in range(150)
    }
    assert sorted(got.picks[:150].tolist()) == sorted(first.values())
    assert not got.distances[got.picks[150:]].any()
    rest = [row for row in order.tolist() if row not in set(first.values())]
    assert got.picks[150:].tolist() == rest


def test_huge_and_tiny_numbers_neither_overflow_nor_vanish():
    for scale in (1e30, 1e-30):
        points = (np.array([[0.0], [1], [5], [7]]) * scale).astype(np.float32)
        got = farthest_first(points, points[:1], 3)
        assert got.picks.tolist() == [3, 2, 1]
        assert got.distances == pytest.approx(np.array([0, 1, 2, 7]) * scale)


def test_embeddings_without_dimensions_all_tie():
    got = farthest_first(np.zeros((4, 0)), np.zeros((0, 0)), 2, order=np.array([2, 0, 3, 1]))
    assert got.picks.tolist() == [2, 0]
    assert got.distances.tolist() == [0, 0, 0, 0]


def test_memory_is_one_copy_and_columns():
    points = np.random.default_rng(0).normal(size=(20_000, 64)).astype(np.float32)
    farthest_first(points[:100], points[:1], 5)
    tracemalloc.start()
    farthest_first(points, points[:1], 100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < points.nbytes + 20_000 * 200 + 40_000_000


def test_copies_cost_no_step_each():
    reported = []
    points = np.repeat(np.eye(3, dtype=np.float32), 200, axis=0)
    got = farthest_first(
        points, points[:0], 500, progress=lambda what, done, of: reported.append((what, done, of))
    )
    assert got.picks[:4].tolist() == [0, 200, 400, 1]
    assert reported == [("core-set", done, 500) for done in (1, 2, 3, 500)]


def test_embeddings_in_a_file(tmp_path):
    points = np.random.default_rng(3).normal(size=(700, 9)).astype(np.float32)
    np.save(tmp_path / "points.npy", points)
    mapped = np.load(tmp_path / "points.npy", mmap_mode="r")
    wanted, got = (farthest_first(p, points[:2], 50) for p in (points, mapped))
    assert got.picks.tolist() == wanted.picks.tolist()
    assert got.distances.tolist() == wanted.distances.tolist()


def test_the_order_of_the_points_does_not_change_a_bit():
    rng = np.random.default_rng(4)
    points, order = rng.normal(size=(1500, 33)).astype(np.float32), rng.permutation(1500)
    wanted = farthest_first(points, points[:3], 90, order=order)
    moved = rng.permutation(1500)
    got = farthest_first(points[moved], points[:3], 90, order=np.argsort(moved)[order])
    assert moved[got.picks].tolist() == wanted.picks.tolist()
    assert got.distances.tolist() == wanted.distances[moved].tolist()


def line_pool(build, places):
    """Images without detections on a line; image id -> place."""
    pool = build.pool({key: [] for key in places})
    line = np.array([[place, 0] for place in places.values()], np.float32)
    return replace(pool, image_embeddings=line)


def ask(pool, budget, known=(), seed=0):
    labelled = Labelled(1.0, np.array([[place, 0] for place in known], np.float32).reshape(-1, 2))
    return core_set(pool, budget=budget, labelled=labelled, params=SelectionParams(), seed=seed)


def test_by_hand(build):
    # Labelled at 0. Distances 1, 4, 9, 10: image 40 (10) first. Then 1, 4, 1, -: image 20 (4).
    # The rest: 10 is 1 from 0, 30 is 1 from 40: a tie, by the seed.
    pool = line_pool(build, {10: 1, 20: 4, 30: 9, 40: 10})
    got = ask(pool, 2, known=[0])
    assert pool.image_ids[got.order[:2]].tolist() == [40, 20]
    assert got.utilities.tolist() == [1, 4, 1, 10]
    tie = seeded_hash(np.array([10, 30]), 0)
    assert pool.image_ids[got.order[2:]].tolist() == ([10, 30] if tie[0] < tie[1] else [30, 10])
    assert got.reasons == (
        "distance 10 to the nearest labelled or picked image",
        "distance 4 to the nearest labelled or picked image",
        "not picked; distance 1 to the nearest centre",
        "not picked; distance 1 to the nearest centre",
    )
    assert got.diagnostics == {"labelled": 1, "radius": 1.0}


def test_without_labelled_images_the_seed_gives_the_first_centre(build):
    pool = line_pool(build, {10: 1, 20: 4, 30: 9, 40: 10})
    firsts = set()
    for seed in range(12):
        got = ask(pool, 2, seed=seed)
        first = int(got.order[0])
        firsts.add(first)
        assert first == int(np.argmin(seeded_hash(pool.image_ids, seed)))
        far = [9, 6, 8, 9][first]  # to the farthest other image, which is the second pick
        assert got.utilities[got.order[:2]].tolist() == [far, far]
        assert got.reasons[0].startswith("first centre, at a seeded random place")
    assert len(firsts) > 1


def test_without_any_centre_the_order_is_seeded(build):
    pool = line_pool(build, {10: 1, 20: 4, 30: 9, 40: 10})
    got = ask(pool, 0)
    assert got.order.tolist() == np.argsort(seeded_hash(pool.image_ids, 0)).tolist()
    assert got.utilities.tolist() == [0, 0, 0, 0]
    assert set(got.reasons) == {"no labelled image to measure from; seeded random place"}
    assert got.diagnostics == {"labelled": 0, "radius": None}


def test_detections_do_not_matter(build):
    pool = build.mixed_pool(30, seed=1)
    labelled = Labelled(1.0, np.ones((2, 5), np.float32))
    asked = {"budget": 9, "labelled": labelled, "params": SelectionParams(), "seed": 3}
    certain = replace(pool, mask_areas=np.zeros_like(pool.mask_areas))
    assert list(core_set(pool, **asked)) == list(core_set(certain, **asked))


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (np.zeros((2, 3), np.float32), "expected the pool's width 2, got 3"),
        (np.array([[0, np.nan]], np.float32), "expected finite numbers, got NaN"),
    ],
)
def test_labelled_embeddings_that_do_not_fit_are_refused(build, known, message):
    with pytest.raises(SelectionError, match=message):
        core_set(
            line_pool(build, {1: 1}),
            budget=1,
            labelled=Labelled(1.0, known),
            params=SelectionParams(),
            seed=0,
        )
