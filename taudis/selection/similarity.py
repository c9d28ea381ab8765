"""Algorithm 1 line 6: which pool instances each candidate is similar to, one bit an edge.

The cost is about that of the matrix product: blocks of one fixed shape, compared with sigma and
packed to bits before the next block, so that memory beyond the result is the candidates' vectors
(C x D float32, and a byte each where they are rounded) and some tens of megabytes at any size.
Where the embeddings' energy lies in few directions (`taudis.selection.fast.prefix`), or cosines
spread enough to be told apart by rounded vectors (`taudis.selection.fast.rounded`), it is a
fraction of that product. The edges are the same whichever way is taken
(`taudis.selection.fast.blocks`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from taudis.errors import DataError, SelectionError
from taudis.selection.fast.blocks import (
    BLOCK_COLUMNS,
    BLOCK_ROWS,
    BOUND_COLUMNS,
    Bounds,
    Scratch,
    Shortcut,
)
from taudis.selection.fast.prefix import find_prefix
from taudis.selection.fast.rounded import find_rounding
from taudis.selection.seeding import seeded_hash
from taudis.selection.units import Float32, UnitVectors
from taudis.types import FloatArray, IntArray

BitRows = npt.NDArray[np.uint8]
"""[C, W] as `np.packbits` makes them: bit j of row i is the edge from candidate i to instance j.
W is ceil(N/8) rounded up to whole 64-bit words; the bits beyond N are 0."""

LEAST_PAIRS = 16_000_000  # below it looking for a shortcut costs more than it saves
SAMPLE_ROWS, SAMPLE_COLUMNS = 128, 4096
SIGMA_CEILING = 1 - 1e-5  # closer to 1, float32 rounding would decide what is similar


def similarity_rows(
    candidates: FloatArray | UnitVectors,
    pool: FloatArray | UnitVectors,
    sigma: float,
    *,
    own: IntArray | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BitRows:
    """The edges of Algorithm 1 line 6: cosine(candidate, pool instance) >= sigma.

    candidates: [C,D] embeddings, any length of rows. pool: [N,D]. sigma: in 0..1, not 0.
    own: [C] the pool column of each candidate, which it covers whatever its embedding, or -1 for
    one that is not part of the pool; None if none is. A zero vector is similar to nothing but
    itself. progress: called with (columns done, of how many).
    Where bounds decide most pairs, the others alone are multiplied out.
    Returns bit rows [C, W]. Raises DataError for arrays that do not fit or hold NaN, and
    SelectionError for a sigma outside.
    """
    candidates, pool = _pair(candidates, pool, own)
    if not 0 < sigma <= 1:
        raise SelectionError(f"sigma: expected a cosine with 0 < sigma <= 1, got {sigma}.")
    rows = np.zeros((len(candidates), -(-len(pool) // 64) * 8), np.uint8)
    units = candidates[:]
    shortcut = find_shortcut(units, pool, sigma)
    scratch = Scratch(BLOCK_ROWS, BOUND_COLUMNS if shortcut else BLOCK_COLUMNS)
    mine = shortcut.bounds(units) if shortcut else None
    for left in range(0, len(pool), BLOCK_COLUMNS):
        columns = pool[left : left + BLOCK_COLUMNS]
        theirs = shortcut.bounds(columns) if shortcut else None
        for top in range(0, len(units), BLOCK_ROWS):
            block = slice(top, top + BLOCK_ROWS)
            packed = rows[block, left // 8 : left // 8 + -(-len(columns) // 8)]
            if mine and theirs:
                _pack_bounded(mine[block], theirs, sigma, packed, scratch)
            else:
                scratch.pack(units[block], columns, sigma, packed)
        if progress:
            progress(left + len(columns), len(pool))
    if own is not None:
        inside = np.flatnonzero(own >= 0)
        rows[inside, own[inside] >> 3] |= (128 >> (own[inside] & 7)).astype(np.uint8)
    return rows


def find_shortcut(units: Float32, pool: UnitVectors, sigma: float) -> Shortcut | None:
    """The bounds that cost less than the product, by a look at every n-th row; None without."""
    if len(units) * len(pool) < LEAST_PAIRS:
        return None
    some = units[:: max(1, len(units) // 128)]
    sample = pool[np.arange(0, len(pool), max(1, len(pool) // 1024))]
    found = (find_prefix(some, sample, sigma), find_rounding(some, sample, sigma))
    return min((each for each in found if each), key=lambda each: each.cost, default=None)


def _pack_bounded(
    rows: Bounds, columns: Bounds, sigma: float, out: npt.NDArray[np.uint8], scratch: Scratch
) -> None:
    """The edges of a block as bits in `out` [n, ceil(m/8)], some columns at a time."""
    for start in range(0, len(columns.units), BOUND_COLUMNS):
        near = rows.edges(columns[start : start + BOUND_COLUMNS], sigma, scratch)
        out[:, start // 8 : start // 8 + -(-near.shape[1] // 8)] = np.packbits(near, axis=1)


def _pair(
    candidates: FloatArray | UnitVectors, pool: FloatArray | UnitVectors, own: IntArray | None
) -> tuple[UnitVectors, UnitVectors]:
    """Both as `UnitVectors`. Raises DataError unless candidates, pool and own fit each other."""
    one = candidates if isinstance(candidates, UnitVectors) else UnitVectors.of(candidates)
    other = pool if isinstance(pool, UnitVectors) else UnitVectors.of(pool)
    if one.width != other.width:
        raise DataError(
            f"candidates and pool: expected one embedding width, got {one.width} and "
            f"{other.width}; take both from one model and one branch."
        )
    if own is not None and (
        own.shape != (len(one),) or (len(own) and not (own.min() >= -1 and own.max() < len(other)))
    ):
        raise DataError(
            f"own: expected {len(one)} pool columns in 0..{len(other) - 1} (-1: none), "
            f"got shape {list(own.shape)}."
        )
    return one, other


def sample_similarities(
    candidates: FloatArray | UnitVectors,
    pool: FloatArray | UnitVectors,
    *,
    own: IntArray,
    seed: int,
) -> Float32:
    """Cosines of up to 128 candidates with up to 4096 pool instances, without an instance's own.

    The rows are drawn by a hash of seed and position. Returns [S], unordered; empty when there is
    no pair. Raises DataError like `similarity_rows`.
    """
    one, other = _pair(candidates, pool, own)
    some = hash_sample(len(one), SAMPLE_ROWS, seed)
    others = hash_sample(len(other), SAMPLE_COLUMNS, ~seed)
    cosines: Float32 = (one[some] @ other[others].T).ravel()
    at = np.searchsorted(others, own[some])
    inside = np.flatnonzero(at < len(others))
    same = inside[others[at[inside]] == own[some][inside]]
    return np.delete(cosines, same * len(others) + at[same])


def hash_sample(count: int, size: int, seed: int) -> IntArray:
    """Up to `size` of the places 0..count-1, ascending: those of the smallest seeded hash."""
    if size >= count:
        return np.arange(count)
    words = seeded_hash(np.arange(count), seed)
    return np.sort(np.argpartition(words, size)[:size])


def quantile_sigma(similarities: npt.NDArray[np.floating[Any]], density: float) -> float:
    """The threshold that about a share `density` (0..1) of the similarities [S] reaches.

    It lies between two sampled values, so that no sampled pair sits on it: of equal values all are
    left out, unless they are the largest. At most `SIGMA_CEILING`; -1 when every pair or no pair is
    there to be kept.
    """
    count = len(similarities)
    kept = max(1, round(density * count))
    if kept >= count:
        return -1.0
    parted = np.partition(similarities, count - kept)
    below, above = float(parted[: count - kept].max()), float(parted[count - kept])
    if below == above:  # a tie: the next value above it, if there is one
        more = similarities[similarities > above]
        above = float(more.min()) if len(more) else above
    return min((below + above) / 2, SIGMA_CEILING)


def effective_sigma(
    sigma: float, similarities: npt.NDArray[np.floating[Any]], density: float
) -> float:
    """sigma_eff = max(sigma, the quantile of sampled similarities that leaves `density`).

    With density 2/k the paper's 0.8 stays where it works, and where nearly every pair passes it
    the cover does not collapse after a few picks (docs/decisions/0003-selection.md).
    """
    return max(sigma, quantile_sigma(similarities, density))


def row_sizes(rows: BitRows) -> IntArray:
    """Edges of each candidate, [C] int64."""
    sizes = np.zeros(len(rows), np.int64)
    for top in range(0, len(rows), BLOCK_ROWS):
        block = slice(top, top + BLOCK_ROWS)
        some = np.ascontiguousarray(rows[block])
        words = some.view(np.uint64) if rows.shape[1] % 8 == 0 else some
        sizes[block] = np.bitwise_count(words).sum(axis=1, dtype=np.uint32)
    return sizes


def edge_density(sizes: IntArray, columns: int) -> float:
    """Share of the C x N pairs that are edges, 0..1, from `row_sizes` [C]; 0 without pairs."""
    pairs = len(sizes) * columns
    return int(sizes.sum()) / pairs if pairs else 0.0
