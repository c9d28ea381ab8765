"""Figures for Prometheus: requests to the web processes, and rounds and events from the store."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from backend.label_studio.left_out import Part, latest_summary
from backend.settings import given_variables
from backend.store.database import Store
from backend.store.first_useful import RoundCost, first_useful
from backend.store.next_labels import next_labels
from backend.store.projects import Project
from backend.web.arms import arm_metrics
from backend.web.error_metrics import error_metric
from backend.web.gunicorn_hooks import VARIABLE
from backend.web.round_metrics import round_metrics

logger = logging.getLogger(__name__)

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)


class Metrics:
    """Counters of the web processes, and figures read from the store at each scrape.

    Of several web processes, each answers with the sums of all (`backend.web.gunicorn_hooks`).
    `budget`: the number of labelled images whose expected gain is reported.
    """

    def __init__(self, store: Store, budget: int) -> None:
        self.registry = counted = CollectorRegistry()
        of_all: Collector | None = None
        if VARIABLE in given_variables():
            # This process counts into its file; the scrape reads the files of all.
            counted = CollectorRegistry()
            of_all = MultiProcessCollector(self.registry)  # type: ignore[no-untyped-call]
        self._seconds = Histogram(
            "taudis_request_seconds",
            "Time to answer, by route and status class",
            ["route", "status"],
            buckets=SECONDS,
            registry=counted,
        )
        self._predictions = Counter(
            "taudis_predictions_total",
            "Tasks asked for in /predict: stored, computed on the spot, or left empty",
            ["source"],
            registry=counted,
        )
        self.registry.register(_StoreFigures(store, budget, of_all or self._seconds))

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self._seconds.labels(route, f"{status // 100}xx").observe(seconds)

    def predictions(self, source: str, count: int) -> None:
        """Count tasks answered from the store ('stored'), the model ('computed'), or 'empty'."""
        if count:
            self._predictions.labels(source).inc(count)

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self.registry)


class _StoreFigures:
    """Reads the store at each scrape. `requests` has the histogram of answered requests."""

    def __init__(self, store: Store, budget: int, requests: Collector) -> None:
        self._store, self._budget, self._requests = store, budget, requests

    def describe(self) -> list[Metric]:
        """Returns nothing, so that the store is not read at registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Rounds by outcome, events, labels and costs of correcting by project; then errors."""
        left_out = GaugeMetricFamily(
            "taudis_left_out",
            "Regions and images that the last round did not use as they stand, by kind",
            labels=["project", "part", "kind"],
        )
        labelled = GaugeMetricFamily(
            "taudis_labelled_tasks",
            "Labelled tasks of the last training: train, validation, left_out",
            labels=["project", "use"],
        )
        correction, coming = _correction_metrics(), _next_labels_metric()
        more: list[Metric] = []
        try:
            more = [*round_metrics(self._store), *arm_metrics(self._store)]
            for project in self._store.projects():
                _count_left_out(project, left_out, labelled)
                _add_correction(self._store, project.id, correction)
                _add_next_labels(self._store, project.id, self._budget, coming)
        except SQLAlchemyError:
            logger.warning("The store could not be read for /metrics", exc_info=True)
        yield from (left_out, labelled, *correction, coming, *more)
        yield error_metric(self._store, self._requests)


def _count_left_out(project: Project, left_out: Metric, labelled: Metric) -> None:
    """Add what the project's last round left out and what its last training used."""
    name = str(project.id)
    parts: tuple[Part, ...] = ("labels", "unlabelled")
    for part in parts:
        found = latest_summary(project.state.left_out, part)
        for kind, count in (found.kinds if found else {}).items():
            left_out.add_metric([name, part, kind], count)  # type: ignore[attr-defined]
    used = latest_summary(project.state.left_out, "labels")
    if used is not None:
        uses = {"train": used.train, "validation": used.validation, "left_out": used.tasks}
        for use, count in uses.items():
            labelled.add_metric([name, use], count)  # type: ignore[attr-defined]


def _correction_metrics() -> tuple[Metric, Metric]:
    """Two metrics without values: the costs of correcting, and the first useful round."""
    drawings = GaugeMetricFamily(
        "taudis_correction_drawings",
        "Cost of a validation image in drawings, by the newest served model: corrected, by_hand",
        labels=["project", "way"],
    )
    first = GaugeMetricFamily(
        "taudis_first_useful",
        "The first served round whose correction cost less than drawing everything: its number,"
        " labelled images and objects, seconds since the project was connected; none before it",
        labels=["project", "figure"],
    )
    return drawings, first


def _add_correction(store: Store, project: int, metrics: tuple[Metric, Metric]) -> None:
    """Add the costs that a project's rounds recorded."""
    drawings, first = metrics
    found = first_useful(store, project)
    if found.latest is not None:
        for way, cost in (
            ("corrected", found.latest.corrected),
            ("by_hand", found.latest.by_hand),
        ):
            drawings.add_metric([str(project), way], cost)  # type: ignore[attr-defined]
    for figure, value in _figures(found.first):
        first.add_metric([str(project), figure], value)  # type: ignore[attr-defined]


def _next_labels_metric() -> Metric:
    """The metric of the next labels' expected gain, without values."""
    return GaugeMetricFamily(
        "taudis_next_labels",
        "Expected gain in mAP50 of the next BUDGET labelled images: images, gain, and the ends of"
        " its 95 % interval, low and high; none where it cannot be told",
        labels=["project", "figure"],
    )


def _add_next_labels(store: Store, project: int, budget: int, metric: Metric) -> None:
    """Add the expected gain of a project's next labels."""
    found = next_labels(store, project, budget).expected
    if found.reason:
        return
    low, high = found.interval
    figures = {"images": found.more, "gain": found.gain, "low": low, "high": high}
    for figure, value in figures.items():
        metric.add_metric([str(project), figure], value)  # type: ignore[attr-defined]


def _figures(cost: RoundCost | None) -> list[tuple[str, float]]:
    """The known figures of the first useful round."""
    if cost is None:
        return []
    names = ("round", "images", "objects", "seconds")
    values = [(name, getattr(cost, name)) for name in names]
    return [(name, value) for name, value in values if value is not None]
