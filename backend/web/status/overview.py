"""The overview: a few figures of every project, read with a fixed number of queries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from backend.store.projects import Project
from backend.store.rounds import Round
from backend.store.serving import serving_model
from backend.web.predict import Services
from backend.web.status.now import Now, State, now_of
from backend.web.status.project import title_of
from backend.web.status.quality import served_metrics, short_quality
from backend.web.status.words import duration, minute, outcome

ORDER: tuple[State, ...] = ("attention", "working", "cold", "ready", "off")
COUNTED = {
    "attention": "to look at",
    "working": "at work",
    "cold": "starting",
    "ready": "ready",
    "off": "off",
}


@dataclass(frozen=True)
class Line:
    """One project of the overview."""

    id: int
    title: str
    now: Now
    model: str
    quality: str
    last: str  # the last ended round


@dataclass(frozen=True)
class Overview:
    """All projects: first those that need a person, then those at work."""

    lines: Sequence[Line]
    summary: str


def overview(services: Services, projects: Sequence[Project]) -> Overview:
    """Read the overview of these projects."""
    rounds = services.store.newest_rounds()
    models = services.store.metrics_of(serving_model(p.state) for p in projects)
    wanted = services.settings.changes_per_round
    lines = []
    for project in projects:
        some, model = rounds.get(project.id, ()), serving_model(project.state)
        metrics = models.get((project.id, model)) or served_metrics(model, (), some)
        lines.append(
            Line(
                project.id,
                title_of(project),
                now_of(project.state, some, wanted),
                project.state.model,
                (short_quality(metrics) or "not measured yet") if model else "none yet",
                _last(some),
            )
        )
    lines.sort(key=lambda line: (ORDER.index(line.now.state), line.id))
    counts = Counter(line.now.state for line in lines)
    counted = ", ".join(f"{counts[state]} {COUNTED[state]}" for state in ORDER if counts[state])
    return Overview(lines, f"{len(lines)} projects: {counted}")


def _last(rounds: Sequence[Round]) -> str:
    ended = next((r for r in rounds if r.ended is not None), None)
    if ended is None:
        return "none yet"
    took = duration((ended.ended or ended.started) - ended.started)
    return f"round {ended.number} {outcome(ended)}, {minute(ended.started)}, took {took}"
