"""Algorithm 2, TAUDIS-IMG: uncertainty and diversity of whole images instead of instances.

The details that the paper leaves open are the same as for Algorithm 1: the adaptive sigma, the
picks after the cover is complete, and a total order of the pool (docs/decisions/0003-selection.md).
"""

from __future__ import annotations

import numpy as np

from taudis.selection.baselines import (
    WSE,
    by_place,
    detections_by_image,
    figure_reasons,
    order_by,
    weighted_by_image,
)
from taudis.selection.cover import Cover, greedy_cover
from taudis.selection.graph import similarity_graph
from taudis.selection.params import (
    Labelled,
    ProgressCallback,
    SelectionParams,
    check_budget,
    multiple,
)
from taudis.selection.reasons import counted, coverage, saturation_warning
from taudis.selection.unit_vectors import UnitVectors
from taudis.types import FloatArray, IntArray, Pool, Selection


# long: one paragraph for each line of Algorithm 2, read from top to bottom
def taudis_img(
    pool: Pool,
    *,
    budget: int,
    labelled: Labelled,
    params: SelectionParams,
    seed: int,
    progress: ProgressCallback | None = None,
) -> Selection:
    """Algorithm 2: among the most uncertain images, the B that cover most of the pool's images.

    The order starts with the picked images in pick order. The others follow by WSE, images without
    detections last; these are never candidates. `centre` and `standardise` of `params` apply to the
    image embeddings; `uncertainty`, `alpha` and `beta` are not read. Utilities are I for the first
    image down to 1. Raises SelectionError for a budget below 0 or an image without an area.
    """
    images = check_budget(budget, pool)

    # Line 3: the WSE of each image. From here on, images are numbered by WSE, the highest first:
    # candidates come first, and the smaller number wins a tie.
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
        embeddings,
        len(candidates),
        picks=k,
        budget=images,
        params=params,
        seed=seed,
        progress=progress,
    )

    # Line 6: the B candidates that cover the most images. Beyond the paper, all others follow.
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
    """One sentence for each picked image: how many images it newly covers, and its WSE.

    rows: [I] image rows by WSE; `cover.picks` index it. entropy: [I] WSE of each image row.
    """
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
