"""T_F: the detections of a pool that take part in a selection, those of a sufficient score.

Half of a weak model's detections with a score of 0.05 or more are not objects, and the most
uncertain masks are among these (docs/selection.md).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from taudis.selection.reasons import NO_DETECTIONS
from taudis.types import IntArray, Pool, Selection, Uncertainty


def without_low_scores(pool: Pool, least: float) -> tuple[Pool, IntArray]:
    """The pool with only the detections of a score of `least` or more, and their rows [n] in it.

    All images stay. If `least` is above 0, the kept embeddings are copied into memory.
    """
    if least <= 0:
        return pool, np.arange(len(pool.instances))
    rows = np.flatnonzero(pool.instances.scores >= least)
    measures = pool.uncertainty
    kept = replace(
        pool,
        instances=pool.instances.filter(rows),
        uncertainty=Uncertainty(measures.cm[rows], measures.ce[rows], measures.se[rows]),
        mask_areas=pool.mask_areas[rows],
    )
    return kept, rows


def of_whole_pool(selection: Selection, rows: IntArray, pool: Pool, least: float) -> Selection:
    """Turn a selection from the pool of `without_low_scores` into a selection from the whole pool.

    rows: [n] from `without_low_scores`, the rows of the kept detections in the whole pool.
    """
    none = f"no detections of a score from {least:g} on; seeded random place"
    return replace(
        selection,
        chosen=rows[selection.chosen],
        candidates=rows[selection.candidates],
        reasons=tuple(none if why == NO_DETECTIONS else why for why in selection.reasons),
        diagnostics={
            **selection.diagnostics,
            "least_score": least,
            "detections_below": len(pool.instances) - len(rows),
        },
    )
