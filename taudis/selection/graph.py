"""Algorithm 1 line 6 for pools of any size: chooses sigma and computes the similarity graph.

The edges of C candidates and N instances take C x N bits. If this is more than `params.edge_bytes`,
the cover is computed on a random sample of the instances (Bateni, Esfandiari, Mirrokni, KDD 2018,
the paper's [26]), and a warning says so. The sample is drawn before any cosine is computed, so it
saves time as well as memory. Its size is one of two:

* `fast_columns`, 2C: a heuristic. docs/selection.md has its measured loss.
* `guaranteed_columns`: with probability 0.99, greedy covers at least (1 - 1/e - epsilon) of what
  the best k candidates cover. `cap_degrees` limits the edges of each instance, as the proof needs.
  docs/scale.md has the proof.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from taudis.errors import SelectionError
from taudis.selection.cover import greedy_cover, row_sizes
from taudis.selection.params import ProgressCallback, SelectionParams
from taudis.selection.sigma import effective_sigma, hash_sample, sample_similarities
from taudis.selection.similarity import BitRows, Shortcut, similarity_rows
from taudis.selection.unit_vectors import UnitVectors
from taudis.types import Float32, FloatArray, IntArray, IntegerProduct

FAST_COLUMNS = 2  # size of the heuristic sample, in units of C
FAILURE = 0.01  # probability that the guarantee does not hold
LOOK = 256  # sampled candidates; their greedy cover is a lower bound of the best cover
KNOWN = 1024  # labelled instances processed at a time
_UNIVERSE = 0x5851F42D4C957F2D  # makes this sample independent of the sample that sets sigma

_integer_product: ContextVar[IntegerProduct | None] = ContextVar("integer_product", default=None)


@contextmanager
def using_integer_product(product: IntegerProduct | None) -> Iterator[None]:
    """Let selections in this context use `product`, a fast matrix product of 8-bit integers.

    It changes no result (`taudis.selection.fast.rounded`). None: do not use one.
    """
    before = _integer_product.set(product)
    try:
        yield
    finally:
        _integer_product.reset(before)


class EdgeMaker(Protocol):
    """A replacement for `edges_between`, for example on several machines."""

    def __call__(
        self,
        candidates: UnitVectors,
        columns: UnitVectors,
        sigma: float,
        own: IntArray,
        progress: Callable[[int, int], None] | None = None,
    ) -> BitRows:
        """The edges of `edges_between`; the columns may be in another order.

        The order may depend on `columns` only. Zero bits may stand between columns. `own` is -1 for
        a candidate that is not among the columns.
        """


_edge_maker: ContextVar[EdgeMaker | None] = ContextVar("edge_maker", default=None)


@contextmanager
def using_edges(maker: EdgeMaker | None) -> Iterator[None]:
    """Let selections in this context compute their edges with `maker`. None: in this process.

    The selection stays the same, because a cover only counts columns, in whatever order.
    """
    before = _edge_maker.set(maker)
    try:
        yield
    finally:
        _edge_maker.reset(before)


def _edges(
    candidates: UnitVectors,
    columns: UnitVectors,
    sigma: float,
    own: IntArray | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BitRows:
    """The edges, computed by the `EdgeMaker` of this context if it has one."""
    maker = _edge_maker.get()
    if maker is None:
        return edges_between(candidates, columns, sigma, own=own, progress=progress)
    places = np.full(len(candidates), -1) if own is None else own
    return maker(candidates, columns, sigma, places, progress)


@dataclass(frozen=True, eq=False)
class Graph:
    """The instances that each candidate is similar to, and the sigma that decided it."""

    edges: BitRows  # [C, W]
    sizes: IntArray  # [C] number of edges of each candidate
    density: float  # share of the C x columns pairs that are similar, 0..1
    instances: int  # N
    columns: int  # instances to cover: N, or the size of the sample
    sigma: float  # least cosine of two similar instances
    sample: Callable[[], Float32]  # gives cosines [S] of sampled pairs
    warnings: tuple[str, ...]
    covered: int = 0  # columns that labelled instances already cover; they have no edges

    @property
    def scale(self) -> float:
        """Pool instances per column; 1 without a sample."""
        return self.instances / self.columns if self.columns else 1.0

    def describe(self) -> dict[str, float | int | str | None]:
        """The graph's entries in `Selection.diagnostics`."""
        return {
            "sigma_eff": self.sigma,
            "density": self.density,
            "sketch_columns": self.columns if self.columns < self.instances else None,
            **({"covered_by_labelled": self.covered / self.columns} if self.covered else {}),
        }


# long: the signature and the docstring take half of it
def similarity_graph(
    units: UnitVectors,
    candidates: int,
    *,
    picks: int,
    budget: int,
    params: SelectionParams,
    seed: int,
    known: FloatArray | None = None,
    progress: ProgressCallback | None = None,
) -> Graph:
    """The graph between the first `candidates` rows of `units` [N,D] and all of them.

    picks: k. budget: B. Sigma is raised if more than a share 2/k (`sigma_rule` "adaptive") or 1/B
    ("budget") of the pairs is similar.
    known: [M,D] embeddings of labelled instances. Pool instances that are similar to one of them
    count as covered and lose their edges. `Graph.density` still counts these edges.
    """
    head, own = units.head(candidates), np.arange(candidates)
    sample = functools.cache(lambda: sample_similarities(head, units, own=own, seed=seed))
    sigma = params.sigma
    if params.sigma_rule != "flat":
        density = 2 / max(picks, 1) if params.sigma_rule == "adaptive" else 1 / max(budget, 1)
        sigma = effective_sigma(sigma, sample(), min(1.0, density))
    size = _column_count(units, candidates, picks, params, sigma, seed)
    universe = sample_universe(len(units), size, seed)
    sampled = size < len(units)
    columns = units.pick(universe) if sampled else units
    edges = _edges(
        head,
        columns,
        sigma,
        own=places_in(own, universe) if sampled else own,
        progress=(lambda done, of: progress("similarity", done, of)) if progress else None,
    )
    sizes = row_sizes(edges)
    density = edge_density(sizes, size)
    if params.sketch == "guaranteed" and sampled:
        edges = cap_degrees(edges, degree_cap(params.epsilon, picks, candidates))
        sizes = row_sizes(edges)
    warnings = (_sample_warning(params, candidates, len(units), size),) if sampled else ()
    graph = Graph(edges, sizes, density, len(units), size, sigma, sample, warnings)
    if known is None or not len(known):
        return graph
    return _without_covered(graph, replace(units, embeddings=known, rows=None), columns)


def _without_covered(graph: Graph, known: UnitVectors, columns: UnitVectors) -> Graph:
    """The graph without the edges to columns [n] that are similar to a labelled instance [M]."""
    covered = np.zeros(graph.edges.shape[1], np.uint8)
    for start in range(0, len(known), KNOWN):
        some = known.pick(np.arange(start, min(start + KNOWN, len(known))))
        covered |= np.bitwise_or.reduce(_edges(some, columns, graph.sigma), axis=0)
    edges = graph.edges & ~covered
    count = int(np.bitwise_count(covered).sum(dtype=np.int64))
    found = replace(graph, edges=edges, sizes=row_sizes(edges), covered=count)
    if found.sizes.any() or not graph.sizes.any():
        return found
    warning = (
        f"Labelled instances cover all that the candidates cover, at sigma {graph.sigma:.4f}:"
        " nothing is left to cover, so the order is by uncertainty. Raise sigma, or use the"
        " strategy without labelled instances."
    )
    return replace(found, warnings=(*graph.warnings, warning))


def edges_between(
    candidates: FloatArray | UnitVectors,
    pool: FloatArray | UnitVectors,
    sigma: float,
    *,
    own: IntArray | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BitRows:
    """`similarity_rows` with the fastest shortcut, if there is one that saves time."""
    candidates, pool = UnitVectors.of(candidates), UnitVectors.of(pool)
    shortcut = _shortcut(candidates, pool, sigma)
    return similarity_rows(candidates, pool, sigma, own=own, shortcut=shortcut, progress=progress)


def _shortcut(candidates: UnitVectors, pool: UnitVectors, sigma: float) -> Shortcut | None:
    try:  # taudis/selection/fast is optional: it only saves time
        from taudis.selection.fast.choice import find_shortcut
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("taudis.selection.fast"):
            raise
        return None
    return find_shortcut(candidates, pool, sigma, _integer_product.get())


def edge_density(sizes: IntArray, columns: int) -> float:
    """Share of the C x `columns` pairs that are edges, 0..1; 0 without pairs. sizes: [C] edges."""
    pairs = len(sizes) * columns
    return int(sizes.sum()) / pairs if pairs else 0.0


def sample_universe(instances: int, size: int, seed: int) -> IntArray:
    """Ascending rows [size] of the instances to cover, drawn independently of sigma's sample."""
    return hash_sample(instances, size, seed ^ _UNIVERSE)


def places_in(own: IntArray, universe: IntArray) -> IntArray:
    """The position [C] of each candidate in an ascending sample of instances; -1: not in it."""
    at = np.searchsorted(universe, own)
    at[at == len(universe)] = 0
    places: IntArray = np.where(universe[at] == own, at, -1) if len(universe) else at - 1
    return places


def fast_columns(candidates: int, instances: int) -> int:
    """The size of the heuristic sample, min(N, 2C)."""
    return min(instances, FAST_COLUMNS * candidates)


def guaranteed_columns(
    epsilon: float, k: int, candidates: int, instances: int, *, reached: int
) -> int:
    """The sample size n(epsilon, k) of the proof in docs/scale.md, at most `instances`.

    epsilon: between 0 and 1. reached: instances that some k candidates cover, a lower bound of the
    best cover. Raises SelectionError for an epsilon out of range.
    """
    _check_epsilon(epsilon)
    best = (1 - epsilon / 2) * reached
    k = min(k, candidates)
    if best <= 0 or k <= 0:
        return instances
    delta = epsilon / 2 / (2 - 1 / math.e)
    families = math.lgamma(candidates + 1) - math.lgamma(k + 1) - math.lgamma(candidates - k + 1)
    needed = (2 + 2 * delta / 3) / delta**2 * (families + math.log(2 / FAILURE))
    return min(instances, math.ceil(needed / best * instances))


def degree_cap(epsilon: float, k: int, candidates: int) -> int:
    """The largest number of edges of an instance in the proof, at most `candidates`."""
    _check_epsilon(epsilon)
    share = epsilon / 4
    replaced = math.floor(share * k)
    if not replaced:  # the proof replaces epsilon k / 4 picks; below 1 it allows no cap
        return candidates
    return min(candidates, math.ceil(candidates * math.log(1 / share) / replaced))


def _check_epsilon(epsilon: float) -> None:
    if not 0 < epsilon < 1:
        raise SelectionError(f"epsilon: expected a number with 0 < epsilon < 1, got {epsilon}.")


def cap_degrees(rows: BitRows, cap: int) -> BitRows:
    """Keep at most `cap` edges of each instance, those of the first rows [C, W]; in place."""
    degree: IntArray = np.zeros(rows.shape[1] * 8, np.int32)
    for row in rows:
        bits = np.unpackbits(row)
        row[:] = np.packbits(bits & (degree < cap))
        degree += bits
    return rows


def _column_count(
    units: UnitVectors,
    candidates: int,
    picks: int,
    params: SelectionParams,
    sigma: float,
    seed: int,
) -> int:
    """The number of instances to cover: all, or the size of a sample."""
    everything = len(units)
    if params.sketch == "guaranteed":
        some = hash_sample(candidates, LOOK, seed)
        rows = _edges(units.pick(some), units, sigma, own=some)
        reached = greedy_cover(rows, picks, remainder="none").covered
        return guaranteed_columns(params.epsilon, picks, candidates, everything, reached=reached)
    fits = candidates * everything <= 8 * params.edge_bytes
    if params.sketch == "never" or (params.sketch == "auto" and fits):
        return everything
    room = 8 * params.edge_bytes // max(candidates, 1)
    return min(fast_columns(candidates, everything), max(room, 1))


def _sample_warning(params: SelectionParams, candidates: int, instances: int, size: int) -> str:
    """The warning that the cover is computed on a sample, with its reason."""
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
