"""The options of the command `review`. `backend.commands.review` does the work."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from backend.commands.console import console, errors_as_messages
from backend.commands.projects import ProjectOption, context_of
from backend.worker import review_tab
from taudis.cli.options import progress_bars


# long: half of the lines are options
def review(
    folds: Annotated[
        int, typer.Option(help="Models, each trained without its share of the labelled images.")
    ] = 3,
    group: Annotated[
        str,
        typer.Option(
            help="Regular expression: images whose addresses agree in its brackets are one scene,"
            " all in one fold."
        ),
    ] = "",
    limit: Annotated[
        int, typer.Option(min=1, help="Tasks in the tab, the most suspicious ones.")
    ] = 200,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Also write all suspects to this CSV file.")
    ] = None,
    confirm: Annotated[
        list[int] | None,
        typer.Option(
            help="Number of a listed task with correct labels: remove it from this list and from"
            " later lists. May be given several times. No labels are checked then."
        ),
    ] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove the tab and its column instead.")
    ] = False,
    project: ProjectOption = 0,
) -> None:
    """List labelled tasks that are likely wrong in the Data Manager's tab "TAUDIS review".

    Each image is checked by a model that was not trained on it. This takes several trainings. The
    same command resumes an interrupted run. A new run replaces the list.
    """
    with errors_as_messages():
        context = context_of(project, known=True)
        if remove:
            count = review_tab.remove(context)
            return console.print(f"Project {context.project_id}: {count} tasks unmarked.")
        if confirm:
            count = review_tab.confirm(context, confirm)
            return console.print(f"Project {context.project_id}: {count} tasks confirmed.")
        # torch loads after --remove and --confirm, which need no model
        import torch

        from backend.commands.review import Options, run
        from backend.process import limit_memory

        os.nice(context.settings.nice)
        torch.set_num_threads(context.settings.torch_threads)
        limit_memory(training=True)
        with progress_bars() as bars:
            found = run(context, Options(folds, group, limit, csv), bars)
        console.print(f"Project {context.project_id}: {found.in_words()}", markup=False)
