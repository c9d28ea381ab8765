"""Strategies of one figure an image: examples by hand, and an oracle of each in exact numbers."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taudis.selection.baselines import FIGURES, sum_by_group
from taudis.selection.params import Labelled, SelectionParams
from taudis.selection.strategies import query
from taudis.selection.vote import seeded_hash

LOG2 = float(np.log(2))
# The smallest seed under which image 3 comes before image 1.
TIE_SEED = next(s for s in range(99) if seeded_hash(np.array([1, 3]), s).argmin() == 1)


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
    ("name", "figures", "order", "reason"),
    [
        # lowest mean CM first: (2 + 6) / 2 / 16 = 4/16; 10/16; 3/16
        (
            "margin",
            {1: -4 / 16, 2: -10 / 16, 3: -3 / 16, 4: -1},
            [3, 1, 2, 4],
            "mean classification margin 0.188 of its 1 detection",
        ),
        # (4 + 8) / 2 / 16 = 6/16; 2/16; 6/16: images 1 and 3 tie, and 3 has the smaller hash
        (
            "average_ce",
            {1: 6 / 16, 2: 2 / 16, 3: 6 / 16, 4: 0},
            [3, 1, 2, 4],
            "mean classification entropy 0.375 of its 1 detection",
        ),
        # (8 + 4) / 2 / 16 = 6/16; 12/16; 10/16
        (
            "average_se",
            {1: 6 / 16, 2: 12 / 16, 3: 10 / 16, 4: 0},
            [2, 3, 1, 4],
            "mean segmentation entropy 0.750 of its 1 detection",
        ),
        # Eq. 4: 1/2 x 4/16 + 1/4 x 8/16 = 4/16; 1/4 x 2/16 = 1/32; 2/5 x 6/16 = 0.15
        (
            "wce",
            {1: 0.25, 2: 0.03125, 3: 0.15, 4: 0},
            [1, 3, 2, 4],
            "weighted classification entropy 0.250 of its 2 detections",
        ),
        # Eq. 5: 1/2 x 8/16 + 1/4 x 4/16 = 5/16; 1/4 x 12/16 = 3/16; 2/5 x 10/16 = 4/16
        (
            "wse",
            {1: 0.3125, 2: 0.1875, 3: 0.25, 4: 0},
            [1, 3, 2, 4],
            "weighted segmentation entropy 0.312 of its 2 detections",
        ),
    ],
)
def test_figures_by_hand(four, name, figures, order, reason):
    got = ask(name, four, seed=TIE_SEED)
    assert got.reasons[0] == reason
    assert utilities(four, got) == pytest.approx(figures)
    assert ids(four, got) == order


def test_reasons_by_hand(four):
    assert ask("wse", four).reasons == (
        "weighted segmentation entropy 0.312 of its 2 detections",
        "weighted segmentation entropy 0.250 of its 1 detection",
        "weighted segmentation entropy 0.188 of its 1 detection",
        "no detections; seeded random place",
    )


def mean(values, default):
    """The plain average; `default` of nothing."""
    return sum(values, Fraction()) / len(values) if values else default


def by_area(values, areas, image):
    """The sum of the values, each weighted by its area's share of the image."""
    return sum((Fraction(a, image) * v for v, a in zip(values, areas, strict=True)), Fraction())


ORACLES = {
    "margin": lambda found, image: mean(found.cm, Fraction(1)),
    "average_ce": lambda found, image: mean(found.ce, 0),
    "average_se": lambda found, image: mean(found.se, 0),
    "wce": lambda found, image: by_area(found.ce, found.areas, image),
    "wse": lambda found, image: by_area(found.se, found.areas, image),
}
"""The figure of an image by its detections and its area in px, in exact arithmetic."""


class Found:
    """The detections of an image of `build.scenes` as exact numbers."""

    def __init__(self, rows):
        self.se, self.ce, self.cm = ([Fraction(row[i], 16) for row in rows] for i in range(3))
        self.areas = [row[4] for row in rows]


def place(key, figure, seed):
    """Sort key of an image by its figure, the highest first; None is without detections."""
    tie = int(seeded_hash(np.array([key]), seed)[0])
    return (1, 0, tie) if figure is None else (0, -figure, tie)


def test_every_figure_has_an_oracle():
    assert sorted(ORACLES) == sorted(figure.strategy for figure in FIGURES)


@pytest.mark.slow
@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.strategy)
@settings(max_examples=100)
@given(data=st.data())
def test_figures_equal_exact_arithmetic(build, figure, data):
    scenes, seed = data.draw(build.scenes()), data.draw(st.integers(0, 9))
    pool = build.scene_pool(scenes)
    got = ask(figure.strategy, pool, seed=seed)
    sign = -1 if figure.lowest_first else 1
    wanted = {
        key: sign * ORACLES[figure.strategy](Found(rows), height * width)
        for key, (_, (height, width), rows) in scenes.items()
    }
    seen = {key: wanted[key] if scenes[key][2] else None for key in scenes}
    assert ids(pool, got) == sorted(scenes, key=lambda key: place(key, seen[key], seed))
    assert utilities(pool, got) == pytest.approx({key: float(f) for key, f in wanted.items()})
    for key, reason in zip(ids(pool, got), got.reasons, strict=True):
        count = len(scenes[key][2])
        sentence = f"{figure.label} {float(sign * wanted[key]):.3f} of its {count} detection"
        assert reason == (
            sentence + "s" * (count > 1) if count else "no detections; seeded random place"
        )


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
