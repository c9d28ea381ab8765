"""What a query strategy is told besides the pool: hyper-parameters, and what is labelled."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from taudis.errors import SelectionError
from taudis.selection.cover import Remainder
from taudis.types import FloatArray, IntArray, Pool

Measure = Literal["se", "ce", "cm"]
SigmaRule = Literal["adaptive", "flat"]
Sketch = Literal["auto", "never", "always", "guaranteed"]

ProgressCallback = Callable[[str, int, int], None]
"""Called with (what is being done, how much is done, of how much) while a query runs."""

ALPHA_PER_INSTANCE, BETA_PER_INSTANCE = 2.5, 1.5  # Appendix C: alpha 2.5x, beta 1-2x
PAPER_MULTIPLIERS = {"coco": (150.0, 40.0), "overhead": (50.0, 30.0)}  # Appendix C


@dataclass(frozen=True, eq=False)
class Labelled:
    """What a query strategy may know of the labelled images."""

    mean_instances: float  # labelled instances per image of the *seed set*, then frozen
    image_embeddings: FloatArray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    # [L,D'] of every labelled image, or empty
    image_ids: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))  # [L], or empty

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
        if len(self.image_ids) not in (0, len(self.image_embeddings)):
            raise SelectionError(
                f"Labelled.image_ids: expected {len(self.image_embeddings)}, one an embedding, or"
                f" none, got {len(self.image_ids)}."
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
    alpha_img: float = 3.0  # TAUDIS-IMG: alpha_img * B candidate images; the paper is silent
    sketch: Sketch = "auto"  # cover a sample of the instances where all do not fit `edge_bytes`
    epsilon: float = 0.1  # of sketch="guaranteed": (1 - 1/e - epsilon) of the best cover
    edge_bytes: int = 1_000_000_000  # memory for the edges, C x N bits

    def __post_init__(self) -> None:
        _one_of("uncertainty", self.uncertainty, get_args(Measure))
        _one_of("sigma_rule", self.sigma_rule, get_args(SigmaRule))
        _one_of("remainder", self.remainder, get_args(Remainder))
        _one_of("sketch", self.sketch, get_args(Sketch))
        for name in ("alpha", "beta"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 1):
                raise SelectionError(f"{name}: expected a number above 1 or None, got {value}.")
        if self.alpha is not None and self.beta is not None and self.alpha <= self.beta:
            raise SelectionError(
                f"alpha and beta: expected alpha > beta > 1, got {self.alpha} and {self.beta}; "
                "raise alpha, lower beta, or leave one of them to its rule (None)."
            )
        if not (math.isfinite(self.alpha_img) and self.alpha_img >= 1):
            raise SelectionError(f"alpha_img: expected 1 or more, got {self.alpha_img}.")
        if not 0 < self.epsilon < 1:
            raise SelectionError(f"epsilon: expected 0 < epsilon < 1, got {self.epsilon}.")
        if self.edge_bytes < 1_000_000:
            raise SelectionError(f"edge_bytes: expected 1 MB or more, got {self.edge_bytes}.")
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


def multiple(multiplier: float, images: int) -> int:
    """Instances that `multiplier` x `images` are, rounded up; 1.1 x 50 is 55 in spite of floats."""
    return math.ceil(round(multiplier * images, 9))


def check_budget(budget: int, pool: Pool) -> int:
    """The budget B, at most the pool's images. Raises SelectionError unless an integer >= 0."""
    try:
        images = operator.index(budget)
    except TypeError:
        raise SelectionError(f"budget: expected a number of images, got {budget!r}.") from None
    if images < 0:
        raise SelectionError(f"budget: expected a number of images from 0 on, got {images}.")
    return min(images, len(pool))
