"""The command `forget`: deletes all data of a project that Label Studio no longer has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backend.commands.console import console, errors_as_messages, settings_with_logging
from backend.errors import BackendError, StudioNotFound
from backend.store import secrets
from backend.store.database import Store
from backend.store.lease import NO_LEASE
from backend.worker.context import RoundContext, remove
from backend.worker.prune import size_of

FOLDERS = ("models", "predictions", "rounds", "control", "queue", "reviews")
"""Folders of the data directory with a subfolder for each project."""


def forget(
    project: Annotated[int, typer.Argument(help="Label Studio project id.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether to go on.")] = False,
) -> None:
    """Delete what is kept of a project that Label Studio does not have: also its models.

    The backend must be stopped. A project that Label Studio still shows is refused.
    """
    with errors_as_messages():
        settings = settings_with_logging()
        context = RoundContext(settings, Store(settings.model_dir), NO_LEASE, project)
        check_gone(context)
        folders = folders_of(context)
        size = sum(map(size_of, folders)) / 1e6
        title, newest = context.load_project().state.title, context.store.rounds(project, limit=1)
        rounds = newest[0].number if newest else 0
        console.print(
            f"Project {project} {title!r}: {rounds} rounds, {size:.1f} MB of models and more.",
            markup=False,
        )
        if not yes and not typer.confirm("Delete all of it?"):
            raise typer.Exit(1)
        forget_project(context, folders)
        console.print(f"Project {project} is forgotten.")


def check_gone(context: RoundContext) -> None:
    """Check that a project is known here and that Label Studio does not show it.

    Raises:
        RoundError: it is not known here.
        BackendError: Label Studio shows it.
        StudioError: Label Studio cannot be asked.
    """
    context.load_project()
    try:
        context.studio.project(context.project_id)
    except StudioNotFound:
        return
    raise BackendError(
        f"Label Studio shows project {context.project_id}. Expected one that was deleted there."
        " `disconnect` restores its settings."
    )


def folders_of(context: RoundContext) -> list[Path]:
    """The folders with files of this project only."""
    folders = (context.data / folder / str(context.project_id) for folder in FOLDERS)
    return [folder for folder in folders if folder.is_dir()]


def forget_project(context: RoundContext, folders: list[Path]) -> None:
    """Delete folders, token, then rows: the rows come last, so the command can run again after a
    kill.

    Raises BackendError if a worker runs, which could write what is deleted here.
    """
    store = context.store
    lease = None if store.worker_alive() else store.acquire()
    if lease is None:
        raise BackendError("A worker runs on this data directory. Stop it, then `forget` again.")
    try:
        for folder in folders:
            remove(folder)
        secrets.forget_token(context.data, context.project_id)
        store.forget_project(context.project_id, lease)
    finally:
        store.release(lease)
