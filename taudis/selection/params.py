"""The arguments of a query strategy besides the pool: hyper-parameters, and what is labelled."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from taudis.errors import SelectionError
from taudis.selection.cover import Remainder
from taudis.selection.parameter import Meaning, parameters_of
from taudis.types import FloatArray, IntArray, Pool

Measure = Literal["se", "ce", "cm"]
AlphaRule = Literal["labelled", "detections"]
Weighting = Literal["none", "score", "foreground"]
SigmaRule = Literal["adaptive", "budget", "flat"]
Vote = Literal["count", "uncertainty"]
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
    instance_embeddings: FloatArray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    # [M,D] of the objects that the model finds in labelled images, or empty
    images: int = 0  # labelled images; 0: not known

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean_instances) and self.mean_instances >= 0):
            raise SelectionError(
                f"Labelled.mean_instances: expected a number from 0 on, got {self.mean_instances}."
            )
        for name, axes in (("image_embeddings", "L, D'"), ("instance_embeddings", "M, D")):
            shape = getattr(self, name).shape
            if len(shape) != 2:
                raise SelectionError(
                    f"Labelled.{name}: expected [{axes}], got shape {list(shape)}."
                )
        if len(self.image_ids) not in (0, len(self.image_embeddings)):
            raise SelectionError(
                f"Labelled.image_ids: expected {len(self.image_embeddings)}, one an embedding, or"
                f" none, got {len(self.image_ids)}."
            )


@dataclass(frozen=True)
class SelectionParams:
    """The hyper-parameters of the query strategies; each strategy's docstring says which it reads.

    Raises SelectionError for a value of another type or out of range.
    """

    uncertainty: Annotated[
        Measure,
        Meaning(
            "Uncertainty by which instances become candidates: segmentation entropy (se),"
            " classification entropy (ce) or classification margin (cm)."
        ),
    ] = "se"  # section 4.1 of the paper chooses SE
    weighting: Annotated[
        Weighting,
        Meaning(
            "Factor of the uncertainty: 1 (none), the score, or 1 - p_background, the probability"
            " that the detection is an object of any label (foreground)."
        ),
    ] = "none"
    least_score: Annotated[
        float,
        Meaning(
            "T_F, under every strategy: detections of a lower score take no part, as if the model"
            " had not made them.",
            least=0,
            below=1,
        ),
    ] = 0.0
    alpha: Annotated[
        float | None,
        Meaning(
            "Candidates for each image of the budget, C = alpha B. None: 2.5 times the mean number"
            " of instances an image, by alpha_rule.",
            above=1,
        ),
    ] = None
    beta: Annotated[
        float | None,
        Meaning(
            "Chosen instances for each image of the budget, k = beta B; smaller than alpha. None:"
            " 1.5 times the mean number of instances an image, by alpha_rule.",
            above=1,
        ),
    ] = None
    alpha_rule: Annotated[
        AlphaRule,
        Meaning(
            "Instances an image that alpha and beta go by: those of labelled images (labelled), as"
            " in the paper, or the detections of the pool that take part (detections)."
        ),
    ] = "labelled"
    candidates_per_image: Annotated[
        int | None,
        Meaning("Candidates that an image may have, its most uncertain ones. None: any.", least=1),
    ] = None
    balanced: Annotated[
        bool,
        Meaning("Predicted labels take turns in naming candidates, so that their shares are even."),
    ] = False
    sigma: Annotated[
        float, Meaning("Cosine from which on two embeddings are similar.", above=0, below=1)
    ] = 0.8
    sigma_rule: Annotated[
        SigmaRule,
        Meaning(
            "Raise sigma for a pool in which too many pairs are similar: more than 2/k (adaptive)"
            " or 1/B (budget) of them. flat: keep sigma, as the paper does."
        ),
    ] = "adaptive"
    remainder: Annotated[
        Remainder,
        Meaning(
            "Picks after the cover is complete: a new cover whose picks have half the votes"
            " (layers), the most uncertain candidates (uncertainty), or none."
        ),
    ] = "layers"
    vote: Annotated[
        Vote,
        Meaning(
            "`taudis`: a chosen instance counts 1, as in the paper (count), or its uncertainty, for"
            " its image."
        ),
    ] = "count"
    centre: Annotated[bool, Meaning("Subtract the pool's mean from the embeddings.")] = False
    standardise: Annotated[
        bool,
        Meaning("Centre the embeddings, and divide each dimension by its standard deviation."),
    ] = False
    look_cost: Annotated[
        float,
        Meaning(
            "`taudis_cover_cost`: the time to look at an image over the time to draw an object;"
            " 7.8 s over 79.2 s by the figures in docs/comparing.md.",
            above=0,
        ),
    ] = 0.1
    alpha_img: Annotated[
        float, Meaning("`taudis_img`: candidate images for each image of the budget.", least=1)
    ] = 3.0  # the paper names no value
    sketch: Annotated[
        Sketch,
        Meaning(
            "Cover a random sample of the pool's instances: auto (if the similarity graph needs"
            " more than edge_bytes), never, always, or guaranteed (a sample that is large enough"
            " for the proof)."
        ),
    ] = "auto"
    epsilon: Annotated[
        float,
        Meaning(
            "With the guaranteed sketch: the cover of the sample is at least (1 - 1/e - epsilon) of"
            " the best cover.",
            above=0,
            below=1,
        ),
    ] = 0.1
    edge_bytes: Annotated[
        int,
        Meaning(
            "Memory for the similarity graph, C x N bits.",
            least=1_000_000,
            option="edge-mb",
            unit=1_000_000,
        ),
    ] = 1_000_000_000

    def __post_init__(self) -> None:
        for each in PARAMETERS:
            each.check(getattr(self, each.name))
        if self.alpha is not None and self.beta is not None and self.alpha <= self.beta:
            raise SelectionError(
                f"alpha and beta: expected alpha > beta > 1, got {self.alpha} and {self.beta}; "
                "raise alpha, lower beta, or leave one of them to its rule (None)."
            )

    @classmethod
    def paper(cls, dataset: Literal["coco", "overhead"] | None = None) -> SelectionParams:
        """The paper's hyper-parameters: SE, a flat sigma of 0.8, k picks even if they gain nothing.

        dataset: takes alpha and beta of Appendix C (coco 150 and 40, overhead 50 and 30). None
        leaves them to the rule, 2.5 and 1.5 times the mean number of labelled instances an image.
        Raises SelectionError for another data set.
        """
        if dataset is not None and dataset not in PAPER_MULTIPLIERS:
            raise SelectionError(
                f"dataset: expected one of {', '.join(PAPER_MULTIPLIERS)}, got {dataset!r}."
            )
        alpha, beta = PAPER_MULTIPLIERS[dataset] if dataset else (None, None)
        return cls(alpha=alpha, beta=beta, sigma_rule="flat", remainder="uncertainty")

    def multipliers(self, labelled: Labelled, detections: float = 0.0) -> tuple[float, float]:
        """(alpha, beta) with alpha > beta > 1: the given values, or the rule of Appendix C.

        detections: an image of the pool, the mean, which the rule goes by under `alpha_rule`
        detections. If only one is given and the other's rule would break alpha > beta, the rule
        gives way.
        """
        counted = detections if self.alpha_rule == "detections" else labelled.mean_instances
        mean = max(counted, 1.0)
        alpha, beta = ALPHA_PER_INSTANCE * mean, BETA_PER_INSTANCE * mean
        if self.alpha is not None:
            alpha = self.alpha
            beta = self.beta or (beta if beta < alpha else (1 + alpha) / 2)
        elif self.beta is not None:
            beta = self.beta
            alpha = max(alpha, beta * ALPHA_PER_INSTANCE / BETA_PER_INSTANCE)
        return alpha, beta


PARAMETERS = parameters_of(SelectionParams)
"""Every hyper-parameter, in the order of the fields of `SelectionParams`."""

PRESETS: dict[str, Callable[[], SelectionParams]] = {
    "default": SelectionParams,
    "paper": SelectionParams.paper,
}
"""Named values of all hyper-parameters."""


def read_params(source: str) -> SelectionParams:
    """Hyper-parameters by the name of a preset, or from a JSON file.

    source: a name of `PRESETS`, or the path of a file with a JSON object. Its keys are fields of
    `SelectionParams`; fields that it does not name keep their default. Raises SelectionError for a
    file that cannot be read, unknown or repeated keys, wrong types and values out of range.
    """
    if source in PRESETS:
        return PRESETS[source]()
    try:
        text = Path(source).read_text(encoding="utf-8-sig")
        found = json.loads(text, object_pairs_hook=_without_repeats)
    except OSError as error:
        raise SelectionError(
            f"expected {', '.join(PRESETS)} or the path of a JSON file, got {source!r}, which"
            f" cannot be read: {error.strerror}."
        ) from None
    except SelectionError as error:
        raise SelectionError(f"{source}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise SelectionError(f"{source}: {_JSON_EXPECTED}, got no JSON: {error}.") from None
    if not isinstance(found, dict):
        raise SelectionError(f"{source}: {_JSON_EXPECTED}, got {type(found).__name__}.")
    known = [each.name for each in PARAMETERS]
    unknown = [key for key in found if key not in known]
    if unknown:
        raise SelectionError(
            f"{source}: expected keys among {', '.join(known)}, got"
            f" {', '.join(map(repr, unknown))}."
        )
    try:
        return SelectionParams(**found)
    except SelectionError as error:
        raise SelectionError(f"{source}: {error}") from None


_JSON_EXPECTED = 'expected a JSON object such as {"sigma": 0.9}'


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises SelectionError for a key that stands twice: one would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = sorted({key for key in keys if keys.count(key) > 1})
        raise SelectionError(f"expected each key once, got {', '.join(map(repr, repeated))} again.")
    return found


def parameters_table() -> str:
    """The hyper-parameters as a Markdown table, which docs/strategies.md holds."""
    lines = ["| key | option of `select` | default | values | meaning |", "|---|---|---|---|---|"]
    for each in PARAMETERS:
        default = json.dumps(each.default)
        values = each.expected.replace("None", "null")
        meaning = each.meaning.text.replace("None", "null")
        lines.append(f"| `{each.name}` | `--{each.option}` | `{default}` | {values} | {meaning} |")
    return "\n".join(lines)


def multiple(multiplier: float, images: int) -> int:
    """`multiplier` x `images`, rounded up.

    Rounded to 9 digits first: 1.1 x 50 is 55, although the product of the floats is larger.
    """
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
