"""Uncertainty with noise that decays as labels grow: exploration first, exploitation later.

The noise is from Kirsch et al. 2023 (Stochastic Batch Acquisition, arXiv 2106.12059): a standard
Gumbel number is added to beta log u. The resulting order is that of draws without replacement with
probabilities proportional to u^beta. ClaSP PE (Lueth et al. 2026, arXiv 2601.13677) lets beta grow
from round to round; the schedule in `scheduled_power` is ours.
"""

from __future__ import annotations

import numpy as np

from taudis.selection.vote import seeded_hash
from taudis.types import FloatArray, IntArray


def scheduled_power(labelled: int, budget: int) -> float:
    """The power beta = max(1, labelled images / B); each round of B images adds 1 to it."""
    return max(1.0, labelled / max(budget, 1))


def noised(figure: FloatArray, ids: IntArray, seed: int, power: float) -> FloatArray:
    """The noised figures beta log u + g, [n] float64; -inf where u is 0.

    figure: u [n], at least 0. power: beta. g is a standard Gumbel number from a hash of seed and id
    [n], so it does not depend on other images.
    """
    uniform = (seeded_hash(ids, seed) + 0.5) / 2.0**64
    uniform = uniform.clip(np.finfo(float).tiny, np.nextafter(1.0, 0.0))
    with np.errstate(divide="ignore"):
        drawn: FloatArray = power * np.log(figure) - np.log(-np.log(uniform))
    return drawn
