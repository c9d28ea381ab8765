"""A cover of a sample of the universe: Bateni, Esfandiari, Mirrokni, KDD 2018, the paper's [26].

The instances to be covered are sampled by hash, before anything is multiplied, so that the
similarity step shrinks with them. Two sizes of the sample:

* `fast_columns`, n = 2C: a heuristic. Measured loss: benchmarks/selection.py.
* `guaranteed_columns`, n(epsilon, k): greedy on the sample, with the degree of an element capped by
  `cap_degrees`, covers at least (1 - 1/e - epsilon) of what the best k candidates cover, with
  probability 0.99.

Why the second holds. Let OPT be the cover of the best k of C sets.

Cap. Keep at most D = C ln(1/c) / (c k) edges of each element, c = epsilon / 4. Drop from the best
family its ck sets of least marginal cover, which loses at most c OPT, and add ck random sets: an
element that lost edges has D left and is hit with probability 1 - (1 - D/C)^(ck) >= 1 - c. So the
capped system has a family of k sets that covers (1 - c)(1 - c) OPT >= (1 - epsilon/2) OPT =: OPT',
at the least, and what a family covers there it covers in truth.

Sample. Take each element with probability p. A family of true cover t has Bin(t, p) in the sample.
By Bernstein it exceeds p t + d p OPT' with probability at most exp(-d^2 p OPT' / (2 + 2d/3)), and
the best family's falls below (1 - d) p OPT' with at most exp(-d^2 p OPT' / 2). With a union bound
over all families of k sets, both hold for all of them with probability 1 - f if

    p OPT' >= (2 + 2d/3) / d^2 * (ln binom(C, k) + ln(2/f)).

Greedy's family then covers at least ((1 - 1/e)(1 - d) - d) OPT' in truth, and with
d = (epsilon/2) / (2 - 1/e) that is (1 - 1/e - epsilon/2) OPT'.

p needs a lower bound of OPT: what greedy covers with a few candidates, counted on all elements.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import gammaln

from taudis.errors import SelectionError
from taudis.instances import IntArray
from taudis.similarity import BLOCK_ROWS, BitRows

FAST_COLUMNS = 2  # times C
FAILURE = 0.01  # probability that the guarantee does not hold


def fast_columns(candidates: int, instances: int) -> int:
    """The size of the heuristic's sample, n = min(N, 2C)."""
    return min(instances, FAST_COLUMNS * candidates)


def guaranteed_columns(
    epsilon: float, k: int, candidates: int, instances: int, *, reached: int
) -> int:
    """n(epsilon, k), the sample that the proof needs; `instances` where it needs them all.

    epsilon: in 0..1, not 0. reached: elements that some k candidates are known to cover, a lower
    bound of OPT. Raises SelectionError for an epsilon outside.
    """
    _check_epsilon(epsilon)
    best = (1 - epsilon / 2) * reached
    k = min(k, candidates)
    if best <= 0 or k <= 0:
        return instances
    delta = epsilon / 2 / (2 - 1 / math.e)
    families = float(gammaln(candidates + 1) - gammaln(k + 1) - gammaln(candidates - k + 1))
    needed = (2 + 2 * delta / 3) / delta**2 * (families + math.log(2 / FAILURE))
    return min(instances, math.ceil(needed / best * instances))


def degree_cap(epsilon: float, k: int, candidates: int) -> int:
    """D, the edges that an element keeps; at most `candidates`."""
    _check_epsilon(epsilon)
    share = epsilon / 4
    if share * k < 1:  # there is no random set to hit the capped elements
        return candidates
    return min(candidates, math.ceil(candidates * math.log(1 / share) / (share * k)))


def _check_epsilon(epsilon: float) -> None:
    if not 0 < epsilon < 1:
        raise SelectionError(f"epsilon: expected a number with 0 < epsilon < 1, got {epsilon}.")


def cap_degrees(rows: BitRows, cap: int) -> BitRows:
    """The bit rows [C, W] with at most `cap` edges an element: those of the first rows."""
    degree: IntArray = np.zeros(rows.shape[1] * 8, np.int64)
    kept = np.empty_like(rows)
    for top in range(0, len(rows), BLOCK_ROWS):
        bits = np.unpackbits(rows[top : top + BLOCK_ROWS], axis=1)
        before = degree + np.cumsum(bits, axis=0, dtype=np.int64)
        kept[top : top + BLOCK_ROWS] = np.packbits(bits & (before <= cap), axis=1)
        degree += bits.sum(axis=0, dtype=np.int64)
    return kept
