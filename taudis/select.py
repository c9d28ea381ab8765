"""Algorithm 1 lines 4-8: from a pool of detected instances to an order of its images.

`taudis` below is the algorithm; what the paper leaves open is decided in
docs/decisions/0003-selection.md.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from taudis.cover import Cover, Remainder, greedy_cover
from taudis.errors import SelectionError
from taudis.explain import explain, saturation_warning
from taudis.instances import FloatArray, IntArray, Pool, Selection
from taudis.similarity import (
    edge_density,
    effective_sigma,
    prepare_embeddings,
    sample_similarities,
    similarity_rows,
)
from taudis.vote import rank_images

Measure = Literal["se", "ce", "cm"]
SigmaRule = Literal["adaptive", "flat"]

ALPHA_PER_INSTANCE, BETA_PER_INSTANCE = 2.5, 1.5  # Appendix C: alpha 2.5x, beta 1-2x
PAPER_MULTIPLIERS = {"coco": (150.0, 40.0), "overhead": (50.0, 30.0)}  # Appendix C


@dataclass(frozen=True, eq=False)
class Labelled:
    """What a query strategy may know of the labelled images."""

    mean_instances: float  # labelled instances per image of the *seed set*, then frozen
    image_embeddings: FloatArray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    # [L,D'] of every labelled image, or empty

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean_instances) and self.mean_instances >= 0):
            raise SelectionError(
                f"Labelled.mean_instances: expected a number from 0 on, got {self.mean_instances}."
            )
        if self.image_embeddings.ndim != 2:
            raise SelectionError(
                "Labelled.image_embeddings: expected [L, D'], "
                f"got shape {list(self.image_embeddings.shape)}."
            )


@dataclass(frozen=True)
class SelectionParams:
    """Hyper-parameters of Algorithm 1. Raises SelectionError for values outside their range."""

    uncertainty: Measure = "se"  # section 4.1 of the paper chooses SE
    alpha: float | None = None  # C = alpha * B candidates; None: 2.5 x labelled.mean_instances
    beta: float | None = None  # k = beta * B chosen; None: 1.5 x labelled.mean_instances
    sigma: float = 0.8  # cosine from which on two instances are similar
    sigma_rule: SigmaRule = "adaptive"  # raise sigma where it is too low to tell apart, or `flat`
    remainder: Remainder = "layers"  # the picks after the cover is complete
    centre: bool = False  # subtract the pool's mean embedding
    standardise: bool = False  # centre, and divide each dimension by its standard deviation

    def __post_init__(self) -> None:
        _one_of("uncertainty", self.uncertainty, get_args(Measure))
        _one_of("sigma_rule", self.sigma_rule, get_args(SigmaRule))
        _one_of("remainder", self.remainder, get_args(Remainder))
        for name in ("alpha", "beta"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 1):
                raise SelectionError(f"{name}: expected a number above 1 or None, got {value}.")
        if self.alpha is not None and self.beta is not None and self.alpha <= self.beta:
            raise SelectionError(
                f"alpha and beta: expected alpha > beta > 1, got {self.alpha} and {self.beta}; "
                "raise alpha, lower beta, or leave one of them to its rule (None)."
            )
        if not 0 < self.sigma < 1:
            raise SelectionError(f"sigma: expected 0 < sigma < 1, got {self.sigma}.")

    @classmethod
    def paper(cls, dataset: Literal["coco", "overhead"] | None = None) -> SelectionParams:
        """What the paper ran: SE, sigma 0.8 flat, greedy on to k picks whatever they gain.

        `dataset` gives its alpha and beta of Appendix C (150 and 40, 50 and 30); None leaves them
        to the rule, 2.5 x and 1.5 x the mean number of instances.
        """
        if dataset is not None:
            _one_of("dataset", dataset, tuple(PAPER_MULTIPLIERS))
        alpha, beta = PAPER_MULTIPLIERS[dataset] if dataset else (None, None)
        return cls(alpha=alpha, beta=beta, sigma_rule="flat", remainder="uncertainty")

    def multipliers(self, labelled: Labelled) -> tuple[float, float]:
        """(alpha, beta) with alpha > beta > 1; given values win, the rule gives way to them."""
        mean = max(labelled.mean_instances, 1.0)
        alpha, beta = ALPHA_PER_INSTANCE * mean, BETA_PER_INSTANCE * mean
        if self.alpha is not None:
            alpha = self.alpha
            beta = self.beta or (beta if beta < alpha else (1 + alpha) / 2)
        elif self.beta is not None:
            beta = self.beta
            alpha = max(alpha, beta * ALPHA_PER_INSTANCE / BETA_PER_INSTANCE)
        return alpha, beta


def _one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    """Raise SelectionError unless the value is one of the known ones."""
    if value not in known:
        raise SelectionError(f"{name}: expected one of {', '.join(known)}, got {value!r}.")


def check_budget(budget: int, pool: Pool) -> int:
    """The budget B, at most the pool's images. Raises SelectionError unless an integer >= 0."""
    try:
        images = operator.index(budget)
    except TypeError:
        raise SelectionError(f"budget: expected a number of images, got {budget!r}.") from None
    if images < 0:
        raise SelectionError(f"budget: expected a number of images from 0 on, got {images}.")
    return min(images, len(pool))


def acquisition(pool: Pool, measure: Measure) -> FloatArray:
    """The uncertainty [N] by which Algorithm 1 ranks, float64, larger is more uncertain.

    The margin is uncertain when small, so `cm` gives 1 - CM.
    """
    values: FloatArray = np.asarray(getattr(pool.uncertainty, measure), np.float64)
    return 1 - values if measure == "cm" else values


def priority_order(pool: Pool, uncertainty: FloatArray) -> IntArray:
    """Instance rows [N], the most uncertain first: the one place where instances' ties are broken.

    Ties go by image id, box, label, score, and last the bytes of the embedding, so that the order
    of the instances is the same for every permutation of the pool.
    """
    found = pool.instances
    keys = [-uncertainty, pool.image_ids[found.image_index], *found.boxes.T]
    keys += [found.labels, found.scores]
    order = np.lexsort(keys[::-1])
    same = np.all([key[order[1:]] == key[order[:-1]] for key in keys], axis=0)
    for start, end in _runs(same):
        order[start:end] = sorted(order[start:end], key=lambda i: found.embeddings[i].tobytes())
    return order


def _runs(same: FloatArray) -> list[tuple[int, int]]:
    """(start, end) of every stretch of rows that equal their neighbours; same: [N-1] bool."""
    steps = np.diff(np.concatenate(([0], same.astype(np.int8), [0])))
    starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1) + 1
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def taudis(
    pool: Pool, *, budget: int, labelled: Labelled, params: SelectionParams, seed: int
) -> Selection:
    """Algorithm 1 lines 4-8: order the pool's images for annotation.

    budget: B images, at least 0; more than I means I. seed: any integer; it decides only what
    nothing else does. The result depends on the pool's content, not on the order of its rows.
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
    candidates = np.arange(min(len(rows), math.ceil(alpha * images)))
    k = min(len(candidates), math.ceil(beta * images))

    # Line 6: the similarity graph between candidates and all instances.
    embeddings = prepare_embeddings(
        pool.instances.embeddings[rows], centre=params.centre, standardise=params.standardise
    )
    sampled = sample_similarities(embeddings[candidates], embeddings, own=candidates, seed=seed)
    density = min(1.0, 2 / max(k, 1))
    adaptive = params.sigma_rule == "adaptive"
    sigma = effective_sigma(params.sigma, sampled, density) if adaptive else params.sigma
    edges = similarity_rows(embeddings[candidates], embeddings, sigma, own=candidates)

    # Line 7: the beta * B candidates that cover most of it.
    cover = greedy_cover(edges, k, remainder=params.remainder)

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
            "sigma_eff": sigma,
            "density": edge_density(edges, len(rows)),
            "alpha": alpha,
            "beta": beta,
            "uncertainty": params.uncertainty,
            "remainder": params.remainder,
            "instances": len(rows),
            "candidates": len(candidates),
            "chosen": len(cover.picks),
            **_coverage(cover, len(rows)),
            "images_with_votes": int((ranking.votes > 0).sum()),
        },
        warnings=saturation_warning(cover, images, len(candidates), sigma, sampled),
    )


def _coverage(cover: Cover, instances: int) -> dict[str, float | int | str | None]:
    """How far the first layer got: share of all instances, and the pick that completed it."""
    return {
        "coverage": cover.covered / instances if instances else 0.0,
        "coverable": cover.coverable / instances if instances else 0.0,
        "saturation_pick": cover.saturation_pick,
    }
