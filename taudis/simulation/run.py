"""Runs the jobs of a grid that have no row yet. Several processes may do this at the same time.

Each result is saved as soon as it is complete, in a file that is written atomically: the choice of
images, the trained model, its figures, its pool. A run that was killed continues from these files,
and a training from its last saved state.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import quote

from taudis.errors import DataError, TaudisError
from taudis.files import remove_drafts, write_json
from taudis.simulation.choosing import choose_images
from taudis.simulation.claims import Claims, Lock
from taudis.simulation.data_set import DataSet
from taudis.simulation.gate import signal_of_rows
from taudis.simulation.grid import Asked, Grid, join, read_grid
from taudis.simulation.jobs import Job
from taudis.simulation.make_row import finite, make_row
from taudis.simulation.model_store import BusyError, Model, ModelStore
from taudis.simulation.presets import Preset
from taudis.simulation.row_log import Row, RowLog

logger = logging.getLogger(__name__)

ROWS_FILE, GRID_FILE, LOCK_FILE = "rows.jsonl", "grid.json", "lock"
WAIT = 1.0
"""Seconds between two attempts while other processes are making all remaining rows."""


Step = Literal["made", "busy", "finished"]
"""made: a row was made. busy: other processes are making the rest. finished: every row exists."""


class Watcher(Protocol):
    """Shows the progress of a run."""

    def started(self, job: Job) -> None:
        """The process begins to make a row."""

    def step(self, done: int, steps: int) -> None:
        """A training step for this row is done."""

    def rows(self, done: int, job: Job | None, row: Row | None) -> None:
        """`done` requested rows exist. This process has just made the row of `job`, or none."""


@dataclass(frozen=True)
class Outcome:
    """The result of a run."""

    rows: Mapping[Job, Row]  # of all requested jobs
    made: int  # number of rows that this process made


class Folder:
    """The folder of a run."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.lock = Lock(path / LOCK_FILE)
        self.log = RowLog(path / ROWS_FILE, self.lock)

    @property
    def grid_file(self) -> Path:
        """The file of `taudis.simulation.grid`."""
        return self.path / GRID_FILE

    def choice_file(self, job: Job) -> Path:
        """The file with the chosen images of a job, until its row is written."""
        return self.path / "choices" / f"{quote(job.name, safe='@=+')}.json"


class Run:
    """The part of a process in a run."""

    def __init__(
        self,
        folder: Folder,
        grid: Grid,
        data: DataSet,
        presets: Mapping[str, Preset],
        asked: Asked,
        claims: Claims,
    ) -> None:
        self.folder, self.grid, self.presets, self.claims = folder, grid, presets, claims
        self.jobs = asked.jobs(grid.rounds)
        self.gate = [job for job in self.jobs if job.kind != "round"] if asked.all_labels else []
        self.store = ModelStore(folder.path / "models", claims, grid, data)
        self.made = 0
        self.failures: dict[Job, TaudisError] = {}
        (folder.path / "choices").mkdir(exist_ok=True)

    def finish(self, watcher: Watcher) -> Outcome:
        """Make every missing row, and wait for the rows of other processes.

        Raises the error of the first row that could not be made, after all other rows.
        """
        while (step := self.advance(watcher)) != "finished":
            if step == "busy":
                time.sleep(WAIT)
        rows = self.folder.log.read()
        return Outcome({job: rows[job] for job in self.jobs}, self.made)

    def advance(self, watcher: Watcher) -> Step:
        """Make a missing row, if possible.

        If it is not possible, other processes have claimed all jobs that can run now. Each of these
        jobs will end, or its claim can be taken over after its process has died. A row that cannot
        be made, such as one of a training that diverges, does not stop the others: its error is
        raised when no other row is left.
        """
        self.store.on_step = watcher.step
        rows = self.folder.log.read()
        missing = [job for job in self.jobs if job not in rows]
        watcher.rows(len(self.jobs) - len(missing), None, None)
        left = [job for job in missing if not self._is_blocked(job, rows)]
        if not left:
            self._raise_failure(missing)
            self._clear(rows)
            return "finished"
        return "made" if any(self._tried(job, rows, watcher) for job in left) else "busy"

    def _is_blocked(self, job: Job, rows: Mapping[Job, Row]) -> bool:
        """Whether the row of a job, or one that it follows on, could not be made."""
        if job in rows:
            return False
        return job in self.failures or (
            job.before is not None and self._is_blocked(job.before, rows)
        )

    def _raise_failure(self, missing: Sequence[Job]) -> None:
        """Raise the error of the first of the missing rows, if there is one."""
        failed = [job for job in missing if job in self.failures]
        if not failed:
            return
        error = self.failures[failed[0]]
        names = ", ".join(job.name for job in failed)
        error.add_note(
            f"Rows that could not be made: {names}. {len(missing) - len(failed)} more follow on"
            f" them. All other rows are there."
        )
        raise error

    def _tried(self, job: Job, rows: Mapping[Job, Row], watcher: Watcher) -> bool:
        """Make the row of a job, if it is possible now. Returns whether it was."""
        before = rows.get(job.before) if job.before else None
        if (job.before and before is None) or not self.claims.take(job.name):
            return False
        try:
            watcher.started(job)
            row = self._row(job, before)
        except BusyError:
            return False
        except TaudisError as error:
            error.add_note(f"This happened in the row {job.name}.")
            logger.error("The row %s could not be made: %s", job.name, error)
            self.failures[job] = error
            return True
        finally:
            self.claims.release(job.name)
        if row is None:
            return True
        rows = self.folder.log.read()
        watcher.rows(sum(each in rows for each in self.jobs), job, row)
        if job in self.gate and all(each in rows for each in self.gate):
            self._report_signal([rows[each] for each in self.gate])
        self._clear(rows)
        return True

    def _report_signal(self, rows: list[Row]) -> None:
        """Log a warning, before any strategy runs, if more labels do not improve the model."""
        if warning := signal_of_rows(rows).warning:
            logger.warning("%s", warning)

    def _row(self, job: Job, before: Row | None) -> Row | None:
        """Make and write the row of a claimed job; None if another process has written it."""
        if job in self.folder.log.read():
            return None
        preset = self.presets[job.strategy] if job.strategy else None
        choice = self._choice(job, preset, before) if preset and before else None
        row = make_row(job, self.store, preset, before, choice)
        written = self.folder.log.append(row)
        self.folder.choice_file(job).unlink(missing_ok=True)
        self.made += written
        return row if written else None

    def _choice(self, job: Job, preset: Preset, before: Row) -> dict[str, Any]:
        """The chosen images of a job; chosen once, then read from a file."""
        path = self.folder.choice_file(job)
        if not path.exists():
            model = Model.of(job.before or job, before["labelled"])
            found = choose_images(self.store, model, preset, job.round or 0).to_dict()
            remove_drafts(path)
            write_json(path, finite(found))
        choice: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return choice

    def _clear(self, rows: Mapping[Job, Row]) -> None:
        """Remove checkpoints and pools that no row needs any more."""
        with self.folder.lock.held():  # so that no process adds rows to the grid meanwhile
            known = read_grid(self.folder.grid_file)
            wanted = list(known.jobs())
            by_all = {name for name, each in known.presets.items() if each.chooser == "all"}
            for job in wanted:
                if job in rows and is_finished(job, rows, wanted, by_all):
                    self.store.clear(rows[job]["model"])


def is_finished(
    job: Job, rows: Mapping[Job, Row], wanted: list[Job], by_all: Collection[str] = ()
) -> bool:
    """Whether no row needs the model of a job's row any more.

    by_all: names of the strategies for which the model of all training images chooses.

    The model is needed for the next round of every strategy that shares it. A strategy without a
    row of the same round may choose the same images and so share the model later.
    """
    if job.kind == "all":
        readers = [each for each in wanted if each.seed == job.seed and each.strategy in by_all]
        return all(each in rows for each in readers)
    here = job.round or 0
    peers = [each for each in wanted if each.seed == job.seed and each.kind == "round"]
    last = max((each.round or 0 for each in peers), default=0)
    if here == last:
        return True
    key = rows[job]["model"]
    for each in peers:
        if each.round != here + 1 or each in rows:
            continue
        before = rows.get(each.before) if each.before else None
        if before is None or before["model"] == key:
            return False
    return True


def check_rows(log: RowLog, grid: Grid, presets: Sequence[Preset]) -> None:
    """Raise DataError for a row of another grid, or of a strategy with other settings.

    Rows may have been copied into the folder from another machine, without `grid.json`.
    """
    settings = {preset.name: preset.to_dict() for preset in presets}
    for job, row in log.read().items():
        where = f"{log.path}, row {job.name}"
        if row["grid"] != grid.hash:
            raise DataError(
                f"{where}: expected a row of the grid {grid.hash}, got one of {row['grid']}. Give"
                " the options that made it, or another --out."
            )
        made_with = row["record"]["strategy"]
        if job.strategy in settings and made_with != settings[job.strategy]:
            raise DataError(
                f"{where}: expected the settings of {job.strategy} as they are here,"
                f" {settings[job.strategy]}, got {made_with}. Give the strategy another name, or"
                " another --out."
            )


# long: the signature and the docstring take half of it
def start(
    path: Path,
    grid: Grid,
    data: DataSet,
    presets: tuple[Preset, ...],
    asked: Asked,
    watcher: Watcher,
    *,
    claims: Callable[[Path, Lock], Claims] = Claims,
) -> Outcome:
    """Run a grid in a folder, from the start or from where it stopped.

    Raises DataError if the folder has another grid, and the errors of training.
    """
    folder = Folder(path)
    join(folder.grid_file, folder.lock, grid, presets, asked)
    check_rows(folder.log, grid, presets)
    with claims(path / "claims", folder.lock) as own:
        named = {preset.name: preset for preset in presets}
        return Run(folder, grid, data, named, asked, own).finish(watcher)
