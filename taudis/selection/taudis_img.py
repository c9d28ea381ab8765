"""Algorithm 2, TAUDIS-IMG: uncertainty and diversity of whole images instead of instances.

Where the paper is silent it goes as `taudis.selection.algorithm1` does: the adaptive sigma, what
follows once the cover is complete, and a total order of the pool
(docs/decisions/0003-selection.md).
"""

from __future__ import annotations

import numpy as np

from taudis.selection.cover import Cover, greedy_cover
from taudis.selection.graph import similarity_graph
from taudis.selection.image_order import (
    by_place,
    detections_by_image,
    figure_reasons,
    order_by,
    weighted_by_image,
)
from taudis.selection.params import Labelled, Progress, SelectionParams, check_budget, multiple
from taudis.selection.reasons import counted, coverage, saturation_warning
from taudis.selection.units import UnitVectors
from taudis.types import FloatArray, IntArray, Pool, Selection

WSE = "weighted segmentation entropy"


def taudis_img(
    pool: Pool,
    *,
    budget: int,
    labelled: Labelled,
    params: SelectionParams,
    seed: int,
    progress: Progress | None = None,
) -> Selection:
    """Algorithm 2: the B of the most uncertain images that cover most of the pool's images.

    Read from `params`: alpha_img, sigma, sigma_rule, remainder, and centre and standardise, which
    here apply to the image embeddings. Images without detections are no candidates. The picks in
    pick order, the other candidates by WSE, the other images by WSE, those without detections.
    Utilities are I - place. Raises SelectionError for a budget below 0 or an image without an area.
    """
    images = check_budget(budget, pool)

    # Line 3: WSE of each image. From here on images are in this order, so that a smaller number
    # wins every tie and the candidates are the first ones.
    entropy = weighted_by_image(pool, pool.uncertainty.se)
    rows = order_by(pool, entropy, seed)

    # Line 4: the alpha * B images of the highest WSE are the candidates.
    found = int((detections_by_image(pool) > 0).sum())
    candidates = np.arange(min(found, multiple(params.alpha_img, images)))
    k = min(len(candidates), images)

    # Line 5: the similarity graph between candidates and all images.
    embeddings = UnitVectors.of(
        pool.image_embeddings, rows, centre=params.centre, standardise=params.standardise
    )
    graph = similarity_graph(
        embeddings, len(candidates), picks=k, params=params, seed=seed, progress=progress
    )

    # Line 6: the B candidates that cover most of it; then, beyond the paper, everything else.
    cover = greedy_cover(graph.edges, k, remainder=params.remainder, sizes=graph.sizes)
    cover = cover.scaled(graph.scale)
    tail = np.delete(rows, cover.picks)
    order = np.concatenate([rows[cover.picks], tail])
    return Selection(
        strategy="taudis_img",
        order=order,
        utilities=by_place(order),
        reasons=(
            *_picked(pool, cover, rows, entropy),
            *figure_reasons(pool, tail, "not picked; " + WSE, entropy),
        ),
        budget=images,
        diagnostics={
            "sigma": params.sigma,
            **graph.describe(),
            "alpha_img": params.alpha_img,
            "remainder": params.remainder,
            "candidates": len(candidates),
            "picked": len(cover.picks),
            **coverage(cover, len(rows)),
        },
        warnings=(
            *graph.warnings,
            *saturation_warning(cover, images, len(candidates), graph.sigma, graph.sample),
        ),
    )


def _picked(pool: Pool, cover: Cover, rows: IntArray, entropy: FloatArray) -> list[str]:
    """One sentence a pick: how many images it covers that none before did, and its WSE."""
    found = detections_by_image(pool)
    sentences = []
    for pick, gain, layer in zip(cover.picks, cover.gains, cover.layers, strict=True):
        row = int(rows[pick])
        covers = (
            f"covers {counted(int(gain), 'image')} that no pick before covered"
            if layer == 0
            else "picked after the cover was complete"
        )
        of = counted(int(found[row]), "detection")
        sentences.append(f"{covers}; {WSE} {entropy[row]:.3f} of its {of}")
    return sentences
