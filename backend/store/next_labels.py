"""The gain in mAP50 that a project's next labels are expected to bring, from its rounds' rows.

Each training round gives one data point: the number of labelled images, and the difference in mAP50
to the model that served then. The step `judge` measured this difference on the round's validation
images. mAP50 values of different rounds are never subtracted, because the validation set grows from
round to round. `taudis.evaluation.next_labels` computes the expectation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backend.store.database import Store
from backend.store.rounds import Round
from taudis.evaluation.next_labels import CurveSoFar, Expected, expected_gain

ROUNDS = 100
"""Number of newest trainings that are read."""
MODELS = 30
"""Number of newest models that count. Older models predict little about the next labels."""
REACH = 1.96
"""Half-width of a 95 % interval in standard errors."""


@dataclass(frozen=True)
class _Model:
    """A trained and evaluated model."""

    version: str
    images: int  # labelled images of both splits
    validation: int  # validation images among `images`
    map50: float
    compared_with: str  # the version that served then; "" for none
    gain: float  # mAP50 minus that version's mAP50 on the same images; NaN if unknown
    error: float  # standard error of `gain` over images; NaN if unknown

    @classmethod
    def of(cls, round_: Round) -> _Model | None:
        """The model of a round; None if the round trained no model or could not evaluate it."""
        trained, evaluated = round_.steps.get("trained"), round_.steps.get("evaluated")
        if not trained or not evaluated:
            return None
        metrics = evaluated.get("metrics") or {}
        found = evaluated.get("difference") or {}
        low, high = found.get("interval") or (None, None)
        try:
            return cls(
                str(evaluated["version"]),
                int(trained["images"]) + int(metrics["images"]),
                int(metrics["images"]),
                float(metrics["map50"]),
                str(evaluated.get("compared_with") or ""),
                _number(found.get("map50")),
                (_number(high) - _number(low)) / (2 * REACH),
            )
        except (KeyError, TypeError):  # a row of an earlier build, or nothing to evaluate on
            return None

    @property
    def compared(self) -> bool:
        """Whether `gain` and `error` are known."""
        return math.isfinite(self.gain) and math.isfinite(self.error)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


@dataclass(frozen=True)
class NextLabels:
    """The gain that a project's next labels are expected to bring."""

    expected: Expected
    images: int  # labelled images of the newest model; 0 without a model
    validation: tuple[int, int]  # validation images of the first and the newest model that count
    not_compared: int  # models that do not count, as no comparison links them to the newest model

    def in_words(self) -> str:
        """A sentence without its full stop."""
        found = self.expected
        if found.reason:
            return f"cannot be told: {found.reason}{self._left()}"
        (low, high), (least, most) = found.interval, found.measured
        first, last = self.validation
        grown = (
            f"; the validation set went from {first} to {last} images, and only differences on the"
            " same images count"
            if first != last
            else ""
        )
        return (
            f"the next {found.more} labelled images are expected to bring {found.gain:+.3f} mAP50"
            f" (95 % interval {low:+.3f} to {high:+.3f}), by {found.models} trainings with up to"
            f" {self.images} images. Two trainings differ by chance, so the next round may measure"
            f" {least:+.3f} to {most:+.3f}{grown}{self._left()}"
        )

    def _left(self) -> str:
        if not self.not_compared:
            return ""
        return f"; trainings that do not count, since nothing compares them: {self.not_compared}"

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values. Unknown figures are None."""
        found = self.expected
        return {
            "labelled_images": self.images,
            "more": found.more,
            "models": found.models,
            "gain": _known(found.gain),
            "interval": [_known(end) for end in found.interval],
            "measured": [_known(end) for end in found.measured],
            "noise": _known(found.noise),
            "reason": found.reason,
            "validation_images": list(self.validation),
            "not_compared": self.not_compared,
        }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 5)


def next_labels(store: Store, project: int, more: int) -> NextLabels:
    """The gain that the next `more` labelled images of a project are expected to bring."""
    rounds = store.rounds(project, ROUNDS, steps=("trained", "evaluated"), having="evaluated")
    found = [_Model.of(round_) for round_ in reversed(rounds)]
    models = [model for model in found if model is not None][-MODELS:]
    counted = _connected(models)
    curve = _curve(counted)
    if curve is None:
        nothing = (math.nan, math.nan)
        reason = "no round has trained and evaluated a model yet"
        return NextLabels(
            Expected(more, 0, math.nan, nothing, nothing, math.nan, reason), 0, (0, 0), 0
        )
    validation = counted[0].validation, counted[-1].validation
    left = len(models) - len(counted)
    return NextLabels(expected_gain(curve, more), counted[-1].images, validation, left)


def _connected(models: Sequence[_Model]) -> list[_Model]:
    """The newest model and all models linked to it by comparisons, oldest first."""
    names = {model.version for model in models}
    pairs = [
        {model.version, model.compared_with}
        for model in models
        if model.compared and model.compared_with in names
    ]
    joined = {model.version for model in models[-1:]}
    while more := [pair for pair in pairs if pair & joined and not pair <= joined]:
        joined = joined.union(*more)
    return [model for model in models if model.version in joined]


def _curve(models: Sequence[_Model]) -> CurveSoFar | None:
    """The measured curve of models, oldest first; None without a model."""
    if not models:
        return None
    rows: Mapping[str, int] = {model.version: row for row, model in enumerate(models)}
    steps = [model for model in models if model.compared and model.compared_with in rows]
    return CurveSoFar(
        np.array([float(model.images) for model in models]),
        models[-1].map50,
        np.array([rows[model.compared_with] for model in steps], int),
        np.array([rows[model.version] for model in steps], int),
        np.array([model.gain for model in steps]),
        np.array([model.error for model in steps]),
    )
