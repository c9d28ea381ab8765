"""Appendix D by hand-computed examples and by oracles in exact arithmetic."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taudis.selection.image_order import sum_by_group
from taudis.selection.params import Labelled, SelectionParams
from taudis.selection.seeding import seeded_hash
from taudis.selection.strategies import query

LOG2 = float(np.log(2))
# The smallest seed under which image 3 comes before image 1.
TIE_SEED = next(s for s in range(99) if seeded_hash(np.array([1, 3]), s).argmin() == 1)
BY_FIGURE = ("margin", "average_ce", "average_se", "wce", "wse")


def ask(name, pool, *, budget=2, seed=0):
    return query(
        name, pool, budget=budget, labelled=Labelled(2.0), params=SelectionParams(), seed=seed
    )


def ids(pool, got):
    return pool.image_ids[got.order].tolist()


def utilities(pool, got):
    return dict(zip(pool.image_ids.tolist(), got.utilities.tolist(), strict=True))


@pytest.fixture
def four(build):
    """Four images of 100 px (10 x 10) and 400 px; a detection is SE, CE, CM in 1/16, label, area.

    image    size  SE     CE     CM     label  area   s_n
    1        100   8/16   4/16   2/16   1      50     1/2
                   4/16   8/16   6/16   2      25     1/4
    2        400   12/16  2/16   10/16  2      100    1/4
    3        100   10/16  6/16   3/16   1      40     2/5
    4        100   nothing detected
    """
    box, zero = 0, (0, 0, 0)
    return build.scene_pool(
        {
            1: ((0, 0), (10, 10), [(8, 4, 2, 1, 50, box, zero), (4, 8, 6, 2, 25, box, zero)]),
            2: ((0, 0), (20, 20), [(12, 2, 10, 2, 100, box, zero)]),
            3: ((0, 0), (10, 10), [(10, 6, 3, 1, 40, box, zero)]),
            4: ((0, 0), (10, 10), []),
        }
    )


@pytest.mark.parametrize(
    ("name", "figures", "order"),
    [
        # lowest mean CM first: (2 + 6) / 2 / 16 = 4/16; 10/16; 3/16
        ("margin", {1: -4 / 16, 2: -10 / 16, 3: -3 / 16, 4: -1}, [3, 1, 2, 4]),
        # (4 + 8) / 2 / 16 = 6/16; 2/16; 6/16: images 1 and 3 tie, and 3 has the smaller hash
        ("average_ce", {1: 6 / 16, 2: 2 / 16, 3: 6 / 16, 4: 0}, [3, 1, 2, 4]),
        # (8 + 4) / 2 / 16 = 6/16; 12/16; 10/16
        ("average_se", {1: 6 / 16, 2: 12 / 16, 3: 10 / 16, 4: 0}, [2, 3, 1, 4]),
        # Eq. 4: 1/2 x 4/16 + 1/4 x 8/16 = 4/16; 1/4 x 2/16 = 1/32; 2/5 x 6/16 = 0.15
        ("wce", {1: 0.25, 2: 0.03125, 3: 0.15, 4: 0}, [1, 3, 2, 4]),
        # Eq. 5: 1/2 x 8/16 + 1/4 x 4/16 = 5/16; 1/4 x 12/16 = 3/16; 2/5 x 10/16 = 4/16
        ("wse", {1: 0.3125, 2: 0.1875, 3: 0.25, 4: 0}, [1, 3, 2, 4]),
    ],
)
def test_figures_by_hand(four, name, figures, order):
    got = ask(name, four, seed=TIE_SEED)
    assert utilities(four, got) == pytest.approx(figures)
    assert ids(four, got) == order


def test_reasons_by_hand(four):
    assert ask("wse", four).reasons == (
        "weighted segmentation entropy 0.312 of its 2 detections",
        "weighted segmentation entropy 0.250 of its 1 detection",
        "weighted segmentation entropy 0.188 of its 1 detection",
        "no detections; seeded random place",
    )
    heads = {name: ask(name, four, seed=TIE_SEED).reasons[0] for name in BY_FIGURE}
    assert heads == {
        "margin": "mean classification margin 0.188 of its 1 detection",
        "average_ce": "mean classification entropy 0.375 of its 1 detection",
        "average_se": "mean segmentation entropy 0.750 of its 1 detection",
        "wce": "weighted classification entropy 0.250 of its 2 detections",
        "wse": "weighted segmentation entropy 0.312 of its 2 detections",
    }


def test_round_robin_by_hand(four):
    # WSE(c_1): image 1 1/2 x 8/16 = 4/16, image 3 2/5 x 10/16 = 4/16 (a tie: 3 by the seed).
    # WSE(c_2): image 1 1/4 x 4/16 = 1/16, image 2 1/4 x 12/16 = 3/16. Nothing of label 3.
    # Turns: label 1 takes 3, label 2 takes 2, (label 3 passed over), label 1 takes 1.
    got = ask("round_robin", four, budget=3, seed=TIE_SEED)
    assert ids(four, got) == [3, 2, 1, 4]
    assert utilities(four, got) == {3: 4, 2: 3, 1: 2, 4: 1}
    assert got.diagnostics == {"turns": 3, "labels": 2}
    told = "weighted segmentation entropy"
    assert got.reasons == (
        f"turn of label 1: {told} 0.250 of its 1 detection of that label",
        f"turn of label 2: {told} 0.188 of its 1 detection of that label",
        f"turn of label 1: {told} 0.250 of its 1 detection of that label",
        "no detections; seeded random place",
    )
    # With one turn the rest goes by WSE: 5/16 of image 1, 3/16 of image 2.
    one = ask("round_robin", four, budget=1, seed=TIE_SEED)
    assert ids(four, one) == [3, 1, 2, 4]
    assert one.reasons[1] == f"{told} 0.312 of its 2 detections, after the labels' turns"


def test_round_robin_leaves_a_label_whose_images_are_taken(build):
    zero = (0, 0, 0)
    pool = build.scene_pool(
        {
            # Labels 1, 2 and 3; label 1 takes it first, label 2 knows nothing else.
            5: ((0, 0), (8, 8), [(9, 0, 0, k, 16, 0, zero) for k in (1, 2, 3)]),
            6: ((0, 0), (8, 8), [(1, 0, 0, 3, 16, 0, zero)]),
            7: ((0, 0), (8, 8), [(8, 0, 0, 1, 16, 0, zero)]),
            8: ((0, 0), (8, 8), [(7, 0, 0, 1, 16, 0, zero)]),
        }
    )
    got = ask("round_robin", pool, budget=4)
    # 1 takes 5; 2 has nothing; 3 takes 6; 1 takes 7; 3 has nothing; 1 takes 8.
    assert ids(pool, got) == [5, 6, 7, 8]
    assert [reason.split(":")[0][-1] for reason in got.reasons] == ["1", "3", "1", "1"]


def figures(scenes, name):
    """The figure of each image in exact arithmetic, larger is earlier; None without detections."""
    column = {"average_se": 0, "wse": 0, "average_ce": 1, "wce": 1, "margin": 2}[name]
    found = {}
    for key, (_, (height, width), rows) in scenes.items():
        values = [Fraction(row[column], 16) for row in rows]
        if name in ("wse", "wce"):
            shares = [Fraction(row[4], height * width) for row in rows]
            total = sum(s * v for s, v in zip(shares, values, strict=True))
        else:
            total = sum(values, Fraction()) / max(1, len(rows))
        found[key] = (-total if name == "margin" else total) if rows else None
    return found


def place(key, figure, seed):
    """Sort key of an image by its figure."""
    tie = int(seeded_hash(np.array([key]), seed)[0])
    return (1, 0, tie) if figure is None else (0, -figure, tie)


@pytest.mark.parametrize("name", BY_FIGURE)
@settings(max_examples=100)
@given(data=st.data())
def test_figures_equal_exact_arithmetic(build, name, data):
    scenes, seed = data.draw(build.scenes()), data.draw(st.integers(0, 9))
    pool = build.scene_pool(scenes)
    got = ask(name, pool, seed=seed)
    found = figures(scenes, name)
    assert ids(pool, got) == sorted(scenes, key=lambda key: place(key, found[key], seed))
    empty = -1 if name == "margin" else 0
    wanted = {key: float(empty if f is None else f) for key, f in found.items()}
    assert utilities(pool, got) == pytest.approx(wanted)


def take_turns(scenes, budget, seed):
    """Round-robin in plain Python: (image, label) of each turn."""
    taken = []
    entropy = defaultdict(Fraction)
    for key, (_, (height, width), rows) in scenes.items():
        for se, _, _, label, area, *_ in rows:
            entropy[label, key] += Fraction(area, height * width) * Fraction(se, 16)
    while len(taken) < budget:
        before = len(taken)
        for label in (1, 2, 3):
            done = {key for key, _ in taken}
            mine = [key for own, key in entropy if own == label and key not in done]
            if mine and len(taken) < budget:
                best = min(mine, key=lambda key: place(key, entropy[label, key], seed))
                taken.append((best, label))
        if len(taken) == before:
            break
    return taken


@settings(max_examples=200)
@given(data=st.data())
def test_round_robin_equals_turns_in_plain_python(build, data):
    scenes, seed = data.draw(build.scenes()), data.draw(st.integers(0, 9))
    budget = data.draw(st.integers(0, len(scenes)))
    pool = build.scene_pool(scenes)
    got = ask("round_robin", pool, budget=budget, seed=seed)
    turns = take_turns(scenes, budget, seed)
    head = [key for key, _ in turns]
    wse = figures(scenes, "wse")
    tail = sorted(set(scenes) - set(head), key=lambda key: place(key, wse[key], seed))
    assert ids(pool, got) == head + tail
    told = [int(r.split(":")[0].split()[-1]) for r in got.reasons if r.startswith("turn")]
    assert told == [label for _, label in turns]


def test_sums_do_not_depend_on_the_order_of_their_terms():
    rng = np.random.default_rng(0)
    group, values = rng.integers(0, 5, 400), rng.normal(size=400) * 10.0 ** rng.integers(-8, 8, 400)
    wanted = sum_by_group(group, values, 6)
    assert wanted == pytest.approx([values[group == g].sum() for g in range(6)], rel=1e-9)
    naive = set()
    for _ in range(20):
        order = rng.permutation(400)
        assert sum_by_group(group[order], values[order], 6).tolist() == wanted.tolist()
        naive.add(tuple(np.bincount(group[order], weights=values[order])))
    assert len(naive) > 1  # the plain sum does depend on it


def test_equal_detections_in_another_order_tie(build):
    """0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1 in floating point; both images have the same WSE."""
    rows = [(0, 0, 0, 1, 64, 0, (0, 0, 0))] * 3
    pool = build.scene_pool({1: ((0, 0), (8, 8), rows), 2: ((0, 0), (8, 8), rows)})
    se = np.array([0.1, 0.2, 0.3, 0.3, 0.2, 0.1])
    assert se[:3].cumsum()[-1] != se[3:].cumsum()[-1]
    pool = replace(pool, uncertainty=replace(pool.uncertainty, se=se))
    for name in ("wse", "average_se"):
        first, second = ask(name, pool).utilities
        assert first == second


def test_float16_uncertainties_are_summed_in_double(build):
    rows = [(0, 0, 0, 1, 64, 0, (0, 0, 0))] * 5000
    pool = build.scene_pool({1: ((0, 0), (8, 8), rows)})
    se = np.full(5000, LOG2, np.float16)
    pool = replace(pool, uncertainty=replace(pool.uncertainty, se=se))
    assert ask("wse", pool).utilities[0] == pytest.approx(5000 * float(se[0]))
    assert ask("average_se", pool).utilities[0] == pytest.approx(float(se[0]))


def test_averages_and_weighted_sums_are_told_apart(build):
    """Twenty unsure objects against one: the average does not see them, the weighted sum does."""
    one = [(8, 8, 8, 1, 4, 0, (0, 0, 0))]
    pool = build.scene_pool({1: ((0, 0), (16, 16), one), 2: ((0, 0), (16, 16), one * 20)})
    for name in ("average_se", "average_ce", "margin"):
        assert len(set(ask(name, pool).utilities)) == 1
    for name in ("wse", "wce"):
        assert ids(pool, ask(name, pool)) == [2, 1]
        assert ask(name, pool).utilities[1] == 20 * ask(name, pool).utilities[0]
