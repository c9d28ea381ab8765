"""The status page for people, and the reasons why no round can run (/ready)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from sqlalchemy.exc import SQLAlchemyError

from backend.errors import StoreError
from backend.label_studio.left_out import Part, latest_summary
from backend.store import live_words
from backend.store.database import Store
from backend.store.first_useful import first_useful
from backend.store.next_labels import next_labels
from backend.store.projects import Project
from backend.store.rounds import Round
from backend.store.state import ProjectState
from backend.store.versions import Version
from backend.web import live
from backend.web.arms import arms_view
from backend.web.predict import Services

ROUNDS = 8  # shown a project
STEP_WORDS = {
    "synced": "reading labels",
    "embedded": "looking at the images for a first order",
    "trained": "training",
    "evaluated": "judging the new model",
    "scored": "looking at the unlabelled images",
    "selected": "choosing the order",
    "published": "publishing the order",
    "flipped": "switching everybody over",
    "pruned": "tidying up",
    "compared": "comparing both arms of the queue (the new order is served already)",
}
CURVE = (320, 110)  # px of the learning curve
MARGIN = 14


@dataclass(frozen=True)
class Curve:
    """mAP50 by version as an SVG polyline; `words` says the same to screen readers."""

    points: str
    dots: list[tuple[float, float, str]]
    words: str


def not_ready(store: Store) -> list[str]:
    """Why no round could run now; empty if one could."""
    try:
        store.check_writable()
        reasons = [] if store.worker_alive() else [_NO_WORKER]
        projects = store.projects()
    except (StoreError, SQLAlchemyError) as error:
        return [str(error) if isinstance(error, StoreError) else "The store cannot be read."]
    projects = [p for p in projects if not p.state.gone]
    stuck = [p for p in projects if p.state.waiting_reason]
    if projects and len(stuck) == len(projects):
        reasons += [f"Project {p.id}: {p.state.waiting_reason}" for p in stuck]
    return reasons


_NO_WORKER = (
    "No worker runs: labels are recorded, but no round starts. Start `python -m backend worker`, or"
    " `python _wsgi.py`, which keeps one running."
)


def render(services: Services, by_label: int | None = None) -> str:
    """The page as HTML; every value from outside is escaped.

    `by_label`: the project whose live evaluation has a row for each label.
    """
    store = services.store
    return _template().render(
        projects=[_view(services, p, p.id == by_label) for p in store.projects()],
        reasons=not_ready(store),
        now=_moment(time.time()),
        size=CURVE,
        live_headings=live_words.HEADINGS,
    )


@cache
def _template() -> Template:
    """The page's template, read once."""
    folder = Path(__file__).parent / "pages"
    environment = Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("status.html")


def _view(services: Services, project: Project, by_label: bool) -> dict[str, Any]:
    """One project as the template shows it."""
    store, state = services.store, project.state
    found = live.current(store, project.id)
    rounds = store.rounds(project.id, ROUNDS)
    versions = store.versions(project.id, pruned=True)
    model = state.model
    metrics = next((v.metrics for v in versions if v.version == model), {})
    # A promoted model was not served by the round that evaluated it.
    evaluations = (r.steps.get("evaluated", {}) for r in rounds)
    metrics = metrics or next((j["metrics"] for j in evaluations if j.get("version") == model), {})
    return {
        "id": project.id,
        "title": (state.title or f"Project {project.id}"),
        "link": _link(
            services.settings.label_studio_public_url
            or services.settings.label_studio_url
            or project.origin,
            project.id,
        ),
        "serving": state.serving,
        "pinned": state.pinned,
        "promoted": state.promoted,
        "model": model,
        "quality": _quality(metrics),
        "undecided": _undecided(rounds),
        "first_useful": first_useful(store, project.id).in_words(),
        "next_labels": next_labels(store, project.id, services.settings.budget).in_words(),
        "counted": _counted(rounds, state),
        "left_out": _left_out(state),
        "progress": _progress_to_round(state, services.settings.changes_per_round),
        "notes": [note for note in _notes(state) if note],
        "running": next((_running(r) for r in rounds if r.ended is None), None),
        "rounds": [_ended(r) for r in rounds if r.ended is not None],
        "curve": learning_curve(versions),
        "arms": arms_view(store, project.id, services.settings.control_share),
        "live": live_words.table(found, by_label=by_label),
        "live_words": live_words.sentences(found),
    }


def _link(address: str, project: int) -> str:
    """The project in Label Studio; only http addresses become links."""
    known = address.startswith(("http://", "https://"))
    return f"{address.rstrip('/')}/projects/{project}/data" if known else ""


def _quality(metrics: Any) -> str:
    """mAP50 with its interval, in words."""
    map50 = metrics.get("map50")
    if not isinstance(map50, (int, float)):
        if metrics.get("images"):
            return "not measured yet: the labelled validation images hold no object"
        return "not measured yet: no validation image is labelled"
    interval = metrics.get("interval")
    between = (
        f", 95 % interval {interval[0]:.3f} to {interval[1]:.3f}"
        if isinstance(interval, (list, tuple)) and None not in interval and len(interval) == 2
        else ""
    )
    return f"mAP50 {map50:.3f}{between}"


def _undecided(rounds: list[Round]) -> str:
    """That the validation images did not decide between the last two models; '' where they did.

    Rounds of earlier versions of this program do not tell.
    """
    found = next((r.steps["evaluated"] for r in rounds if "evaluated" in r.steps), {})
    return str(found.get("undecided") or "")


def _notes(state: ProjectState) -> tuple[str, ...]:
    """The sentences that people see above everything else; '' for those that do not apply."""
    return (
        state.waiting_reason,
        state.message,
        state.changed_by_person,
        state.pages,
        state.scores_only,
    )


def _counted(rounds: list[Round], state: ProjectState) -> str:
    """How many tasks the last round read, and how the last training used the labelled ones."""
    last = next((r for r in rounds if "synced" in r.steps), None)
    if last is None:
        return "not read yet"
    found, labels = last.steps["synced"], latest_summary(state.left_out, "labels")
    used = ""
    if labels is not None:
        when = "" if labels.round == last.number else f"in round {labels.round} "
        used = f" ({when}{labels.split()})"
    counts = [f"{found.get('labelled', 0)} labelled{used}", f"{found.get('pool', 0)} unlabelled"]
    counts += _not_scored(rounds, state) + _blank(rounds, state)
    if found.get("skipped"):
        counts.append(f"{found['skipped']} skipped")
    if found.get("superseded"):
        counts.append(f"annotations not used, their task has a newer one: {found['superseded']}")
    return ", ".join(counts)


def _not_scored(rounds: list[Round], state: ProjectState) -> list[str]:
    """How many images of the served order are not scored yet, for lack of time; [] if none."""
    made = (r for r in rounds if r.steps.get("published", {}).get("version") == state.serving)
    rest = next((r.steps.get("scored", {}).get("rest", 0) for r in made), 0)
    return [f"{rest} of them not scored yet"] if rest else []


def _blank(rounds: list[Round], state: ProjectState) -> list[str]:
    """How many tasks of the served order are without pre-annotations on purpose; [] if none."""
    made = (r for r in rounds if r.steps.get("published", {}).get("version") == state.serving)
    blank = next((r.steps.get("selected", {}).get("blank", 0) for r in made), 0)
    return [f"{blank} of them without pre-annotations (BLANK_SHARE)"] if blank else []


def _left_out(state: ProjectState) -> list[dict[str, Any]]:
    """The labelled and the unlabelled tasks that were left out: counts and first reasons."""
    parts: list[tuple[Part, str]] = [("labels", "Labelled"), ("unlabelled", "Unlabelled")]
    found = [(name, latest_summary(state.left_out, part)) for part, name in parts]
    return [
        {
            "counts": f"{summary.headline(f'{name} tasks')} ({summary.counted()})",
            "first": summary.first,
            "more": sum(summary.kinds.values()) - len(summary.first),
            "round": summary.round,
        }
        for name, summary in found
        if summary
    ]


def _progress_to_round(state: ProjectState, wanted: int) -> str:
    """How many changed tasks the next round still needs."""
    changed = state.changed or 0
    left = max(0, wanted - changed)
    return f"{changed} of {wanted} changed tasks" + (f", {left} to go" if left else ": due")


def _running(round_: Round) -> dict[str, Any]:
    """The round that runs now."""
    progress = round_.progress
    step = str(progress.get("step") or round_.next_step or "")
    done, total = progress.get("done") or 0, progress.get("total") or 0
    eta = progress.get("eta_s")
    return {
        "number": round_.number,
        "reason": round_.reason,
        "step": STEP_WORDS.get(step, step),
        "done": done,
        "total": total,
        "left": _duration(eta) if isinstance(eta, (int, float)) else "",
        "since": _duration(time.time() - round_.started),
    }


def _ended(round_: Round) -> dict[str, str]:
    """A round that is over."""
    took = (round_.ended or round_.started) - round_.started
    return {
        "number": str(round_.number),
        "started": _moment(round_.started),
        "took": _duration(took),
        "reason": round_.reason,
        "outcome": round_.outcome or "",
        "message": round_.message,
    }


def learning_curve(versions: list[Version]) -> Curve | None:
    """mAP50 by version, oldest first; None with fewer than two measured ones."""
    measured = [
        (v.version, float(v.metrics["map50"]))
        for v in sorted(versions, key=lambda v: (v.round, v.created))
        if isinstance(v.metrics.get("map50"), (int, float)) and v.version == v.model
    ]
    if len(measured) < 2:
        return None
    width, height = CURVE
    step = (width - 2 * MARGIN) / (len(measured) - 1)
    dots = [
        (round(MARGIN + i * step, 1), round(height - MARGIN - y * (height - 2 * MARGIN), 1),
         f"{name}: {y:.3f}")
        for i, (name, y) in enumerate(measured)
    ]  # fmt: skip
    words = f"mAP50 from {measured[0][1]:.3f} to {measured[-1][1]:.3f} in {len(measured)} versions"
    return Curve(" ".join(f"{x},{y}" for x, y, _ in dots), dots, words)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _duration(seconds: float) -> str:
    """A span for people."""
    whole = max(0, round(seconds))
    if whole < 90:
        return f"{whole} s"
    return f"{round(whole / 60)} min" if whole < 5400 else f"{whole / 3600:.1f} h"
