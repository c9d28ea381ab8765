"""Chooses the shortcut with the least cost, estimated on a sample of candidates and instances."""

from __future__ import annotations

import numpy as np

from taudis.selection.fast.prefix import Prefix, find_prefix
from taudis.selection.fast.rounded import Rounding, find_rounding
from taudis.selection.unit_vectors import UnitVectors
from taudis.types import IntArray, IntegerProduct

LEAST_PAIRS = 16_000_000  # for fewer pairs, the estimate costs more than a shortcut saves
_CANDIDATES, _INSTANCES = 128, 1024  # approximate sizes of the samples


def find_shortcut(
    candidates: UnitVectors,
    pool: UnitVectors,
    sigma: float,
    integer_product: IntegerProduct | None = None,
) -> Prefix | Rounding | None:
    """The shortcut with the least estimated cost; None if the matrix product is about as cheap.

    `Rounding` is considered only with an integer product.
    """
    if len(candidates) * len(pool) < LEAST_PAIRS:
        return None
    rows = candidates[_every_nth(len(candidates), _CANDIDATES)]
    columns = pool[_every_nth(len(pool), _INSTANCES)]
    found: list[Prefix | Rounding | None] = [find_prefix(rows, columns, sigma)]
    if integer_product is not None:
        found.append(find_rounding(rows, columns, sigma, integer_product))
    return min((each for each in found if each), key=lambda each: each.cost, default=None)


def _every_nth(count: int, wanted: int) -> IntArray:
    return np.arange(0, count, max(1, count // wanted))
