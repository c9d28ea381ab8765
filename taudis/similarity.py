"""Algorithm 1 line 6: which pool instances each candidate is similar to, one bit an edge.

The cost is that of the matrix product: blocks of one fixed shape, compared with sigma and packed to
bits before the next block, so that memory beyond the result stays a few megabytes at any size.

An edge whose cosine differs from sigma by less than float32 rounding (about 1e-6) may fall either
way under another BLAS; block shape and row order are fixed, so one machine always agrees with
itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from taudis.errors import DataError, SelectionError
from taudis.instances import FloatArray, IntArray
from taudis.seeding import seeded_hash

BitRows = npt.NDArray[np.uint8]
"""[C, W] as `np.packbits` makes them: bit j of row i is the edge from candidate i to instance j.
W is ceil(N/8) rounded up to whole 64-bit words; the bits beyond N are 0."""

BLOCK_ROWS, BLOCK_COLUMNS = 512, 4096
SIGMA_CEILING = 1 - 1e-5  # closer to 1, float32 rounding would decide what is similar
_NOTHING_LEFT = 1e-6  # of a dimension's largest value: what centring leaves below it is rounding


def _float_matrix(name: str, array: FloatArray) -> None:
    """Raise DataError unless the array is a matrix of floats."""
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind != "f":
        got = f"{getattr(array, 'dtype', type(array))} {list(np.shape(array))}"
        raise DataError(f"{name}: expected a float matrix [n, D], got {got}.")


def _unit_rows(name: str, block: FloatArray) -> npt.NDArray[np.float32]:
    """Rows of length 1 in float32; zero rows stay zero. Raises DataError for NaN or infinity."""
    rows = block.astype(np.float32)
    if not np.isfinite(rows).all():
        raise DataError(f"{name}: expected finite numbers, got NaN or infinity; drop such rows.")
    peak = np.abs(rows).max(axis=1, initial=0, keepdims=True)
    rows /= np.where(peak > 0, peak, 1)  # first to 1, so that squares cannot overflow or vanish
    length = np.sqrt(np.einsum("nd,nd->n", rows, rows))[:, None]
    rows /= np.where(length > 0, length, 1)
    return rows


def prepare_embeddings(
    embeddings: FloatArray, *, centre: bool = False, standardise: bool = False
) -> FloatArray:
    """The embeddings [N,D] in which cosines are taken.

    `centre` subtracts the pool's mean; `standardise` does so and divides each dimension by its
    standard deviation (constant dimensions become 0). Without either the input is returned as it
    is, else a float32 copy [N,D]. Rows that equal the mean become zero vectors, which are similar
    to nothing but themselves. Raises DataError unless a finite float matrix.
    """
    _float_matrix("embeddings", embeddings)
    if not (centre or standardise) or not embeddings.size:
        return embeddings
    if not np.isfinite(embeddings).all():
        raise DataError("embeddings: expected finite numbers, got NaN or infinity.")
    mean = embeddings.mean(axis=0, dtype=np.float64)
    centred = embeddings.astype(np.float32)  # the one copy
    rounding = _NOTHING_LEFT * np.abs(centred).max(axis=0)
    centred -= mean.astype(np.float32)
    centred[np.abs(centred) <= rounding] = 0
    if standardise:
        spread = centred.std(axis=0, dtype=np.float64)
        centred /= np.where(spread > 0, spread, 1).astype(np.float32)
    return centred


def similarity_rows(
    candidates: FloatArray, pool: FloatArray, sigma: float, *, own: IntArray | None = None
) -> BitRows:
    """The edges of Algorithm 1 line 6: cosine(candidate, pool instance) >= sigma.

    candidates: [C,D] embeddings, any length of rows. pool: [N,D]. sigma: in 0..1, not 0.
    own: [C] the pool column of each candidate, which it covers whatever its embedding; None if
    the candidates are not part of the pool. A zero vector is similar to nothing but itself.
    Returns bit rows [C, W]. Raises DataError for arrays that do not fit or hold NaN, and
    SelectionError for a sigma outside.
    """
    _check_pair(candidates, pool, own)
    if not 0 < sigma <= 1:
        raise SelectionError(f"sigma: expected a cosine with 0 < sigma <= 1, got {sigma}.")
    units = _unit_rows("candidates", candidates)
    rows = np.zeros((len(units), -(-len(pool) // 64) * 8), np.uint8)
    threshold = np.float32(sigma)
    for left in range(0, len(pool), BLOCK_COLUMNS):
        columns = _unit_rows("pool", pool[left : left + BLOCK_COLUMNS]).T
        for top in range(0, len(units), BLOCK_ROWS):
            edges = np.packbits(units[top : top + BLOCK_ROWS] @ columns >= threshold, axis=1)
            rows[top : top + BLOCK_ROWS, left // 8 : left // 8 + edges.shape[1]] = edges
    if own is not None:
        rows[np.arange(len(own)), own >> 3] |= (128 >> (own & 7)).astype(np.uint8)
    return rows


def _check_pair(candidates: FloatArray, pool: FloatArray, own: IntArray | None) -> None:
    """Raise DataError unless candidates, pool and own fit each other."""
    _float_matrix("candidates", candidates)
    _float_matrix("pool", pool)
    if candidates.shape[1] != pool.shape[1]:
        raise DataError(
            f"candidates and pool: expected one embedding width, got {candidates.shape[1]} and "
            f"{pool.shape[1]}; take both from one model and one branch."
        )
    if own is not None and (
        own.shape != (len(candidates),)
        or (len(own) and not (own.min() >= 0 and own.max() < len(pool)))
    ):
        raise DataError(
            f"own: expected {len(candidates)} pool columns in 0..{len(pool) - 1}, "
            f"got shape {list(own.shape)}."
        )


def sample_similarities(
    candidates: FloatArray, pool: FloatArray, *, own: IntArray, seed: int
) -> npt.NDArray[np.float32]:
    """Cosines of up to 512 candidates with up to 4096 pool instances, without an instance's own.

    The rows are drawn by a hash of seed and position. Returns [S], unordered; empty when there is
    no pair. Raises DataError like `similarity_rows`.
    """
    _check_pair(candidates, pool, own)
    some = np.sort(np.argsort(seeded_hash(np.arange(len(candidates)), seed))[:BLOCK_ROWS])
    others = np.sort(np.argsort(seeded_hash(np.arange(len(pool)), ~seed))[:BLOCK_COLUMNS])
    cosines = _unit_rows("candidates", candidates[some]) @ _unit_rows("pool", pool[others]).T
    distinct: npt.NDArray[np.float32] = cosines[own[some][:, None] != others[None, :]]
    return distinct


def quantile_sigma(similarities: npt.NDArray[np.floating[Any]], density: float) -> float:
    """The threshold that about a share `density` (0..1) of the similarities [S] reaches.

    It lies between two sampled values, so that no sampled pair sits on it. At most
    `SIGMA_CEILING`; -1 when every pair or no pair is there to be kept.
    """
    count = len(similarities)
    kept = max(1, round(density * count))
    if kept >= count:
        return -1.0
    pair = np.partition(similarities, (count - kept - 1, count - kept))
    middle = (float(pair[count - kept - 1]) + float(pair[count - kept])) / 2
    return min(middle, SIGMA_CEILING)


def effective_sigma(
    sigma: float, similarities: npt.NDArray[np.floating[Any]], density: float
) -> float:
    """sigma_eff = max(sigma, the quantile of sampled similarities that leaves `density`).

    With density 2/k the paper's 0.8 stays where it works, and where nearly every pair passes it
    the cover does not collapse after a few picks (docs/decisions/0003-selection.md).
    """
    return max(sigma, quantile_sigma(similarities, density))


def edge_density(rows: BitRows, columns: int) -> float:
    """Share of the C x N pairs that are edges, 0..1; `columns` is N. 0 when there is no pair."""
    pairs = len(rows) * columns
    edges = sum(
        int(np.bitwise_count(rows[top : top + BLOCK_ROWS]).sum(dtype=np.int64))
        for top in range(0, len(rows), BLOCK_ROWS)
    )
    return edges / pairs if pairs else 0.0
