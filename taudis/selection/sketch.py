"""A cover of a sample of the universe: Bateni, Esfandiari, Mirrokni, KDD 2018, the paper's [26].

The instances to be covered are sampled by hash, before anything is multiplied, so that the
similarity step shrinks with them. Two sizes of the sample:

* `fast_columns`, n = 2C: a heuristic. Measured loss: benchmarks/selection.py.
* `guaranteed_columns`, n(epsilon, k): greedy on the sample, with the degree of an element capped by
  `cap_degrees`, covers at least (1 - 1/e - epsilon) of what the best k candidates cover, with
  probability 0.99.

Why the second holds. Let OPT be the cover of the best k of C sets.

Cap. Let c = epsilon / 4 and r = floor(ck), at least 1. Keep at most D = C ln(1/c) / r edges of each
element. Drop from the best family its r sets of least marginal cover, which loses at most r/k <= c
of OPT, and add r random sets: an element that lost edges has D left and is hit with probability
1 - (1 - D/C)^r >= 1 - exp(-D r / C) = 1 - c. So the capped system has a family of k sets that
covers (1 - c)(1 - c) OPT >= (1 - epsilon/2) OPT =: OPT', and what a family covers there it covers
in truth. (An element keeps its first D edges whatever else is sampled: only the sample is capped.)

Sample. Draw n = pN elements without replacement, by a hash that nothing else uses. A family of true
cover t has p t of them on average. Sums without replacement are no more spread than those with it
(Hoeffding 1963, section 6), so Bernstein's bound for Bin(n, t/N) holds. A family below a target T,
t < T <= OPT', shows p t + d p OPT' or more with probability at most exp(-d^2 p OPT' / (2 + 2d/3));
the best family of the capped system shows less than (1 - d) p OPT' with at most
exp(-d^2 p OPT' / 2). By a union bound over all families of k sets, neither happens with probability
1 - f if

    p OPT' >= (2 + 2d/3) / d^2 * (ln binom(C, k) + ln(2/f)).

Greedy's family then covers at least T = ((1 - 1/e)(1 - d) - d) OPT' in truth, since a family that
covers less shows less than (1 - 1/e)(1 - d) p OPT' in the sample, which greedy reaches. With
d = (epsilon/2) / (2 - 1/e), T = (1 - 1/e - epsilon/2) OPT' >= (1 - 1/e - epsilon) OPT.

p needs a lower bound of OPT: what greedy covers with a few candidates, counted on all elements.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import gammaln

from taudis.errors import SelectionError
from taudis.selection.similarity import BitRows
from taudis.types import IntArray

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
    replaced = math.floor(share * k)
    if not replaced:  # there is no random set to hit the capped elements
        return candidates
    return min(candidates, math.ceil(candidates * math.log(1 / share) / replaced))


def _check_epsilon(epsilon: float) -> None:
    if not 0 < epsilon < 1:
        raise SelectionError(f"epsilon: expected a number with 0 < epsilon < 1, got {epsilon}.")


def cap_degrees(rows: BitRows, cap: int) -> BitRows:
    """At most `cap` edges an element, those of the first rows; `rows` [C, W] are changed."""
    degree: IntArray = np.zeros(rows.shape[1] * 8, np.int32)
    for row in rows:
        bits = np.unpackbits(row)
        row[:] = np.packbits(bits & (degree < cap))
        degree += bits
    return rows
