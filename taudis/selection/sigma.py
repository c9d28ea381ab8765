"""The threshold sigma of Algorithm 1 line 6: the least cosine of two similar instances.

The paper uses 0.8. Embeddings after ReLU have no negative elements, and the cosine of nearly every
pair is above 0.8. Every candidate then covers nearly the whole pool, and the cover cannot tell the
candidates apart. In this case sigma is raised to a quantile of the cosines of sampled pairs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from taudis.selection.unit_vectors import UnitVectors, as_pair
from taudis.selection.vote import seeded_hash
from taudis.types import Float32, FloatArray, IntArray

SAMPLE_ROWS, SAMPLE_COLUMNS = 128, 4096
CEILING = 1 - 1e-5  # largest sigma; closer to 1, float32 rounding would decide the edges


def effective_sigma(
    sigma: float, similarities: npt.NDArray[np.floating[Any]], density: float
) -> float:
    """sigma, raised if more than about a share `density` (0..1) of the similarities [S] reach it.

    sigma_eff = max(sigma, the (1 - density) quantile of the sampled similarities).
    """
    return max(sigma, quantile_sigma(similarities, density))


def quantile_sigma(similarities: npt.NDArray[np.floating[Any]], density: float) -> float:
    """The threshold that about a share `density` (0..1) of the similarities [S] reaches.

    The threshold lies between two different sampled values. Where equal values straddle the
    quantile, it lies above them, unless they are the largest. It is at most `CEILING`, and -1 if
    all similarities may reach it or there are none.
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
    return min((below + above) / 2, CEILING)


def sample_similarities(
    candidates: FloatArray | UnitVectors,
    pool: FloatArray | UnitVectors,
    *,
    own: IntArray,
    seed: int,
) -> Float32:
    """Cosines [S] of up to 128 candidates with up to 4096 pool instances, unordered.

    own: [C] the pool row of each candidate; the cosine of a candidate with itself is left out. The
    sample is drawn by a hash of seed and row. Raises DataError like `similarity_rows`.
    """
    one, other = as_pair(candidates, pool, own)
    some = hash_sample(len(one), SAMPLE_ROWS, seed)
    others = hash_sample(len(other), SAMPLE_COLUMNS, ~seed)
    cosines: Float32 = (one[some] @ other[others].T).ravel()
    at = np.searchsorted(others, own[some])
    inside = np.flatnonzero(at < len(others))
    same = inside[others[at[inside]] == own[some][inside]]
    return np.delete(cosines, same * len(others) + at[same])


def hash_sample(count: int, size: int, seed: int) -> IntArray:
    """Up to `size` of the integers 0..count-1 with the smallest seeded hashes, ascending."""
    if size >= count:
        return np.arange(count)
    words = seeded_hash(np.arange(count), seed)
    return np.sort(np.argpartition(words, size)[:size])
