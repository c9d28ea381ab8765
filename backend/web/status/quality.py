"""The quality of the models: mAP50 by number of labels, by label, and in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.store.rounds import Round
from backend.store.versions import Version
from backend.web.status.charts import (
    Chart,
    Dot,
    horizontal,
    polyline,
    round_numbers,
    upper_end,
    vertical,
)

LISTED = 40  # newest rows of the curve's table
LABELS_LISTED = 100  # rows of the table by label


WORSE = "clearly worse"
PROMOTED = "a person promoted another"
UNSERVED = {
    "failed": "its round failed",
    "stopped": "its round was stopped",
    "kept": "the previous order stayed",
}
"""Outcome of a round -> why its model does not serve although it was good enough."""


@dataclass(frozen=True)
class Point:
    """A model that was trained and evaluated."""

    round: int
    version: str
    labels: int | None  # labelled images for training and evaluation
    map50: float
    low: float | None
    high: float | None
    kept: str = ""  # why it never served; '' if it serves or has served

    @property
    def serves(self) -> bool:
        """Whether it serves or has served."""
        return not self.kept

    @property
    def words(self) -> str:
        """The point in words."""
        labels = "" if self.labels is None else f" with {self.labels} labelled images"
        return f"round {self.round}{labels}: mAP50 {self.map50:.3f}{_between(self.low, self.high)}"


def points_of(rounds: Sequence[Round]) -> list[Point]:
    """The models of these rounds, oldest first. A round without a training has no point."""
    found = (_point(round_) for round_ in rounds)
    return sorted((p for p in found if p is not None), key=lambda point: point.round)


def _point(round_: Round) -> Point | None:
    evaluated = round_.steps.get("evaluated", {})
    metrics = evaluated.get("metrics") or {}
    map50 = metrics.get("map50")
    if not isinstance(map50, (int, float)):
        return None
    trained = round_.steps.get("trained", {}).get("images")
    labels = None
    if isinstance(trained, int):
        labels = trained + int(metrics.get("images") or 0)
    low, high = _interval(metrics)
    version = str(evaluated.get("version") or "")
    return Point(round_.number, version, labels, float(map50), low, high, _kept(round_))


def _kept(round_: Round) -> str:
    """Why a round's model does not serve, in words; '' if it does.

    A model that was good enough serves unless its round did not switch to it (UNSERVED). If the
    comparison does not show a refused model to be worse, a person promoted another one.
    """
    evaluated = round_.steps["evaluated"]
    if evaluated.get("serve", True):
        if round_.outcome is None and "flipped" not in round_.steps:
            return "its round still runs"
        return UNSERVED.get(round_.outcome or "", "")
    _, high = _interval(evaluated.get("difference") or {})
    worse = high is not None and high < 0 and not evaluated.get("undecided")
    return WORSE if worse else PROMOTED


def _interval(metrics: Mapping[str, Any]) -> tuple[float | None, float | None]:
    found = metrics.get("interval")
    if isinstance(found, (list, tuple)) and len(found) == 2 and None not in found:
        return float(found[0]), float(found[1])
    return None, None


def _between(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f", 95 % interval {low:.3f} to {high:.3f}"


def short_quality(metrics: Mapping[str, Any]) -> str:
    """mAP50 with its interval, in figures; '' if it was not measured."""
    map50, (low, high) = metrics.get("map50"), _interval(metrics)
    if not isinstance(map50, (int, float)):
        return ""
    between = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
    return f"mAP50 {map50:.3f}{between}"


def _images(number: int) -> str:
    return "1 validation image" if number == 1 else f"{number} validation images"


FEW_IMAGES = 50
"""From this number of validation images on, the interval holds the truth in 90 to 97 % of the cases
(docs/evaluation.md)."""


def few_images(metrics: Mapping[str, Any]) -> str:
    """A sentence if the serving model was evaluated on fewer images than FEW_IMAGES; else ''."""
    images = metrics.get("images")
    if not images or images >= FEW_IMAGES:
        return ""
    return (
        f"{_images(images)} cannot measure mAP50 well: other images would give another figure, and"
        f" below {FEW_IMAGES} the interval is often too narrow. Label more, or raise"
        " VALIDATION_FRACTION"
    )


def quality(metrics: Mapping[str, Any]) -> str:
    """mAP50 with its interval, in words."""
    map50 = metrics.get("map50")
    if not isinstance(map50, (int, float)):
        if metrics.get("images"):
            return "not measured yet: the labelled validation images hold no object"
        return "not measured yet: no validation image is labelled"
    images = metrics.get("images")
    on = f", on {_images(images)}" if images else ""
    return f"mAP50 {map50:.3f}{_between(*_interval(metrics))}{on}"


def undecided(rounds: Sequence[Round]) -> str:
    """A sentence if the validation images did not decide between the last two models; else ''.

    Also '' for rounds of early releases, which did not record it.
    """
    found = next((r.steps["evaluated"] for r in rounds if "evaluated" in r.steps), {})
    return str(found.get("undecided") or "")


def learning_curve(points: Sequence[Point]) -> Chart | None:
    """mAP50 by labelled images, oldest first; None without a model."""
    points = [point for point in points if point.labels is not None]
    if not points:
        return None
    labels = [point.labels or 0 for point in points]
    ends = (0, max(labels))
    tops = [max(p.map50, p.high or 0.0) for p in points]
    x, y = horizontal(*ends), vertical(0.0, upper_end(max(tops)))
    dots = [
        Dot(
            x(point.labels or 0),
            y(point.map50),
            None if point.low is None else y(point.low),
            None if point.high is None else y(point.high),
            "serves" if point.serves else "kept",
            point.words + ("" if point.serves else f" (not served: {point.kept})"),
        )
        for point in points
    ]
    served = [dot for dot in dots if dot.kind == "serves"]
    return Chart(
        "mAP50 by labelled images",
        _curve_words(points),
        "labelled images",
        "mAP50",
        x.ticks(round_numbers(*ends)),
        y.ticks(round_numbers(0.0, y.high)),
        polyline([(dot.x, dot.y) for dot in served]),
        dots,
    )


def _curve_words(points: Sequence[Point]) -> str:
    first, last = points[0], points[-1]
    if len(points) == 1:
        return first.words
    return (
        f"mAP50 from {first.map50:.3f} with {first.labels} labelled images to {last.map50:.3f}"
        f" with {last.labels}, in {len(points)} trainings"
    )


def curve_rows(points: Sequence[Point]) -> list[tuple[str, ...]]:
    """The newest points as the cells of a table: round, labels, mAP50, interval, served."""
    return [
        (
            str(point.round),
            "" if point.labels is None else str(point.labels),
            f"{point.map50:.3f}",
            ""
            if point.low is None or point.high is None
            else f"{point.low:.3f} to {point.high:.3f}",
            "yes" if point.serves else f"no, {point.kept}",
        )
        for point in reversed(points[-LISTED:])
    ]


def by_label(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Each label with the serving model's mAP50; [] if the model was not evaluated."""
    found = metrics.get("per_label")
    if not isinstance(found, Mapping):
        return []
    return [
        (str(name), f"{value:.3f}" if isinstance(value, (int, float)) else "no validation object")
        for name, value in list(found.items())[:LABELS_LISTED]
    ]


def labels_beyond(metrics: Mapping[str, Any]) -> int:
    """The number of labels that the table by label leaves out."""
    return max(0, len(metrics.get("per_label") or {}) - LABELS_LISTED)


def served_metrics(
    model: str, versions: Sequence[Version], rounds: Sequence[Round]
) -> Mapping[str, Any]:
    """The metrics of the serving model; {} if it was not evaluated.

    The round of a promoted model may not have served it, so `rounds` are searched too.
    """
    metrics = next((v.metrics for v in versions if v.version == model), {})
    return metrics or evaluations(rounds).get(model, {})


def evaluations(rounds: Sequence[Round]) -> dict[str, Mapping[str, Any]]:
    """Model -> metrics, of all models that these rounds evaluated, served or not."""
    found = (round_.steps.get("evaluated", {}) for round_ in rounds)
    return {str(each["version"]): each.get("metrics") or {} for each in found if "version" in each}
