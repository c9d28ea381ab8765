"""Makes the rows of a simulation's grid by actors of a ray cluster.

An actor works like any other process of the run (`taudis.simulation.run`): it claims a row, makes
it and writes it. The driver asks idle actors for the next row. Because of the claims, processes
without ray may share the run. All nodes must see the data and the folder of the run.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from taudis.data.coco import CocoSamples
from taudis.detector.device import Device
from taudis.distributed.actors import Actors, Answer
from taudis.distributed.cluster import Cluster, device_of_this_actor
from taudis.errors import ClusterError, DataError, TaudisError
from taudis.simulation.claims import Claims, Owner, claimed_by
from taudis.simulation.data_set import DataSet, data_set
from taudis.simulation.grid import Asked, Grid, join
from taudis.simulation.jobs import Job
from taudis.simulation.presets import Preset
from taudis.simulation.row_log import Row
from taudis.simulation.run import GRID_FILE, WAIT, Folder, Outcome, Run, Step, Watcher, check_rows
from taudis.types import LabelMap

DEATHS_OF_ROW, DEATHS_IN_VAIN = 5, 12
"""The run ends after this many deaths at the same row, or since the last finished row. Each death
costs the time since the last saved state of a training."""


@dataclasses.dataclass(frozen=True, eq=False)
class GridWork:
    """The data that all actors of a run share."""

    out: Path  # folder of the run
    grid: Grid
    label_map: LabelMap
    samples: CocoSamples
    rows: tuple[tuple[int, ...], tuple[int, ...]]  # rows of training and of test images
    presets: tuple[Preset, ...]
    asked: Asked
    threads: int = 1  # CPU threads of an actor


class RowMaker:
    """An actor that makes rows."""

    def __init__(self, work: GridWork) -> None:
        self.work, self._stack = work, ExitStack()

    def prepare(self) -> Owner:
        """Join the run. Returns the owner of this process's claims. Raises DataError, OSError."""
        import torch

        torch.set_num_threads(self.work.threads)
        # Checked before `Folder` makes a folder that no other node would read.
        if not (self.work.out / GRID_FILE).is_file():
            raise DataError(
                f"{_node()}: expected the run in {self.work.out}, found none. All nodes must see"
                " this folder: put it where they do, or leave out the node."
            )
        work, folder = self.work, Folder(self.work.out)
        if work.grid.device == "cuda" and device_of_this_actor() == "cpu":
            raise DataError(
                "ray: expected a GPU for each process, since this run was begun on one; a process"
                f" on the node {os.uname().nodename} has none. Give the nodes' GPUs to ray (`ray"
                " start --num-gpus`) and PyTorch for CUDA to its Python, or begin another run on a"
                " machine without a GPU."
            )
        claims = self._stack.enter_context(Claims(work.out / "claims", folder.lock))
        data = data_set(work.label_map, work.samples, work.rows, work.grid.recipe.model)
        named = {preset.name: preset for preset in work.presets}
        self.run = Run(folder, work.grid, data, named, work.asked, claims)
        self.seen = _Seen()
        return claims.owner

    def make_row(self) -> tuple[Step | TaudisError, Job | None]:
        """Make a row, if possible. Returns the step's result and the job of the row.

        The result is an error if this process failed at every missing row that no other process
        makes, or if its node lacks memory, disk or files. It is returned, not raised, because
        another node may be able to make the rows.
        """
        self.seen.job = None
        try:
            step = self.run.advance(self.seen)
        except TaudisError as error:
            return error, self.seen.job
        except (OSError, MemoryError) as error:
            what = f"{_node()}: {type(error).__name__}: {error}"
            return ClusterError(f"{what}. Mend it and run the command again: it goes on."), None
        return step, self.seen.job


def _node() -> str:
    """The name of this process's node, for messages."""
    return f"node {os.uname().nodename}"


class _Seen:
    """A watcher that remembers the job of the finished row."""

    def __init__(self) -> None:
        self.job: Job | None = None

    def started(self, job: Job) -> None:
        """See `Watcher`."""

    def step(self, done: int, steps: int) -> None:
        """See `Watcher`."""

    def rows(self, done: int, job: Job | None, row: Row | None) -> None:
        """See `Watcher`."""
        self.job = job or self.job


def work_of(
    out: Path, grid: Grid, data: DataSet, presets: tuple[Preset, ...], asked: Asked, threads: int
) -> GridWork:
    """The work of a run with this data set, with absolute paths."""
    samples = data.samples
    samples = dataclasses.replace(samples, paths=tuple(path.absolute() for path in samples.paths))
    train = tuple(data.row_of[number] for number in data.train_ids)
    rows = train, data.test_rows
    return GridWork(out.absolute(), grid, data.label_map, samples, rows, presets, asked, threads)


class _Deaths:
    """Counts the deaths of actors by the rows that they had claimed."""

    def __init__(self, claims: Path, jobs: Sequence[Job]) -> None:
        self.claims, self.rows = claims, {job.name for job in jobs}
        self.of_row: Counter[str] = Counter()
        self.in_vain = 0  # deaths since the last finished row

    def add(self, owner: Owner) -> None:
        """Count the death of a process. owner: of its claims. Raises ClusterError if too many."""
        self.in_vain += 1
        self.of_row.update(self.rows.intersection(claimed_by(self.claims, owner)))
        row, count = next(iter(self.of_row.most_common(1)), ("", 0))
        if count < DEATHS_OF_ROW and self.in_vain < DEATHS_IN_VAIN:
            return
        what = f"{count} processes died at the row {row}" if row else f"{self.in_vain} died"
        raise ClusterError(
            f"ray: {what}. Look at the memory of the nodes and at ray's logs"
            " (/tmp/ray/session_latest/logs on each), then run the command again: it goes on."
        )


def _joined(work: GridWork) -> Folder:
    """The folder of the run. Raises DataError if it has another grid."""
    folder = Folder(work.out)
    join(folder.grid_file, folder.lock, work.grid, work.presets, work.asked)
    check_rows(folder.log, work.grid, work.presets)
    return folder


class _Driver:
    """Gives rows to idle actors and counts what they answer."""

    def __init__(self, folder: Folder, jobs: Sequence[Job], watcher: Watcher) -> None:
        self.folder, self.jobs, self.watcher = folder, jobs, watcher
        self.made = 0  # rows that the actors made
        self.failures: list[TaudisError] = []  # of actors that can make none of the missing rows
        self.resting: list[tuple[float, Any, Owner]] = []  # idle actors, and when each asks again
        self._deaths = _Deaths(folder.path / "claims", jobs)

    def report(self, job: Job | None = None) -> Mapping[Job, Row]:
        """Show the progress, after the row of `job` if there is one. Returns the finished rows."""
        rows = self.folder.log.read()
        self.watcher.rows(
            sum(each in rows for each in self.jobs), job, rows.get(job) if job else None
        )
        return rows

    def take(self, answer: Answer, pool: Actors) -> None:
        """Count an answer. Raises ClusterError if processes die repeatedly."""
        if answer.actor is None:
            self._deaths.add(answer.work)
            return
        owner = answer.value if answer.work is None else answer.work
        step, job = ("made", None) if answer.work is None else answer.value
        if isinstance(step, TaudisError):
            self.failures.append(step)
            pool.dismiss(answer.actor)
            return
        if job is not None:
            self.made += 1
            self._deaths.in_vain = 0
            self.report(job)
        wait = WAIT if step == "busy" else 0
        self.resting.append((time.monotonic() + wait, answer.actor, owner))

    def give(self, pool: Actors) -> None:
        """Let the actors that have rested make a row."""
        now = time.monotonic()
        for _, actor, owner in (each for each in self.resting if each[0] <= now):
            pool.give(actor, owner, lambda one: one.make_row.remote())
        self.resting = [each for each in self.resting if each[0] > now]


def run_grid(
    cluster: Cluster, work: GridWork, watcher: Watcher, *, actors: int | None = None
) -> Outcome:
    """Make every requested row, from the start or from where a run stopped.

    actors: their number; None: one per GPU for a grid on GPUs, else one per core. An actor that can
    make none of the missing rows is dismissed, and the others go on: its node may lack memory or
    files. Raises the error of the last such actor if none is left; DataError if the folder has
    another grid, and if a process of a grid on GPUs has no GPU; ClusterError if processes die
    repeatedly.
    """
    folder, jobs = _joined(work), work.asked.jobs(work.grid.rounds)
    device: Device = "cuda" if work.grid.device == "cuda" else "cpu"
    driver = _Driver(folder, jobs, watcher)
    with Actors(cluster, RowMaker, (work,), actors, len(jobs), device=device) as pool:
        while True:
            rows = driver.report()
            is_done = all(job in rows for job in jobs)
            if is_done and not pool.busy:  # a row exists before its actor answers
                return Outcome({job: rows[job] for job in jobs}, driver.made)
            if driver.failures and not (driver.resting or pool.pending):
                raise driver.failures[-1]
            for answer in pool.answers():
                driver.take(answer, pool)
            if not is_done:
                driver.give(pool)
