"""The arguments of a query strategy besides the pool: hyper-parameters and the labelled images."""

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
"""Called with (name of the step, amount done, total amount) while a query runs."""

ALPHA_PER_INSTANCE, BETA_PER_INSTANCE = 2.5, 1.5  # Appendix C: alpha 2.5x, beta 1-2x
PAPER_MULTIPLIERS = {"coco": (150.0, 40.0), "overhead": (50.0, 30.0)}  # Appendix C


@dataclass(frozen=True, eq=False)
class Labelled:
    """The facts about labelled images that a query strategy may use."""

    # Labelled instances per image of the seed set (the first labelled images). It does not change
    # in later rounds, so alpha and beta stay the same (Appendix C).
    mean_instances: float
    # [L,D'] one row for each labelled image, or empty
    image_embeddings: FloatArray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    image_ids: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))  # [L], or empty
    # [M,D] one row for each object that the model detects in the labelled images, or empty
    instance_embeddings: FloatArray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    images: int = 0  # number of labelled images; 0: unknown

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

    Raises SelectionError for a value of the wrong type or out of range.
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
            "Every strategy ignores detections with a lower score, as if the model had not made"
            " them: they are not in T_F.",
            least=0,
            below=1,
        ),
    ] = 0.0
    alpha: Annotated[
        float | None,
        Meaning(
            "Candidates per image of the budget, C = alpha B. None: 2.5 times the mean number of"
            " instances per image, see alpha_rule.",
            above=1,
        ),
    ] = None
    beta: Annotated[
        float | None,
        Meaning(
            "Chosen instances per image of the budget, k = beta B; smaller than alpha. None: 1.5"
            " times the mean number of instances per image, see alpha_rule.",
            above=1,
        ),
    ] = None
    alpha_rule: Annotated[
        AlphaRule,
        Meaning(
            "The mean number of instances per image that sets alpha and beta: of the labelled"
            " images (labelled), as in the paper, or of the pool's detections from least_score on"
            " (detections)."
        ),
    ] = "labelled"
    candidates_per_image: Annotated[
        int | None,
        Meaning("Most candidates per image: its most uncertain ones. None: no limit.", least=1),
    ] = None
    balanced: Annotated[
        bool,
        Meaning(
            "Take candidates from the predicted labels in turn, so that their shares are even."
        ),
    ] = False
    sigma: Annotated[
        float, Meaning("Least cosine of two similar embeddings.", above=0, below=1)
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
            "`taudis`: the vote of a chosen instance for its image: 1, as in the paper (count), or"
            " its uncertainty (uncertainty)."
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
            "`taudis_cover_cost`: the time to look at an image / the time to draw an object;"
            " 7.8 s / 79.2 s by the figures in docs/comparing.md.",
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
        """The paper's hyper-parameters: SE, a fixed sigma of 0.8, always k picks.

        dataset: sets alpha and beta as in Appendix C (coco: 150 and 40, overhead: 50 and 30). With
        None they are 2.5 and 1.5 times the mean number of labelled instances per image.
        Raises SelectionError for another data set.
        """
        if dataset is not None and dataset not in PAPER_MULTIPLIERS:
            raise SelectionError(
                f"dataset: expected one of {', '.join(PAPER_MULTIPLIERS)}, got {dataset!r}."
            )
        alpha, beta = PAPER_MULTIPLIERS[dataset] if dataset else (None, None)
        return cls(alpha=alpha, beta=beta, sigma_rule="flat", remainder="uncertainty")

    def multipliers(self, labelled: Labelled, detections: float = 0.0) -> tuple[float, float]:
        """(alpha, beta), alpha > beta > 1: the values of the fields, or the rule of Appendix C.

        detections: mean number of detections per image of the pool. The rule uses it if
        `alpha_rule` is "detections". If only one of alpha and beta is set, the other is adjusted
        where needed to keep alpha > beta.
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
"""Named sets of hyper-parameters."""


def read_params(source: str) -> SelectionParams:
    """Hyper-parameters of a preset or from a JSON file.

    source: a name in `PRESETS`, or the path of a file with a JSON object. Its keys are fields of
    `SelectionParams`; the other fields keep their defaults. Raises SelectionError for a file that
    cannot be read, unknown or repeated keys, wrong types and values out of range.
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
    """The pairs as a dict. Raises SelectionError for a repeated key: `dict` would drop a value."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = sorted({key for key in keys if keys.count(key) > 1})
        raise SelectionError(f"expected each key once, got {', '.join(map(repr, repeated))} again.")
    return found


def parameters_table() -> str:
    """The hyper-parameters as a Markdown table, for docs/strategies.md."""
    lines = ["| key | option of `select` | default | values | meaning |", "|---|---|---|---|---|"]
    for each in PARAMETERS:
        default = json.dumps(each.default)
        values = each.expected.replace("None", "null")
        meaning = each.meaning.text.replace("None", "null")
        lines.append(f"| `{each.name}` | `--{each.option}` | `{default}` | {values} | {meaning} |")
    return "\n".join(lines)


def multiple(multiplier: float, images: int) -> int:
    """`multiplier` x `images`, rounded up.

    The product is first rounded to 9 digits: 1.1 * 50 is 55.00000000000001 in floats, but means 55.
    """
    return math.ceil(round(multiplier * images, 9))


def check_budget(budget: int, pool: Pool) -> int:
    """The budget B, at most the number of images in the pool.

    Raises SelectionError unless `budget` is an integer >= 0.
    """
    try:
        images = operator.index(budget)
    except TypeError:
        raise SelectionError(f"budget: expected a number of images, got {budget!r}.") from None
    if images < 0:
        raise SelectionError(f"budget: expected a number of images from 0 on, got {images}.")
    return min(images, len(pool))
