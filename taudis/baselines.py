"""Appendix D: what TAUDIS is compared with. Here the first of them, random sampling."""

from __future__ import annotations

import numpy as np

from taudis.instances import Pool, Selection
from taudis.seeding import seeded_hash
from taudis.select import Labelled, SelectionParams, check_budget


def random(
    pool: Pool, *, budget: int, labelled: Labelled, params: SelectionParams, seed: int
) -> Selection:
    """Images in the order of a hash of seed and image id (the paper's random strategy).

    An image keeps its place relative to the others when images come or go, and whatever the order
    of the pool's rows. Neither `labelled` nor `params` is looked at. Raises SelectionError for a
    budget below 0.
    """
    images = check_budget(budget, pool)
    words = seeded_hash(pool.image_ids, seed)
    return Selection(
        strategy="random",
        order=np.argsort(words, kind="stable"),
        utilities=1 - words / 2.0**64,
        reasons=("seeded random place",) * len(pool),
        budget=images,
    )
