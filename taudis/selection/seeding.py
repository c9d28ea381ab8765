"""Randomness that depends on a seed and an id alone, never on the order of the pool."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from taudis.types import IntArray

_MASK = (1 << 64) - 1


def _mix(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of splitmix64: a bijection of the 64-bit words."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def seeded_hash(ids: IntArray, seed: int) -> npt.NDArray[np.uint64]:
    """A pseudo-random word [n] of each id [n]: the same on every machine and in every numpy.

    A bijection for a given seed, so that different ids never tie. Any Python integer is a seed.
    """
    key = _mix(np.array([(seed * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) & _MASK], np.uint64))
    return _mix(_mix(ids.astype(np.int64).view(np.uint64) ^ key) + key)
