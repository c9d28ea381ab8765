"""Uncertainty with noise that decays while labels grow: exploration first, exploitation later.

The noise is that of Kirsch et al. 2023 (Stochastic Batch Acquisition, arXiv 2106.12059): a standard
Gumbel number is added to beta log u. The order is then that of draws without replacement, each with
a probability proportional to u^beta. That beta grows from round to round is the idea of ClaSP PE
(Lueth et al. 2026, arXiv 2601.13677); `scheduled_power` is a schedule of ours.
"""

from __future__ import annotations

import numpy as np

from taudis.selection.vote import seeded_hash
from taudis.types import FloatArray, IntArray


def scheduled_power(labelled: int, budget: int) -> float:
    """Beta = max(1, labelled images / B): it grows by 1 with each round of B images."""
    return max(1.0, labelled / max(budget, 1))


def noised(figure: FloatArray, ids: IntArray, seed: int, power: float) -> FloatArray:
    """Beta log u + g [n] float64 of figures u [n] from 0 on; -inf where u is 0.

    g is a standard Gumbel number from a hash of seed and id [n], so it does not change when other
    images come or go.
    """
    uniform = (seeded_hash(ids, seed) + 0.5) / 2.0**64
    uniform = uniform.clip(np.finfo(float).tiny, np.nextafter(1.0, 0.0))
    with np.errstate(divide="ignore"):
        drawn: FloatArray = power * np.log(figure) - np.log(-np.log(uniform))
    return drawn
