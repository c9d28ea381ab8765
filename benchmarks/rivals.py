"""Compares our cover and core-set with public libraries on the same task.

Part of `benchmarks.selection`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import pairwise_distances
from sklearn.metrics.pairwise import cosine_similarity
from threadpoolctl import threadpool_limits

from benchmarks.pools import WIDTH, split, synthetic
from benchmarks.sketch import SIGMA
from benchmarks.turns import least
from taudis.selection.core_set import farthest_first
from taudis.selection.cover import greedy_cover
from taudis.selection.graph import edges_between


def apricot_covers(near: npt.NDArray[np.bool_], picks: int) -> int:
    """Number of instances that apricot's picks cover, for edges [C,F]."""
    from apricot import MaxCoverageSelection

    chosen = MaxCoverageSelection(picks, threshold=1.0, optimizer="naive")
    chosen.fit(near.astype(np.float32))
    return int(near[chosen.ranking].any(0).sum())


def submodlib_covers(near: npt.NDArray[np.bool_], picks: int) -> int:
    """Number of instances that submodlib's picks cover, for edges [C,F]."""
    from submodlib import SetCoverFunction

    sets = [set(np.flatnonzero(row).tolist()) for row in near]
    function = SetCoverFunction(n=len(sets), cover_set=sets, num_concepts=near.shape[1])
    found = function.maximize(
        budget=picks,
        optimizer="LazyGreedy",
        stopIfZeroGain=True,
        stopIfNegativeGain=True,
        show_progress=False,
    )
    return int(near[[row for row, _ in found]].any(0).sum())


def rivals(scale: float) -> dict[str, Any]:
    """Our cover against scikit-learn with apricot or submodlib, with equal C, F, k and coverage."""
    import apricot  # noqa: F401

    threadpool_limits(1)  # because numba in apricot sets OpenMP to all cores
    candidates, instances = round(2000 * scale), round(20_000 * scale)
    picks = candidates * 3 // 5
    units, _ = synthetic(instances, 0.014)
    some, own = split(units, candidates)

    def dense() -> npt.NDArray[np.bool_]:
        near: npt.NDArray[np.bool_] = cosine_similarity(some, units) >= SIGMA
        near[np.arange(len(own)), own] = True
        return near

    def ours() -> int:
        rows = edges_between(some, units, SIGMA, own=own)
        return greedy_cover(rows, picks, remainder="none").covered

    def apricot_run() -> int:
        return apricot_covers(dense(), picks)

    def submodlib_run() -> int:
        return submodlib_covers(dense(), picks)

    reached = ours()
    assert apricot_run() == reached, "apricot"
    assert submodlib_run() == reached, "submodlib"
    spent = least({"ours": ours, "submodlib": submodlib_run}) | least(
        {"apricot": apricot_run}, rounds=1
    )
    return {
        "apricot_over_ours": round(spent["apricot"] / spent["ours"], 1),
        "submodlib_over_ours": round(spent["submodlib"] / spent["ours"], 1),
        "rivals_covered": reached,
    }


def kcentre(scale: float) -> dict[str, Any]:
    """Our core-set against the usual loop with scikit-learn's distances, with equal picks."""
    count, picks = round(50_000 * scale), round(500 * scale)
    points = np.random.default_rng(3).standard_normal((count, WIDTH), np.float32)
    known = points[:1]

    def usual() -> list[int]:
        near = pairwise_distances(points, known).min(axis=1)
        chosen = []
        for _ in range(picks):
            row = int(near.argmax())
            chosen.append(row)
            near = np.minimum(near, pairwise_distances(points, points[row : row + 1])[:, 0])
        return chosen

    assert farthest_first(points, known, picks).picks.tolist() == usual()
    spent = least({"ours": lambda: farthest_first(points, known, picks), "usual": usual}, rounds=2)
    return {
        "kcenter_speedup": round(spent["usual"] / spent["ours"], 1),
        "kcenter_s": round(spent["ours"], 2),
    }
