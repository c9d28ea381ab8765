"""Algorithm 1 lines 4-8: from a pool of detected instances to an order of its images.

`algorithm_1` has one paragraph for each line of the paper. docs/decisions/0003-selection.md gives
the reasons for the choices that the paper leaves open.
"""

from __future__ import annotations

import numpy as np

from taudis.selection.candidates import order_instances
from taudis.selection.cover import greedy_cover
from taudis.selection.graph import similarity_graph
from taudis.selection.params import (
    Labelled,
    ProgressCallback,
    SelectionParams,
    check_budget,
    multiple,
)
from taudis.selection.reasons import coverage, explain, saturation_warning
from taudis.selection.unit_vectors import UnitVectors
from taudis.selection.vote import rank_images
from taudis.types import FloatArray, Pool, Selection


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

    budget: B images, at least 0; more than I means I. seed: any integer; it breaks ties and draws
    the samples. The result does not depend on the order of the pool's rows.
    Raises SelectionError for parameters out of range.
    """
    return algorithm_1(pool, "taudis", None, budget, labelled, params, seed, progress)


# long: the lines of Algorithm 1, one paragraph each, to be read in order
def algorithm_1(
    pool: Pool,
    strategy: str,
    known: FloatArray | None,
    budget: int,
    labelled: Labelled,
    params: SelectionParams,
    seed: int,
    progress: ProgressCallback | None,
) -> Selection:
    """Algorithm 1 lines 4-8, also for variants of it; other arguments as for `taudis`.

    strategy: the name in the result. known: [M,D] embeddings of labelled instances; what is similar
    to them counts as covered (beyond the paper). None: the algorithm of the paper.
    """
    images = check_budget(budget, pool)

    # Lines 4 and 5: the uncertainty of each instance; the alpha * B most uncertain ones become the
    # candidates. From here on, instances are numbered in priority order: candidates first, and the
    # smaller number wins a tie.
    order = order_instances(pool, images, labelled, params)
    rows, image, candidates = order.rows, order.image, order.candidates
    k = min(candidates, multiple(order.beta, images))

    # Line 6: the similarity graph between candidates and all instances.
    units = UnitVectors.of(
        pool.instances.embeddings, rows, centre=params.centre, standardise=params.standardise
    )
    graph = similarity_graph(
        units,
        candidates,
        picks=k,
        budget=images,
        params=params,
        seed=seed,
        known=known,
        progress=progress,
    )

    # Line 7: the beta * B candidates that cover the most instances.
    cover = greedy_cover(graph.edges, k, remainder=params.remainder, sizes=graph.sizes)
    cover = cover.scaled(graph.scale)

    # Line 8: the images by majority vote. `params.vote` "uncertainty" is beyond the paper.
    weights = cover.weights
    if params.vote == "uncertainty":
        weights = weights * order.uncertainty[cover.picks]
    ranking = rank_images(
        np.asarray(pool.image_ids),
        image,
        order.uncertainty,
        chosen=cover.picks,
        weights=weights,
        candidates=np.arange(candidates),
        seed=seed,
    )
    return Selection(
        strategy=strategy,
        order=ranking.order,
        utilities=ranking.votes,
        reasons=explain(ranking, cover, image, candidates),
        budget=images,
        votes=ranking.votes,
        chosen=rows[cover.picks],
        gains=cover.gains,
        layers=cover.layers,
        candidates=rows[:candidates],
        diagnostics={
            "sigma": params.sigma,
            **graph.describe(),
            "alpha": order.alpha,
            "beta": order.beta,
            "uncertainty": params.uncertainty,
            "remainder": params.remainder,
            **order.describe(),
            "chosen": len(cover.picks),
            **coverage(cover, len(rows)),
            "images_with_votes": int((ranking.votes > 0).sum()),
        },
        warnings=(
            *order.warnings,
            *graph.warnings,
            *saturation_warning(cover, images, candidates, graph.sigma, graph.sample),
        ),
    )
