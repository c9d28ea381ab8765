"""`taudis_cover`, beyond the paper: cover the instances by images, without a vote.

Algorithm 1 chooses instances that cover the pool and then asks which images hold most of them; two
chosen instances of one image count twice, though both come with one label. Here the sets of the
cover are the images themselves: an image covers what any of its candidates covers. Greedy's picks
are the ranking; neither beta nor a vote is needed.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np

from taudis.errors import SelectionError
from taudis.selection.algorithm1 import acquisition, priority_order
from taudis.selection.cover import Cover, greedy_cover, scaled_counts
from taudis.selection.graph import similarity_graph
from taudis.selection.image_order import by_place
from taudis.selection.params import Labelled, Progress, SelectionParams, check_budget, multiple
from taudis.selection.reasons import coverage, covering_sentence, explain, saturation_warning
from taudis.selection.similarity import (
    SAMPLE_COLUMNS,
    SAMPLE_ROWS,
    BitRows,
    effective_sigma,
    hash_sample,
)
from taudis.selection.units import Float32, UnitVectors
from taudis.selection.vote import rank_images
from taudis.types import IntArray, Pool, Selection


def taudis_cover(
    pool: Pool,
    *,
    budget: int,
    labelled: Labelled,
    params: SelectionParams,
    seed: int,
    progress: Progress | None = None,
) -> Selection:
    """Lines 4-6 of Algorithm 1, then the B images whose candidates together cover most.

    The head of the order are the picks in pick order; the others follow as in `taudis`. `chosen`
    holds all candidates of the picked images, each with what it covers beyond those before it.
    Under `sigma_rule` adaptive sigma is raised where an image covers more than 1/B of the pool.
    Utilities are I - place. Arguments, errors and invariances as of `taudis`.
    """
    images = check_budget(budget, pool)
    if params.sketch == "guaranteed":
        raise SelectionError(
            "sketch: expected auto, never or always for taudis_cover, got 'guaranteed': the proof"
            " is for covers by single instances."
        )
    alpha, _ = params.multipliers(labelled)
    by_row = acquisition(pool, params.uncertainty)
    rows = priority_order(pool, by_row)
    uncertainty, image = by_row[rows], pool.instances.image_index[rows]
    candidates = np.arange(min(len(rows), multiple(alpha, images)))

    # Without picks, the ranking of the images is that of Algorithm 1 without votes: it breaks the
    # ties of the cover and orders what the cover leaves.
    none = np.zeros(0, np.int64)
    ranking = rank_images(
        np.asarray(pool.image_ids),
        image,
        uncertainty,
        chosen=none,
        weights=np.zeros(0),
        candidates=candidates,
        seed=seed,
    )
    held = np.zeros(len(pool), bool)
    held[image[candidates]] = True
    sets = ranking.order[held[ranking.order]]  # image rows that hold a candidate, best first

    units = UnitVectors.of(
        pool.instances.embeddings, rows, centre=params.centre, standardise=params.standardise
    )
    sample = functools.cache(lambda: _sample(units, image[candidates], sets, seed))
    sigma = params.sigma
    if params.sigma_rule == "adaptive":  # where an image covers 1/B, B of them hardly cover it all
        sigma = effective_sigma(sigma, sample(), 1 / max(images, 1))
    graph = similarity_graph(
        units,
        len(candidates),
        picks=images,
        params=replace(params, sigma=sigma, sigma_rule="flat"),
        seed=seed,
        progress=progress,
    )
    cover = greedy_cover(
        _joined(graph.edges, image[candidates], sets), images, remainder=params.remainder
    )
    chosen, gains, layers = _instances(
        cover, graph.edges, image[candidates], sets, restarts=params.remainder == "layers"
    )

    picked = sets[cover.picks]
    rest = ranking.order[~np.isin(ranking.order, picked)]
    order = np.concatenate([picked, rest])
    scaled = cover.scaled(graph.scale)
    no_votes = Cover(none, none, none, np.zeros(0), 0, None)  # `explain` takes picks of instances
    sentences = dict(zip(ranking.order.tolist(), explain(ranking, no_votes, image, len(candidates)),
                         strict=True))  # fmt: skip
    counts = np.bincount(image[candidates], minlength=len(pool))
    reasons = [
        covering_sentence(int(gain), int(layer), int(counts[row]))
        for row, gain, layer in zip(picked.tolist(), scaled.gains, scaled.layers, strict=True)
    ]
    return Selection(
        strategy="taudis_cover",
        order=order,
        utilities=by_place(order),
        reasons=(
            *reasons,
            *(sentences[row].replace("no votes", "not picked") for row in rest.tolist()),
        ),
        budget=images,
        chosen=rows[chosen],
        gains=scaled_counts(gains, layers, graph.scale),
        layers=layers,
        candidates=rows[candidates],
        diagnostics={
            "sigma": params.sigma,
            **graph.describe(),
            "alpha": alpha,
            "uncertainty": params.uncertainty,
            "remainder": params.remainder,
            "instances": len(rows),
            "candidates": len(candidates),
            "picked": len(picked),
            **coverage(scaled, len(rows)),
        },
        warnings=(
            *graph.warnings,
            *saturation_warning(cover, images, len(sets), sigma, sample),
        ),
    )


def _sample(units: UnitVectors, image: IntArray, sets: IntArray, seed: int) -> Float32:
    """How similar images are to instances: the cosine [S] of an image's closest candidate.

    Of up to 128 images of `sets` and 4096 rows of `units`, without an image's own candidates.
    image: [C], of each candidate. Several candidates reach further than one, so that a sigma chosen
    by single ones would be too low.
    """
    columns = hash_sample(len(units), SAMPLE_COLUMNS, ~seed)
    others = units[columns].T
    closest = [np.zeros(0, np.float32)]
    for row in sets[hash_sample(len(sets), SAMPLE_ROWS, seed)].tolist():
        own = np.flatnonzero(image == row)
        cosines = (units[own] @ others).max(axis=0)
        closest.append(cosines[~np.isin(columns, own)])
    return np.concatenate(closest)


def _joined(edges: BitRows, image: IntArray, sets: IntArray) -> BitRows:
    """What each image of `sets` [S] covers: the union of its candidates' rows [C, W]; [S, W]."""
    joined = np.zeros((len(sets), edges.shape[1]), np.uint8)
    place = np.full(int(sets.max(initial=-1)) + 1, -1, np.int64)
    place[sets] = np.arange(len(sets))
    for row, at in enumerate(place[image].tolist()):
        joined[at] |= edges[row]
    return joined


def _instances(
    cover: Cover, edges: BitRows, image: IntArray, sets: IntArray, *, restarts: bool
) -> tuple[IntArray, IntArray, IntArray]:
    """The candidates of the picked images in pick order, what each newly covers, and its layer.

    The gains of an image's candidates add up to its own. `restarts`: a layer covers from nothing.
    """
    chosen: list[int] = []
    gains: list[int] = []
    layers: list[int] = []
    by_image = np.argsort(image, kind="stable")
    ends = np.searchsorted(image[by_image], np.arange(int(image.max(initial=-1)) + 2))
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
