"""The counter of errors by kind: those in the store, and requests that the web process refused."""

from __future__ import annotations

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from backend.store.database import Store

REQUESTS = {"4xx": "request_refused", "5xx": "request_failed"}
"""Status class of an answer -> kind of error."""


def error_metric(store: Store, requests: Collector) -> CounterMetricFamily:
    """The counter. `requests` has the histogram of answers by `route` and `status`.

    If the store cannot be read, its kinds are missing, because 0 would look like a new start.
    """
    counter = CounterMetricFamily(
        "taudis_errors",
        "Errors by kind since the data directory was made; request_refused and request_failed since"
        " the web process started",
        labels=["kind"],
    )
    for kind, number in _requests(requests).items():
        counter.add_metric([kind], number)
    try:
        found = store.error_counts()
    except SQLAlchemyError:
        return counter  # the other figures of the store log it
    for name, number in found.items():
        counter.add_metric([name], number)
    return counter


def _requests(requests: Collector) -> dict[str, float]:
    """Kind -> number of requests that were answered so. /ready answers 503 without an error."""
    found = dict.fromkeys(REQUESTS.values(), 0.0)
    for metric in requests.collect():
        for sample in metric.samples:
            kind = REQUESTS.get(sample.labels.get("status", ""), "")
            counts = sample.name == "taudis_request_seconds_count"
            if kind and counts and sample.labels["route"] != "/ready":
                found[kind] += sample.value
    return found
