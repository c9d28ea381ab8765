"""Finds a command's project, and reads its labels like training does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from backend.commands.console import settings_with_logging
from backend.errors import BackendError, RoundError, StudioNotFound
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.left_out import Summary
from backend.settings import Settings
from backend.store.database import Store
from backend.store.lease import NO_LEASE
from backend.store.projects import Project
from backend.worker.context import RoundContext
from backend.worker.dataset import AnnotatedSamples

ProjectOption = Annotated[
    int, typer.Option("--project", "-p", help="Label Studio project id; the only one by default.")
]


def context_of(project: int, *, known: bool = False) -> RoundContext:
    """The context of a project. 0 means the only known project.

    Commands never run rounds, so they need no lease: the worker may run at the same time.

    Args:
        project: Label Studio's number of the project, or 0.
        known: the project must be known here, because the command reads what the backend stores.

    Raises BackendError if the project is not known, or if 0 is not clear. The message has the known
    projects.
    """
    settings = settings_with_logging()
    store = Store(settings.model_dir)
    projects = store.projects()
    if not project:
        if len(projects) != 1:
            raise BackendError(f"Expected --project. {_known(settings, projects)}")
        project = projects[0].id
    elif known and store.project(project) is None:
        raise BackendError(
            f"--project: expected a project that was connected to this backend, got {project}."
            f" {_known(settings, projects)}"
        )
    return RoundContext(settings, store, NO_LEASE, project)


def _known(settings: Settings, projects: Sequence[Project]) -> str:
    """The projects that the data directory has, in a sentence."""
    folder = f"MODEL_DIR={settings.model_dir.resolve()}"
    if not projects:
        connect = "`python -m backend connect --project N` connects one"
        return f"No project was ever connected to {folder}: {connect}."
    each = (f"{row.id} {row.state.title!r}" if row.state.title else str(row.id) for row in projects)
    return f"Known in {folder}: {', '.join(each)}."


def labels_of(context: RoundContext) -> tuple[AnnotatedSamples, Summary]:
    """All usable labelled tasks of a project, by id, and a summary of what training leaves out.

    The project need not be connected.

    Raises:
        RoundError: no labelled task can be used.
        StudioNotFound: Label Studio has no such project.
    """
    try:
        found = context.studio.project(context.project_id)
    except StudioNotFound as error:
        projects = context.store.projects()
        if context.project_id in {row.id for row in projects}:
            raise
        raise StudioNotFound(
            f"--project: expected a project of Label Studio, got {context.project_id}. {error}"
            f" {_known(context.settings, projects)}"
        ) from error
    config = parse_label_config(found["label_config"])
    annotated = context.studio.export_annotated(context.project_id)
    samples = AnnotatedSamples(
        sorted(annotated, key=lambda task: int(task["id"])), config, context.images
    )
    left_out = Summary.of(samples.left_out, train=len(samples))
    if not len(samples):
        raise RoundError(
            "Expected at least one labelled task that can be used, got none."
            f" {left_out.in_words()}".rstrip()
        )
    return samples, left_out
