"""Algorithm 1 line 6 for pools of any size: sigma, the part of the universe, the edges.

Edges of C candidates and N instances are C x N bits. Where they do not fit into
`params.edge_bytes`, the universe is a sample of the instances (`taudis.selection.sketch`), and a
warning says so.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from taudis.selection.cover import greedy_cover
from taudis.selection.params import ProgressCallback, SelectionParams
from taudis.selection.similarity import (
    BitRows,
    edge_density,
    effective_sigma,
    hash_sample,
    row_sizes,
    sample_similarities,
    similarity_rows,
)
from taudis.selection.sketch import cap_degrees, degree_cap, fast_columns, guaranteed_columns
from taudis.selection.units import Float32, UnitVectors
from taudis.types import IntArray

_UNIVERSE = 0x5851F42D4C957F2D  # makes the seed of the universe's sample one of its own
LOOK = 256
"""Candidates whose cover of all instances bounds what the best can reach."""


@dataclass(frozen=True, eq=False)
class Graph:
    """Which instances each candidate is similar to, and how that was decided."""

    edges: BitRows  # [C, W]
    sizes: IntArray  # [C] edges of each candidate
    density: float  # share of the C x columns pairs that are similar, 0..1
    instances: int  # N
    columns: int  # instances that the edges go to: N, or the size of the sample
    sigma: float  # sigma_eff, from which on two instances are similar
    sample: Callable[[], Float32]  # [S] cosines of sampled pairs
    warnings: tuple[str, ...]

    @property
    def scale(self) -> float:
        """Instances that a covered column stands for; 1 where all are columns."""
        return self.instances / self.columns if self.columns else 1.0

    def describe(self) -> dict[str, float | int | str | None]:
        """Diagnostics of a Selection."""
        return {
            "sigma_eff": self.sigma,
            "density": self.density,
            "sketch_columns": self.columns if self.columns < self.instances else None,
        }


def similarity_graph(
    units: UnitVectors,
    candidates: int,
    *,
    picks: int,
    params: SelectionParams,
    seed: int,
    progress: ProgressCallback | None = None,
) -> Graph:
    """The graph between the first `candidates` rows of `units` [N,D] and all of them.

    picks: k. Under `sigma_rule` adaptive sigma is raised where it leaves a density above 2/k.
    """
    head, own = units.head(candidates), np.arange(candidates)
    sample = functools.cache(lambda: sample_similarities(head, units, own=own, seed=seed))
    sigma = params.sigma
    if params.sigma_rule == "adaptive":
        sigma = effective_sigma(sigma, sample(), min(1.0, 2 / max(picks, 1)))
    size = _columns(units, candidates, picks, params, sigma, seed)
    universe = sample_universe(len(units), size, seed)
    sketched = size < len(units)
    edges = similarity_rows(
        head,
        units.pick(universe) if sketched else units,
        sigma,
        own=places_in(own, universe) if sketched else own,
        progress=(lambda done, of: progress("similarity", done, of)) if progress else None,
    )
    sizes = row_sizes(edges)
    density = edge_density(sizes, size)
    if params.sketch == "guaranteed" and sketched:
        edges = cap_degrees(edges, degree_cap(params.epsilon, picks, candidates))
        sizes = row_sizes(edges)
    warnings = (_told(params, candidates, len(units), size),) if sketched else ()
    return Graph(edges, sizes, density, len(units), size, sigma, sample, warnings)


def sample_universe(instances: int, size: int, seed: int) -> IntArray:
    """The places [size] of a sample of the instances, by a hash that nothing else uses.

    sigma is fitted on a sample, too: the guarantee wants one that is independent of it.
    """
    return hash_sample(instances, size, seed ^ _UNIVERSE)


def _columns(
    units: UnitVectors,
    candidates: int,
    picks: int,
    params: SelectionParams,
    sigma: float,
    seed: int,
) -> int:
    """How many instances the edges go to."""
    everything = len(units)
    if params.sketch == "guaranteed":
        some = hash_sample(candidates, LOOK, seed)
        rows = similarity_rows(units.pick(some), units, sigma, own=some)
        reached = greedy_cover(rows, picks, remainder="none").covered
        return guaranteed_columns(params.epsilon, picks, candidates, everything, reached=reached)
    fits = candidates * everything <= 8 * params.edge_bytes
    if params.sketch == "never" or (params.sketch == "auto" and fits):
        return everything
    room = 8 * params.edge_bytes // max(candidates, 1)
    return min(fast_columns(candidates, everything), max(room, 1))


def places_in(own: IntArray, universe: IntArray) -> IntArray:
    """The column [C] of each candidate in an ascending sample of the instances; -1: not in it."""
    at = np.searchsorted(universe, own)
    at[at == len(universe)] = 0
    places: IntArray = np.where(universe[at] == own, at, -1) if len(universe) else at - 1
    return places


def _told(params: SelectionParams, candidates: int, instances: int, size: int) -> str:
    """What a sample means for the result."""
    what = f"The cover is of a random sample of {size:,} of {instances:,} instances"
    if params.sketch == "guaranteed":
        return (
            f"{what}, with a guarantee: at least 1 - 1/e - {params.epsilon:g} of the best"
            " cover, with probability 0.99. Gains and coverage are estimates."
        )
    why = "as sketch=always asks"
    if params.sketch == "auto":
        needed = candidates * instances / 8e6
        why = (
            f"since edges of {candidates:,} candidates to all would take {needed:,.0f} MB of"
            f" {params.edge_bytes / 1e6:,.0f} MB allowed (edge_bytes; edge-mb)"
        )
    return f"{what}, {why}. A heuristic; gains and coverage are estimates, on the high side."
