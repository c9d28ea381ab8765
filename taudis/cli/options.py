"""Arguments and options that several commands share, their progress bars and their result."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import TaskID

from taudis.errors import DataError

Coco = Annotated[Path, typer.Argument(help="COCO instances file.")]
Images = Annotated[Path, typer.Argument(help="Folder of its images.")]
Model = Annotated[Path, typer.Argument(help="Checkpoint folder.")]
Architecture = Annotated[
    str,
    typer.Option(
        "--model",
        help="mask_rcnn, or mask2former: needs the extra mask2former, and --weights none or a"
        " folder. Commands that take a checkpoint read it from there.",
    ),
]
Out = Annotated[Path, typer.Argument(help="File or folder to write.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]


def threads_of(context: typer.Context) -> int:
    """The value of the option `--threads`, which is given before the command; default 1."""
    given = context.parent.params if context.parent else {}
    return int(given.get("threads", 1))


def check_file_path(path: Path) -> None:
    """Raise DataError unless a file can have this name: its folder exists, and it is no folder.

    Called before the work whose result is written there, so that no work is lost.
    """
    if not path.parent.is_dir():
        raise DataError(f"{path}: expected the folder {path.parent} to exist; make it first.")
    if path.is_dir():
        raise DataError(f"{path}: expected the name of a file to write, it is a folder.")


def write_result(value: object) -> None:
    """Write the result of a command as a JSON line to standard output."""
    sys.stdout.write(json.dumps(value) + "\n")


def progress_bars() -> Bars:
    """Progress bars on standard error."""
    return Bars(console=Console(stderr=True))


class StrategyBars:
    """A `ProgressCallback` for strategies, with bars on standard error after its first call."""

    def __init__(self) -> None:
        self._bars = progress_bars()
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> StrategyBars:
        return self

    def __exit__(self, *_: object) -> None:
        if self._tasks:
            self._bars.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` units of the step `what` are done."""
        if not self._tasks:
            self._bars.start()
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what)
        self._bars.update(self._tasks[what], completed=done, total=total)
