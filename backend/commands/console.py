"""Shared by the commands: the console, error messages without tracebacks, settings with logging."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from backend.errors import BackendError
from backend.logs import setup_logging
from backend.settings import Settings, given_variables, load_settings
from backend.settings_table import misspelt, misspelt_in_words
from taudis.errors import TaudisError

console = Console(soft_wrap=True)
logger = logging.getLogger(__name__)


def settings_with_logging() -> Settings:
    """Settings from the environment. Sets up logging, and logs misspelt variables."""
    settings = load_settings()
    setup_logging(settings.log_level)
    if wrong := misspelt(given_variables()):
        logger.warning("%s", misspelt_in_words(wrong))
    return settings


@contextmanager
def errors_as_messages() -> Iterator[None]:
    """Turn expected errors into a message without a traceback, and exit status 1."""
    try:
        yield
    except (BackendError, TaudisError) as error:
        console.print(f"[bold red]error:[/] {error}", markup=True, highlight=False)
        raise typer.Exit(1) from None
