"""What the commands share: the console, messages instead of tracebacks, settings with logging."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from backend.errors import BackendError
from backend.logs import setup_logging
from backend.settings import Settings, load_settings
from taudis.errors import TaudisError

console = Console(soft_wrap=True)


def settings_with_logging() -> Settings:
    """Settings from the environment, with logging set up."""
    settings = load_settings()
    setup_logging(settings.log_level)
    return settings


@contextmanager
def errors_as_messages() -> Iterator[None]:
    """Turn expected errors into a message without a traceback, and exit status 1."""
    try:
        yield
    except (BackendError, TaudisError) as error:
        console.print(f"[bold red]error:[/] {error}", markup=True, highlight=False)
        raise typer.Exit(1) from None
