"""Compares samples of the universe with the whole universe: cost, and true coverage of the picks.

Part of `benchmarks.selection`. Pools are the synthetic and the real pools of `benchmarks.pools`.
Sigma is fixed (0.8 for synthetic pools; the sigma that 1 % of the pairs reach for real pools), or
for "live" that of the adaptive rule for a k, which 2/k of the pairs reach.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.pools import DENSITIES, Float32, enlarged, split, synthetic
from benchmarks.turns import least
from taudis.selection.cover import greedy_cover
from taudis.selection.graph import edges_between, places_in
from taudis.selection.sigma import effective_sigma, hash_sample, sample_similarities
from taudis.selection.similarity import BitRows
from taudis.selection.unit_vectors import UnitVectors

logger = logging.getLogger("selection")

SIGMA = 0.8
COVERAGE_AT = 5_000  # number of candidates
COST_AT = 5_000, 25_000  # numbers of candidates; at F = 20 C, "auto" samples from 20,000 on
TIMES = 2, 6  # columns of the sample / C


@dataclass(frozen=True, eq=False)
class Case:
    """A pool with its candidates."""

    units: Float32  # [F,D]
    some: Float32  # [C,D] the candidates
    own: npt.NDArray[np.int64]  # [C] rows of the candidates in `units`
    fits: float | None  # fixed sigma; None: the sigma that 1 % of the pairs reach

    @classmethod
    def of(cls, found: Float32, candidates: int, fits: float | None) -> Case:
        """A case with some of the embeddings [F,D] as candidates."""
        units = UnitVectors.of(found)[:]
        return cls(units, *split(units, candidates), fits)

    def sigmas(self, ks: list[int]) -> tuple[float, list[float]]:
        """(fixed sigma, sigma of the adaptive rule for each k)."""
        sampled = sample_similarities(self.some, self.units, own=self.own, seed=0)
        suits = self.fits or effective_sigma(SIGMA, sampled, 0.01)
        return suits, [effective_sigma(SIGMA, sampled, 2 / k) for k in ks]

    def edges(self, sigma: float, times: int | None = None) -> BitRows:
        """The edges to all, or to a random sample of `times` C columns."""
        if times is None:
            return edges_between(self.some, self.units, sigma, own=self.own)
        chosen = hash_sample(len(self.units), times * len(self.some), 1)
        places = places_in(self.own, chosen)
        return edges_between(self.some, np.ascontiguousarray(self.units[chosen]), sigma, own=places)

    def shares(self, sigma: float, ks: list[int]) -> dict[int, list[float]]:
        """True coverage of a sample's picks / that of the exact run, by `TIMES` and k."""
        everything = self.edges(sigma)
        best = [greedy_cover(everything, k, remainder="none").covered for k in ks]
        shares = {}
        for times in TIMES:
            rows = self.edges(sigma, times)
            shares[times] = [
                round(covered(everything, greedy_cover(rows, k).picks) / most, 4)
                for k, most in zip(ks, best, strict=True)
            ]
        return shares

    def cost(self, sigma: float, k: int, rounds: int) -> float:
        """Time of edges and greedy with a sample / time of the exact run."""

        def run(times: int | None) -> Callable[[], Any]:
            return lambda: greedy_cover(self.edges(sigma, times), k)

        spent = least({"sample": run(TIMES[0]), "all": run(None)}, rounds)
        return round(spent["sample"] / spent["all"], 3)


def covered(rows: BitRows, picks: npt.NDArray[np.integer[Any]]) -> int:
    """Number of instances that the picked rows cover."""
    whole: npt.NDArray[np.uint8] = np.bitwise_or.reduce(rows[picks], axis=0)
    return int(np.bitwise_count(whole).sum(dtype=np.int64))


def cases(candidates: int, pools: dict[str, Float32]) -> Iterator[tuple[str, Case]]:
    """Each pool with F = 20 C, one at a time."""
    instances = 20 * candidates
    for density in DENSITIES:
        yield f"density {density}", Case.of(synthetic(instances, density)[0], candidates, SIGMA)
    for name, found in pools.items():
        yield name, Case.of(enlarged(found, instances), candidates, None)


Reported = dict[str, dict[str, Any]]


def add_costs(reported: Reported, scale: float, pools: dict[str, Float32]) -> None:
    """Cost of a sample of 2C columns by pool, at both numbers of candidates."""
    for candidates in (round(scale * each) for each in COST_AT):
        for name, case in cases(candidates, pools):
            k = candidates * 3 // 5
            suits, (live,) = case.sigmas([k])
            rounds = 3 if candidates == min(COST_AT) else 1
            found = {f"{candidates} suits": case.cost(suits, k, rounds)}
            found[f"{candidates} live"] = case.cost(live, k, rounds)
            reported.setdefault(name, {}).setdefault("cost", {}).update(found)
            logger.info("sketch, %s, cost: %s", name, found)
            del case  # frees its memory before the next pool is made


def add_coverage(
    reported: Reported, candidates: int, ks: list[int], pools: dict[str, Float32]
) -> None:
    """True coverage of samples of 2C and 6C columns, by pool and k."""
    for name, case in cases(candidates, pools):
        suits, live = case.sigmas(ks)
        shares = case.shares(suits, ks)
        own = [case.shares(sigma, [k]) for sigma, k in zip(live, ks, strict=True)]
        found: dict[str, Any] = {"sigma": round(suits, 4)}
        found["live_sigma"] = [round(each, 4) for each in live]
        for times in TIMES:
            found[f"coverage_{times}C"] = list(shares[times])
            found[f"live_coverage_{times}C"] = [each[times][0] for each in own]
        reported.setdefault(name, {}).update(found)
        logger.info("sketch, %s: %s", name, reported[name])
        del case


def sketch(scale: float, pools: dict[str, Float32]) -> dict[str, Any]:
    """Samples of 2C and 6C columns against all, F = 20C: cost, and true coverage for equal k."""
    reported: Reported = {}
    candidates = round(scale * COVERAGE_AT)
    ks = [candidates // 10, candidates // 4, candidates * 3 // 5]
    add_costs(reported, scale, pools)
    add_coverage(reported, candidates, ks, pools)

    def costs(candidates: int, rule: str) -> float:
        found = f"{round(scale * candidates)} {rule}"
        return float(max(each["cost"][found] for each in reported.values()))

    def worst(key: str) -> float:
        return float(min(min(each[key]) for each in reported.values()))

    small, large = COST_AT
    return {
        "sketch_cost": costs(large, "suits"),
        "sketch_cost_live": costs(large, "live"),
        "sketch_cost_small": costs(small, "suits"),
        "sketch_cost_small_live": costs(small, "live"),
        "sketch_coverage": worst("coverage_2C"),
        "sketch_coverage_6C": worst("coverage_6C"),
        "sketch_coverage_live": worst("live_coverage_2C"),
        "sketch_coverage_live_6C": worst("live_coverage_6C"),
        "sketch_picks": ks,
        "sketch_by_pool": reported,
    }
