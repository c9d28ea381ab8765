"""The progress of `simulate` with the remaining time: a bar on a terminal, else a line per row."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.progress import TaskID

from taudis.cli.options import progress_bars
from taudis.simulation.jobs import Job
from taudis.simulation.row_log import Row


class GridProgress:
    """Counts the rows of a grid, also of other processes, and estimates the remaining time."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.job = ""
        self._began = time.monotonic()
        self._first: int | None = None  # number of rows at the start
        self._done = 0
        self._trained = 0.0  # progress of the training for the current row, 0..1

    def started(self, job: Job) -> None:
        """Show the row that this process is making."""
        self.part(job.name)

    def part(self, name: str) -> None:
        """Show the current work of this process."""
        self.job, self._trained = name, 0.0
        self.update()

    def step(self, done: int, steps: int) -> None:
        """A training step for the current row is done."""
        self._trained = done / steps
        self.update()

    def rows(self, done: int, job: Job | None, row: Row | None) -> None:
        """`done` rows exist. This process has just made `row` of `job`, or none."""
        if self._first is None:
            self._first = done
        self._done = done
        if job is not None:
            self._trained = 0.0
        if job is not None and row is not None:
            self.report(f"{job.name}: mAP50 {row['map50']:.4f}, {row['labelled_images']} images")
        self.update()

    @property
    def done(self) -> float:
        """Number of rows, including the trained part of the current row."""
        return min(self._done + self._trained, self.total)

    @property
    def left(self) -> str:
        """The remaining time, estimated from the rows made since the start."""
        made = self.done - (self._first or 0)
        if made <= 0:
            return "?"
        seconds = (time.monotonic() - self._began) * (self.total - self.done) / made
        return str(timedelta(seconds=round(seconds)))

    def report(self, text: str) -> None:
        """Show a text about a finished row."""

    def update(self) -> None:
        """Show the current state."""


class Bar(GridProgress):
    """A bar on standard error."""

    def __init__(self, total: int) -> None:
        super().__init__(total)
        self.bars = progress_bars()
        self.task: TaskID = self.bars.add_task("rows", total=total)

    def report(self, text: str) -> None:
        """Print the row above the bar."""
        self.bars.console.print(text, highlight=False, markup=False)

    def update(self) -> None:
        """Redraw the bar."""
        about = f"{self._done}/{self.total} rows, {self.left} left: {self.job}"
        self.bars.update(self.task, completed=self.done, description=about.replace("[", r"\["))


class Lines(GridProgress):
    """A line on standard error for each row, if there is no terminal."""

    def report(self, text: str) -> None:
        """Write the text, the number of rows, and the remaining time."""
        sys.stderr.write(f"[{self._done}/{self.total}, {self.left} left] {text}\n")
        sys.stderr.flush()


@contextmanager
def progress(total: int) -> Iterator[GridProgress]:
    """Show the progress of `total` rows in a block."""
    if not sys.stderr.isatty():
        yield Lines(total)
        return
    bar = Bar(total)
    with bar.bars:
        yield bar
