"""The command `train`: asks the worker for a training, as the button Start Training does."""

from __future__ import annotations

from backend.commands.console import console, errors_as_messages
from backend.commands.projects import ProjectOption, context_of


def train(project: ProjectOption = 0) -> None:
    """Start a training, as Start Training does. The worker runs it."""
    with errors_as_messages():
        context = context_of(project, known=True)
        context.store.record_event(context.project_id, "train")
        runs = context.store.worker_alive()
        console.print(
            f"Project {context.project_id}: a training is asked for."
            f" {'`rounds` shows it.' if runs else 'No worker runs now: start one (`serve`).'}"
        )
