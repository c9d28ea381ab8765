"""The table NAME -> query strategy; one signature for all.

A new strategy is a function with the signature of `QueryStrategy` and a line in `STRATEGIES`;
tests/taudis/test_strategies.py then holds it to the contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from taudis.baselines import random
from taudis.errors import SelectionError
from taudis.instances import Pool, Selection
from taudis.select import Labelled, SelectionParams, taudis


class QueryStrategy(Protocol):
    """Orders a pool for annotation.

    The result is a total order of all images, equal for equal content, seed and parameters, and
    for every permutation of the pool. Raises SelectionError for parameters it cannot work with.
    """

    def __call__(
        self, pool: Pool, *, budget: int, labelled: Labelled, params: SelectionParams, seed: int
    ) -> Selection:
        """Order the pool's images; `budget` B is the number of images to annotate next."""


STRATEGIES: Mapping[str, QueryStrategy] = MappingProxyType({"taudis": taudis, "random": random})
"""Every query strategy by the name that settings and command lines use."""


def query(
    name: str,
    pool: Pool,
    *,
    budget: int,
    labelled: Labelled,
    params: SelectionParams,
    seed: int,
) -> Selection:
    """Order the pool by the named strategy. Raises SelectionError for an unknown name."""
    try:
        strategy = STRATEGIES[name]
    except KeyError:
        raise SelectionError(
            f"strategy: expected one of {', '.join(sorted(STRATEGIES))}, got {name!r}."
        ) from None
    return strategy(pool, budget=budget, labelled=labelled, params=params, seed=seed)
