"""What the commands share: arguments and options of one name and meaning, and what they say."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import TaskID

Coco = Annotated[Path, typer.Argument(help="COCO instances file.")]
Images = Annotated[Path, typer.Argument(help="Folder of its images.")]
Model = Annotated[Path, typer.Argument(help="Checkpoint folder.")]
Out = Annotated[Path, typer.Argument(help="File or folder to write.")]
Seed = Annotated[int, typer.Option(help="Everything random follows from it.")]


def say(value: object) -> None:
    """One JSON line on standard output: the command's result."""
    sys.stdout.write(json.dumps(value) + "\n")


def bars() -> Bars:
    """Progress bars on standard error."""
    return Bars(console=Console(stderr=True))


class Steps:
    """A strategy's `ProgressCallback`: bars on standard error, shown from its first step on."""

    def __init__(self) -> None:
        self._bars = bars()
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, *_: object) -> None:
        if self._tasks:
            self._bars.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """`done` of `total` of `what` is done."""
        if not self._tasks:
            self._bars.start()
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what)
        self._bars.update(self._tasks[what], completed=done, total=total)
