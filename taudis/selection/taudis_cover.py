"""`taudis_cover`, a strategy beyond the paper: choose images, not instances, to cover the pool.

Algorithm 1 chooses instances that cover the pool, and then the images with the most chosen
instances. But people label whole images. Here greedy maximum cover chooses images directly. An
image covers every pool instance that one of its candidates covers. The picks already are an order
of images, so neither beta nor a vote is needed.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np

from taudis.errors import SelectionError
from taudis.selection.baselines import by_place
from taudis.selection.candidates import InstanceOrder, order_instances
from taudis.selection.cover import Cover, greedy_cover, scaled_counts
from taudis.selection.graph import similarity_graph
from taudis.selection.params import (
    Labelled,
    ProgressCallback,
    SelectionParams,
    check_budget,
)
from taudis.selection.reasons import (
    coverage,
    covering_sentence,
    explain_rest,
    saturation_warning,
)
from taudis.selection.sigma import SAMPLE_COLUMNS, SAMPLE_ROWS, effective_sigma, hash_sample
from taudis.selection.similarity import BitRows
from taudis.selection.unit_vectors import UnitVectors
from taudis.selection.vote import Ranking, rank_images
from taudis.types import Float32, FloatArray, IntArray, Pool, Selection


def check_sketch(params: SelectionParams) -> None:
    """Raise SelectionError for `sketch="guaranteed"`, whose proof does not hold for images."""
    if params.sketch == "guaranteed":
        raise SelectionError(
            "sketch: expected auto, never or always for taudis_cover, got 'guaranteed': the proof"
            " is for covers by single instances."
        )


def taudis_cover(
    pool: Pool,
    *,
    budget: int,
    labelled: Labelled,
    params: SelectionParams,
    seed: int,
    progress: ProgressCallback | None = None,
) -> Selection:
    """Lines 4-6 of Algorithm 1, then the B images whose candidates together cover most.

    The order starts with the picked images in pick order. The other images follow as in `taudis`.
    `chosen` holds all candidates of the picked images. The gain of a candidate is the number of
    instances that it covers and no earlier candidate does. Unless `sigma_rule` is flat, sigma is
    raised if an image covers more than 1/B of the pool on average. Utilities are I for the first
    image down to 1. Arguments, errors and invariances are those of `taudis`. Also raises
    SelectionError as `check_sketch` does.
    """
    return cover_by_images(
        pool, "taudis_cover", None, None, budget, labelled, params, seed, progress
    )


# long: one paragraph for each line of Algorithm 1, read from top to bottom
def cover_by_images(
    pool: Pool,
    strategy: str,
    known: FloatArray | None,
    costs: FloatArray | None,
    budget: int,
    labelled: Labelled,
    params: SelectionParams,
    seed: int,
    progress: ProgressCallback | None,
) -> Selection:
    """`taudis_cover`, also for variants of it; other arguments as for `taudis_cover`.

    strategy: the name in the result. known: [M,D] embeddings of labelled instances; what is similar
    to them counts as covered. costs: [I] above 0. With costs, images are picked by gain / cost.
    """
    images = check_budget(budget, pool)
    check_sketch(params)

    # Lines 4 and 5: the instances in priority order, candidates first.
    instances = order_instances(pool, images, labelled, params)
    rows, image, candidates = instances.rows, instances.image, instances.candidates
    owner = instances.owner  # image row of each candidate

    # Algorithm 1's ranking of images without votes. It breaks ties of the cover, and it orders the
    # images that the cover does not pick.
    ranking = _rank_without_votes(pool, instances, seed)
    sets = ranking.order[np.isin(ranking.order, owner)]  # images that hold a candidate

    # Line 6: the similarity graph between candidates and all instances.
    units = UnitVectors.of(
        pool.instances.embeddings, rows, centre=params.centre, standardise=params.standardise
    )
    sample = functools.cache(lambda: _sample(units, owner, sets, seed))
    sigma = params.sigma
    if params.sigma_rule != "flat":  # if an image covers 1/B, B images hardly cover everything
        sigma = effective_sigma(sigma, sample(), 1 / max(images, 1))
    flat = replace(params, sigma=sigma, sigma_rule="flat")
    graph = similarity_graph(
        units,
        candidates,
        picks=images,
        budget=images,
        params=flat,
        seed=seed,
        known=known,
        progress=progress,
    )

    # Instead of lines 7 and 8: the B images that cover the most instances.
    cover = greedy_cover(
        _joined(graph.edges, owner, sets),
        images,
        remainder=params.remainder,
        costs=None if costs is None else costs[sets],
    )
    chosen, gains, layers = _instances(
        cover, graph.edges, owner, sets, restarts=params.remainder == "layers"
    )
    picked = sets[cover.picks]
    rest = ranking.order[~np.isin(ranking.order, picked)]
    order = np.concatenate([picked, rest])
    scaled = cover.scaled(graph.scale)
    return Selection(
        strategy=strategy,
        order=order,
        utilities=by_place(order),
        reasons=(
            *_covering(scaled, picked, owner),
            *explain_rest(ranking, rest, image, candidates, "not picked"),
        ),
        budget=images,
        chosen=rows[chosen],
        gains=scaled_counts(gains, layers, graph.scale),
        layers=layers,
        candidates=rows[:candidates],
        diagnostics={
            "sigma": params.sigma,
            **graph.describe(),
            "alpha": instances.alpha,
            "uncertainty": params.uncertainty,
            "remainder": params.remainder,
            **instances.describe(),
            "picked": len(picked),
            **coverage(scaled, len(rows)),
        },
        warnings=(
            *instances.warnings,
            *graph.warnings,
            *saturation_warning(cover, images, len(sets), sigma, sample),
        ),
    )


def _rank_without_votes(pool: Pool, instances: InstanceOrder, seed: int) -> Ranking:
    """The ranking of Algorithm 1 as if no instance were chosen: all images without votes."""
    return rank_images(
        np.asarray(pool.image_ids),
        instances.image,
        instances.uncertainty,
        chosen=np.zeros(0, np.int64),
        weights=np.zeros(0),
        candidates=np.arange(instances.candidates),
        seed=seed,
    )


def _sample(units: UnitVectors, owner: IntArray, sets: IntArray, seed: int) -> Float32:
    """Sampled similarities [S] of an image to an instance: the cosine of its closest candidate.

    An image with several candidates covers more than each of them, so a sigma from the similarities
    of single candidates would be too low. The sample has up to 128 images of `sets` and 4096 rows
    of `units`, without pairs of an image and its own candidate. owner: [C] image row of each
    candidate.
    """
    columns = hash_sample(len(units), SAMPLE_COLUMNS, ~seed)
    others = units[columns].T
    closest = [np.zeros(0, np.float32)]
    for row in sets[hash_sample(len(sets), SAMPLE_ROWS, seed)].tolist():
        own = np.flatnonzero(owner == row)
        cosines = (units[own] @ others).max(axis=0)
        closest.append(cosines[~np.isin(columns, own)])
    return np.concatenate(closest)


def _joined(edges: BitRows, owner: IntArray, sets: IntArray) -> BitRows:
    """The instances that each image of `sets` [S] covers, as bit rows [S, W].

    The row of an image is the union of its candidates' rows of `edges` [C, W].
    """
    joined = np.zeros((len(sets), edges.shape[1]), np.uint8)
    place = np.full(int(sets.max(initial=-1)) + 1, -1, np.int64)
    place[sets] = np.arange(len(sets))
    for row, at in enumerate(place[owner].tolist()):
        joined[at] |= edges[row]
    return joined


def _instances(
    cover: Cover, edges: BitRows, owner: IntArray, sets: IntArray, *, restarts: bool
) -> tuple[IntArray, IntArray, IntArray]:
    """The candidates of the picked images in pick order, their gains, and their layers.

    The gain of a candidate is the number of instances that it newly covers. The gains of an image's
    candidates add up to the gain of the image. restarts: whether each layer is a new cover.
    """
    chosen: list[int] = []
    gains: list[int] = []
    layers: list[int] = []
    by_image = np.argsort(owner, kind="stable")
    ends = np.searchsorted(owner[by_image], np.arange(int(owner.max(initial=-1)) + 2))
    free, current = np.full(edges.shape[1], 255, np.uint8), 0
    for pick, layer in zip(cover.picks.tolist(), cover.layers.tolist(), strict=True):
        if restarts and layer != current:
            free, current = np.full(edges.shape[1], 255, np.uint8), layer
        row = int(sets[pick])
        for candidate in by_image[ends[row] : ends[row + 1]].tolist():
            new = edges[candidate] & free
            free &= ~new
            chosen.append(candidate)
            gains.append(int(np.bitwise_count(new).sum(dtype=np.int64)))
            layers.append(layer)
    return np.array(chosen, np.int64), np.array(gains, np.int64), np.array(layers, np.int64)


def _covering(cover: Cover, picked: IntArray, owner: IntArray) -> list[str]:
    """One sentence for each picked image. owner: [C] image row of each candidate."""
    uncertain = np.bincount(owner, minlength=int(picked.max(initial=-1)) + 1)
    columns = (cover.gains.tolist(), cover.layers.tolist(), uncertain[picked].tolist())
    return [covering_sentence(*figures) for figures in zip(*columns, strict=True)]
