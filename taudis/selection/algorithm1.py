"""Algorithm 1 lines 4-8: from a pool of detected instances to an order of its images.

`taudis` below is the algorithm, one paragraph for each line of the paper. Where the paper leaves a
choice open, docs/decisions/0003-selection.md says what we chose and why.
"""

from __future__ import annotations

import numpy as np

from taudis.selection.cover import greedy_cover
from taudis.selection.graph import similarity_graph
from taudis.selection.params import (
    Labelled,
    Measure,
    ProgressCallback,
    SelectionParams,
    check_budget,
    multiple,
)
from taudis.selection.reasons import coverage, explain, saturation_warning
from taudis.selection.unit_vectors import UnitVectors
from taudis.selection.vote import rank_images
from taudis.types import BoolArray, FloatArray, IntArray, Pool, Selection


def acquisition(pool: Pool, measure: Measure) -> FloatArray:
    """The uncertainty [N] by which Algorithm 1 ranks instances, float64, larger is more uncertain.

    A small margin means a large uncertainty, so `cm` gives 1 - CM.
    """
    values: FloatArray = np.asarray(getattr(pool.uncertainty, measure), np.float64)
    return 1 - values if measure == "cm" else values


def priority_order(pool: Pool, uncertainty: FloatArray) -> IntArray:
    """Instance rows [N], the most uncertain first. No other place breaks ties of instances.

    Equal instances are ordered by image id, box, label, score, and last the bytes of the embedding,
    so every permutation of the pool gives the same order of instances.
    """
    order = np.argsort(-uncertainty, kind="stable")
    again = uncertainty[order[1:]] == uncertainty[order[:-1]]
    tied = np.flatnonzero(np.append(again, False) | np.insert(again, 0, False))
    order[tied] = _ties_broken(pool, uncertainty, order[tied])
    return order


def _ties_broken(pool: Pool, uncertainty: FloatArray, rows: IntArray) -> IntArray:
    """The instance rows [n], which share their uncertainty with others, in their order."""
    found = pool.instances
    keys = [-uncertainty[rows], pool.image_ids[found.image_index[rows]], *found.boxes[rows].T]
    keys += [found.labels[rows], found.scores[rows]]
    order = np.lexsort(keys[::-1])
    same = np.all([key[order[1:]] == key[order[:-1]] for key in keys], axis=0)
    rows = rows[order]
    for start, end in _runs(same):
        rows[start:end] = sorted(rows[start:end], key=lambda i: found.embeddings[i].tobytes())
    return rows


def _runs(same: BoolArray) -> list[tuple[int, int]]:
    """(start, end) of every stretch of rows that equal their neighbours; same: [N-1] bool."""
    steps = np.diff(np.concatenate(([0], same.astype(np.int8), [0])))
    starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1) + 1
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


# long: the lines of Algorithm 1, one paragraph each, to be read in order
def taudis(
    pool: Pool,
    *,
    budget: int,
    labelled: Labelled,
    params: SelectionParams,
    seed: int,
    progress: ProgressCallback | None = None,
) -> Selection:
    """Algorithm 1 lines 4-8: order the pool's images for annotation.

    budget: B images, at least 0; more than I means I. seed: any integer; it breaks the last ties.
    The result depends on the pool's content, not on the order of its rows.
    Raises SelectionError for parameters out of range.
    """
    images = check_budget(budget, pool)
    alpha, beta = params.multipliers(labelled)

    # Line 4: uncertainty of each instance. From here on rows are in priority order, so that a
    # smaller row wins every tie and the candidates are the first rows.
    by_row = acquisition(pool, params.uncertainty)
    rows = priority_order(pool, by_row)
    uncertainty, image = by_row[rows], pool.instances.image_index[rows]

    # Line 5: the alpha * B most uncertain instances are the candidates.
    candidates = np.arange(min(len(rows), multiple(alpha, images)))
    k = min(len(candidates), multiple(beta, images))

    # Line 6: the similarity graph between candidates and all instances.
    units = UnitVectors.of(
        pool.instances.embeddings, rows, centre=params.centre, standardise=params.standardise
    )
    graph = similarity_graph(
        units, len(candidates), picks=k, params=params, seed=seed, progress=progress
    )

    # Line 7: the beta * B candidates that cover most of it.
    cover = greedy_cover(graph.edges, k, remainder=params.remainder, sizes=graph.sizes)
    cover = cover.scaled(graph.scale)

    # Line 8: their images by majority vote.
    ranking = rank_images(
        np.asarray(pool.image_ids),
        image,
        uncertainty,
        chosen=cover.picks,
        weights=cover.weights,
        candidates=candidates,
        seed=seed,
    )
    return Selection(
        strategy="taudis",
        order=ranking.order,
        utilities=ranking.votes,
        reasons=explain(ranking, cover, image, len(candidates)),
        budget=images,
        votes=ranking.votes,
        chosen=rows[cover.picks],
        gains=cover.gains,
        layers=cover.layers,
        candidates=rows[candidates],
        diagnostics={
            "sigma": params.sigma,
            **graph.describe(),
            "alpha": alpha,
            "beta": beta,
            "uncertainty": params.uncertainty,
            "remainder": params.remainder,
            "instances": len(rows),
            "candidates": len(candidates),
            "chosen": len(cover.picks),
            **coverage(cover, len(rows)),
            "images_with_votes": int((ranking.votes > 0).sum()),
        },
        warnings=(
            *graph.warnings,
            *saturation_warning(cover, images, len(candidates), graph.sigma, graph.sample),
        ),
    )
