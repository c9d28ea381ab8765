"""Reads all values of a project's page from the store."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.store import first_order, live_words, queue_head
from backend.store.first_useful import first_useful
from backend.store.next_labels import next_labels
from backend.store.projects import Project
from backend.store.rounds import Round
from backend.store.serving import kept_models, models_folder, serving_model
from backend.store.state import ProjectState
from backend.store.versions import Version
from backend.web import live
from backend.web.arms import arms_view
from backend.web.predict import Services
from backend.web.status import history, images, quality
from backend.web.status.charts import Chart
from backend.web.status.evidence import evidence
from backend.web.status.now import Now, now_of
from backend.web.status.queue import NextImages, next_images
from backend.web.status.versions import Choices, choices

READ = 200  # number of trainings in the curve and of rounds in the timeline
RECENT = 12  # number of rounds of which all steps are read


@dataclass(frozen=True)
class ProjectView:
    """The values of one project's page, for the template."""

    id: int
    title: str
    link: str  # to the project in Label Studio; '' while that address is not confirmed
    serving: str
    pinned: str
    promoted: str
    model: str
    no_model: str  # what serves and comes instead, before the first model
    now: Now
    stamp: str  # changes when anything but `now` changes
    quality: str
    undecided: str
    queue: NextImages | None
    evidence: str  # our study's result on the strategy
    first_useful: str
    next_labels: str
    curve: Chart | None
    curve_rows: Sequence[tuple[str, ...]]
    curve_more: int
    labels: Sequence[tuple[str, str]]
    labels_more: int
    counted: str
    left_out: Sequence[images.LeftOutPart]
    beyond_queries: str
    coverage: Chart | None
    arms: Mapping[str, Any] | None
    live: Sequence[tuple[str, ...]]
    live_words: Sequence[str]
    by_label: bool
    choices: Choices
    timeline: history.Timeline | None
    listing: history.Listing


def title_of(project: Project) -> str:
    """The title of a project, or its number if the title is unknown."""
    return project.state.title or f"Project {project.id}"


def link_of(services: Services, project: Project) -> str:
    """The address of the project in Label Studio; '' unless it is an http address."""
    settings = services.settings
    address = settings.label_studio_public_url or settings.label_studio_url or project.origin
    known = address.startswith(("http://", "https://"))
    return f"{address.rstrip('/')}/projects/{project.id}/data" if known else ""


def stamp_of(services: Services, project: Project, ended: int) -> str:
    """A text that changes with the values beside `now`: the last ended round, the served versions,
    whether the project is connected, requests, the training whose left-out regions are listed, and
    whether there are pictures.
    """
    state, folder = project.state, services.settings.model_dir
    pictures = bool(state.serving) and queue_head.read(folder, project.id, state.serving)
    left_out = state.left_out.get("labels", {}).get("round", 0)
    off = state.gone or state.disconnected
    what = (ended, left_out, state.serving, state.pinned, state.promoted, off)
    return ".".join(map(str, (*what, bool(state.asked), bool(pictures))))


def _recent(services: Services, project: Project, versions: Sequence[Version]) -> list[Round]:
    """The newest rounds with all their steps, and the round that published the served order."""
    rounds = services.store.rounds(project.id, RECENT)
    made = next((row.round for row in versions if row.version == project.state.serving), None)
    if made is not None and all(round_.id != made for round_ in rounds):
        rounds.append(services.store.round(made))
    return rounds


def _no_model(services: Services, state: ProjectState, recent: Sequence[Round]) -> str:
    """What a project has before its first model, in words; by its newest first order, if known.

    If there are enough labels when the project is connected, a training makes the first order.
    """
    settings = services.settings
    if not state.serving and all(row.kind != "first" for row in recent):
        trains = any(row.kind == "train" for row in recent)
        if state.changed is None and not trains:
            return first_order.no_model("", settings.weights)
        if trains or (state.changed or 0) >= settings.changes_per_round:
            return first_order.no_model(first_order.BY_TRAINING, settings.weights)
    made = (
        row.steps["selected"] for row in recent if row.kind == "first" and "selected" in row.steps
    )
    strategy = next((str(step["strategy"]) for step in made), settings.first_order)
    return first_order.no_model(strategy, settings.weights)


# long: one line for each value
def view(
    services: Services, project: Project, *, by_label: bool = False, before: int | None = None
) -> ProjectView:
    """Read all values of a project's page.

    Args:
        services: settings and store.
        project: the project.
        by_label: whether the live evaluation has a row for each label.
        before: the table of rounds has the rounds before this number; None for the newest.
    """
    store, state = services.store, project.state
    found = live.current(store, project.id)
    rounds = store.rounds(project.id, READ, steps=("trained", "evaluated", "compared"))
    versions = store.versions(project.id, pruned=True)
    recent = _recent(services, project, versions)
    trainings = store.rounds(
        project.id, READ, steps=("trained", "evaluated", "flipped"), having="evaluated"
    )
    metrics = quality.served_metrics(serving_model(state), versions, trainings)
    points = quality.points_of(trainings)
    kept = kept_models(models_folder(services.settings.model_dir, project.id))
    ended = next((r.number for r in rounds if r.ended is not None), 0)
    return ProjectView(
        id=project.id,
        title=title_of(project),
        link=link_of(services, project),
        serving=state.serving,
        pinned=state.pinned,
        promoted=state.promoted,
        model=state.model,
        no_model=_no_model(services, state, recent),
        now=now_of(
            state,
            recent,
            services.settings.changes_per_round,
            arms=bool(services.settings.control_share),
        ),
        stamp=stamp_of(services, project, ended),
        quality=quality.quality(metrics),
        undecided=quality.undecided(trainings) or quality.few_images(metrics),
        queue=next_images(services.settings, project, link_of(services, project)),
        evidence=evidence(
            services.settings.strategy, own_parameters=services.settings.selection != "default"
        ),
        first_useful=first_useful(store, project.id).in_words(),
        next_labels=next_labels(store, project.id, services.settings.budget).in_words(),
        curve=quality.learning_curve(points),
        curve_rows=quality.curve_rows(points),
        curve_more=max(0, len(points) - quality.LISTED),
        labels=quality.by_label(metrics),
        labels_more=quality.labels_beyond(metrics),
        counted=images.counted(recent, state),
        left_out=images.left_out(state),
        beyond_queries=images.beyond_queries(rounds),
        coverage=images.coverage(recent, state),
        arms=arms_view(store, project.id, services.settings.control_share),
        live=live_words.table(found, by_label=by_label),
        live_words=live_words.sentences(found),
        by_label=by_label,
        choices=choices(state, versions, kept, quality.evaluations(trainings)),
        timeline=history.timeline(rounds, time.time()),
        listing=history.listing(rounds, before),
    )
