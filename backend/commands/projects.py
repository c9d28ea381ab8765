"""Finds a command's project, and reads its labels like training does."""

from __future__ import annotations

from typing import Annotated

import typer

from backend.commands.console import settings_with_logging
from backend.errors import BackendError, RoundError
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.left_out import Summary
from backend.store.database import Store
from backend.store.lease import NO_LEASE
from backend.worker.context import RoundContext
from backend.worker.dataset import AnnotatedSamples

ProjectOption = Annotated[
    int, typer.Option("--project", "-p", help="Label Studio project id; the only one by default.")
]


def context_of(project: int) -> RoundContext:
    """The context of a project. 0 means the only known project.

    Commands never run rounds, so they need no lease: the worker may run at the same time.
    """
    settings = settings_with_logging()
    store = Store(settings.model_dir)
    if not project:
        known = [row.id for row in store.projects()]
        if len(known) != 1:
            raise BackendError(f"Expected --project: this backend knows projects {known}.")
        project = known[0]
    return RoundContext(settings, store, NO_LEASE, project)


def labels_of(context: RoundContext) -> tuple[AnnotatedSamples, Summary]:
    """All usable labelled tasks of a project, by id, and a summary of what training leaves out.

    Raises RoundError if no labelled task can be used.
    """
    config = parse_label_config(context.studio.project(context.project_id)["label_config"])
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
