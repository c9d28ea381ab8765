"""Figures for Prometheus on rounds, the queue of events and the worker, from the shared store."""

from __future__ import annotations

import time

from prometheus_client.core import GaugeMetricFamily, Metric

from backend.store.database import Store

RECENT = 200  # newest rounds of a project that are counted


def round_metrics(store: Store) -> list[Metric]:
    """Figures on rounds, their steps, the open round, events, projects and the worker."""
    return [*_rounds(store), *_events(store), *_projects(store), _worker(store)]


def _rounds(store: Store) -> list[Metric]:
    """Rounds by outcome, and the duration of each step of the newest ended round."""
    rounds = GaugeMetricFamily(
        "taudis_rounds", "The last 200 rounds of a project", labels=["project", "outcome"]
    )
    steps = GaugeMetricFamily(
        "taudis_step_seconds",
        "Time of each step of the newest ended round, without the time before a restart",
        labels=["project", "step"],
    )
    running = GaugeMetricFamily(
        "taudis_open_round_seconds", "Age of the round that runs or waits", labels=["project"]
    )
    newest = store.newest_rounds()
    for project in store.projects():
        # Their steps have results of some 12 kB a round, which a scrape would parse each time.
        name, recent = str(project.id), store.rounds(project.id, limit=RECENT, steps=())
        outcomes = [each.outcome or "open" for each in recent]
        for outcome in sorted(set(outcomes)):
            rounds.add_metric([name, outcome], outcomes.count(outcome))
        ended = next((each for each in newest.get(project.id, ()) if each.ended is not None), None)
        for step, result in (ended.steps if ended else {}).items():
            if "seconds" in result:
                steps.add_metric([name, step], float(result["seconds"]))
        for each in recent:
            if each.ended is None:
                running.add_metric([name], max(0.0, time.time() - each.started))
    return [rounds, steps, running]


def _events(store: Store) -> list[Metric]:
    """Events ever recorded, pending events, and the age of the oldest pending event."""
    recorded = GaugeMetricFamily(
        "taudis_events", "Events ever recorded", labels=["project", "kind"]
    )
    pending = GaugeMetricFamily(
        "taudis_events_pending", "Events not handled by a worker yet", labels=["project", "kind"]
    )
    waiting = GaugeMetricFamily(
        "taudis_events_oldest_seconds", "How long the first pending event has waited; 0 for none"
    )
    for project in store.projects():
        for kind, count in store.event_counts(project.id).items():
            recorded.add_metric([str(project.id), kind], count)
    found = store.pending_events()
    for event in found:
        pending.add_metric([str(event.project), event.kind], event.pending)
    waited = max((time.time() - event.since for event in found), default=0.0)
    waiting.add_metric([], max(0.0, waited))
    return [recorded, pending, waiting]


def _projects(store: Store) -> list[Metric]:
    """Changed labels since the last training, and projects that wait or are not served."""
    changed = GaugeMetricFamily(
        "taudis_changed_tasks", "Labelled tasks changed since the last training", labels=["project"]
    )
    waiting = GaugeMetricFamily(
        "taudis_project_waits",
        "1 where the worker waits with a project, or its order is not served (see the status page)",
        labels=["project"],
    )
    for project in store.projects():
        state = project.state
        if state.changed is not None:
            changed.add_metric([str(project.id)], state.changed)
        waiting.add_metric(
            [str(project.id)], int(bool(state.waiting_reason or state.changed_by_person))
        )
    return [changed, waiting]


def _worker(store: Store) -> Metric:
    """Whether a live worker holds the lease."""
    alive = GaugeMetricFamily("taudis_worker_up", "1 while a living worker holds the lease")
    alive.add_metric([], int(store.worker_alive()))
    return alive
