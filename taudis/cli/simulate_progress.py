"""The progress of `simulate`: a bar on a terminal, a line a row elsewhere; with the time left."""

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
    """Counts the rows of a grid, those of other processes included, and estimates the time left."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.job = ""
        self._began = time.monotonic()
        self._first: int | None = None  # rows that were there at the start
        self._done = 0
        self._trained = 0.0  # of the row at work, 0..1

    def started(self, job: Job) -> None:
        """Show which row this process works on."""
        self.part(job.name)

    def part(self, name: str) -> None:
        """Show what this process works on."""
        self.job, self._trained = name, 0.0
        self.update()

    def step(self, done: int, steps: int) -> None:
        """A training step of the row at work is done."""
        self._trained = done / steps
        self.update()

    def rows(self, done: int, job: Job | None, row: Row | None) -> None:
        """So many rows exist; `job` with `row` was finished by this process."""
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
        """Rows, the trained part of the row at work included."""
        return min(self._done + self._trained, self.total)

    @property
    def left(self) -> str:
        """The time left, by the rows that were made since the start."""
        made = self.done - (self._first or 0)
        if made <= 0:
            return "?"
        seconds = (time.monotonic() - self._began) * (self.total - self.done) / made
        return str(timedelta(seconds=round(seconds)))

    def report(self, text: str) -> None:
        """A row is finished."""

    def update(self) -> None:
        """Something changed."""


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
    """A line on standard error for each row, where there is no terminal."""

    def report(self, text: str) -> None:
        """Write the row, how many there are, and the time left."""
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
