"""The control arm on the status page and in /metrics: a sentence, a table, figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric

from backend.store.arms import ARMS, ArmComparison, in_words
from backend.store.database import Store

ROWS = 8  # comparisons shown, the newest
HEADINGS = (
    "Round", "Labels", "of the arm alone", "By the strategy", "At random", "Difference",
    "95 % interval",
)  # fmt: skip


def arms_view(store: Store, project: int, share: float) -> dict[str, Any] | None:
    """The comparisons of a project for the status page; None without a control arm.

    They stay on the page after the control arm is switched off.
    """
    found = store.comparisons(project)
    if not (found or share):
        return None
    rows = [_row(one) for one in found[-ROWS:]]
    return {"sentence": in_words(found), "headings": HEADINGS, "rows": rows}


def _row(one: ArmComparison) -> tuple[str, ...]:
    """One comparison as the cells under HEADINGS."""
    low, high = one.interval
    known = low is not None and high is not None
    return (
        str(one.number),
        str(one.labels),
        str(one.images),
        _score(one.map50["strategy"], one.intervals["strategy"]),
        _score(one.map50["random"], one.intervals["random"]),
        "" if one.difference is None else f"{one.difference:+.3f}",
        f"{low:+.3f} to {high:+.3f}" if known else "not known",
    )


def _score(map50: float | None, interval: Sequence[float | None]) -> str:
    """mAP50 with its interval."""
    if map50 is None:
        return "no object to measure on"
    low, high = interval
    known = f" ({low:.3f} to {high:.3f})" if low is not None and high is not None else ""
    return f"{map50:.3f}{known}"


def arm_metrics(store: Store) -> list[Metric]:
    """The newest comparison of each project, for Prometheus."""
    map50 = GaugeMetricFamily(
        "taudis_arm_map50",
        "mAP50 of the newest comparison of the arms of the queue: random, strategy",
        labels=["project", "arm"],
    )
    labels = GaugeMetricFamily(
        "taudis_arm_labels", "Training images of each model of that comparison", labels=["project"]
    )
    difference = GaugeMetricFamily(
        "taudis_arm_difference",
        "mAP50 of the strategy's arm minus that of the random arm: value, and 95 % interval",
        labels=["project", "figure"],
    )
    for project in store.projects():
        newest = next(reversed(store.comparisons(project.id)), None)
        if newest is None:
            continue
        name, (low, high) = str(project.id), newest.interval
        labels.add_metric([name], newest.labels)
        for arm in ARMS:
            _add(map50, [name, arm], newest.map50[arm])
        for figure, value in (("value", newest.difference), ("low", low), ("high", high)):
            _add(difference, [name, figure], value)
    return [map50, labels, difference]


def _add(metric: GaugeMetricFamily, names: list[str], value: float | None) -> None:
    """Add a value unless it is None."""
    if value is not None:
        metric.add_metric(names, value)
