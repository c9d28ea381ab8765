"""The threshold sigma of Algorithm 1 line 6: how similar two instances must be for an edge.

The paper takes 0.8. Embeddings after ReLU are all alike, and nearly every pair passes that. Sigma
is then raised to a quantile of the cosines of sampled pairs, so that the cover can still tell
instances apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from taudis.selection.unit_vectors import UnitVectors, as_pair
from taudis.selection.vote import seeded_hash
from taudis.types import Float32, FloatArray, IntArray

SAMPLE_ROWS, SAMPLE_COLUMNS = 128, 4096
CEILING = 1 - 1e-5  # closer to 1, float32 rounding would decide what is similar


def effective_sigma(
    sigma: float, similarities: npt.NDArray[np.floating[Any]], density: float
) -> float:
    """sigma_eff = max(sigma, the quantile of sampled similarities that leaves `density`).

    With density 2/k the paper's 0.8 stays where it works. Where nearly every pair passes it (the
    mask branch after ReLU), k picks can still tell instances apart.
    """
    return max(sigma, quantile_sigma(similarities, density))


def quantile_sigma(similarities: npt.NDArray[np.floating[Any]], density: float) -> float:
    """The threshold that about a share `density` (0..1) of the similarities [S] reaches.

    It lies between two sampled values, so that it equals none. Of equal values all stay below it,
    unless they are the largest. At most `CEILING`; -1 if every pair shall reach it or there is
    none.
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
    """Cosines of up to 128 candidates with up to 4096 pool instances, unordered, [S].

    own: [C] the pool column of each candidate; its cosine with itself is left out. A hash of seed
    and position draws the rows. Raises DataError like `similarity_rows`.
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
    """Up to `size` of the places 0..count-1, ascending: those of the smallest seeded hash."""
    if size >= count:
        return np.arange(count)
    words = seeded_hash(np.arange(count), seed)
    return np.sort(np.argpartition(words, size)[:size])
