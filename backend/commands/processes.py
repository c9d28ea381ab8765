"""The commands that run the backend: both processes together, or each by itself."""

from __future__ import annotations

import os

from backend.commands import serve as serve_
from backend.commands.console import errors_as_messages, settings_with_logging


def worker() -> None:
    """Run the worker: rounds, first orders, polling. Stops at SIGTERM or Ctrl-C."""
    from backend.worker import worker as worker_  # torch: not in the process of `serve`

    with errors_as_messages():
        worker_.run(settings_with_logging())


def web() -> None:
    """Run the web process alone. A worker must run elsewhere with the same MODEL_DIR."""
    with errors_as_messages():
        settings = settings_with_logging()
        serve_.check(settings)
        command = serve_.web_command(settings)
        os.execvpe(command[0], command, serve_.child_environment(settings))  # noqa: S606


def serve() -> None:
    """Run the web process and a worker beside it."""
    with errors_as_messages():
        serve_.serve(settings_with_logging())
