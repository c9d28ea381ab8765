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
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from taudis.data.coco import CocoSamples
from taudis.detector.device import Device
from taudis.distributed.actors import Actors
from taudis.distributed.cluster import Cluster, device_of_this_actor
from taudis.errors import ClusterError, DataError
from taudis.simulation.claims import Claims, Owner, claimed_by
from taudis.simulation.data_set import DataSet, data_set
from taudis.simulation.grid import Asked, Grid, join
from taudis.simulation.jobs import Job
from taudis.simulation.presets import Preset
from taudis.simulation.row_log import Row
from taudis.simulation.run import WAIT, Folder, Outcome, Run, Step, Watcher, check_rows
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

    def make_row(self) -> tuple[Step, Job | None]:
        """Make a row, if possible. Returns the step's result and the job of the row."""
        self.seen.job = None
        step = self.run.advance(self.seen)
        return step, self.seen.job


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


def run_grid(
    cluster: Cluster, work: GridWork, watcher: Watcher, *, actors: int | None = None
) -> Outcome:
    """Make every requested row, from the start or from where a run stopped.

    actors: their number; None: one per GPU for a grid on GPUs, else one per core. Raises DataError
    if the folder has another grid, and if a process of a grid on GPUs has no GPU; ClusterError if
    processes die repeatedly; and the errors of training.
    """
    folder, jobs = _joined(work), work.asked.jobs(work.grid.rounds)
    made, resting, deaths = 0, list[tuple[float, Any, Owner]](), _Deaths(work.out / "claims", jobs)
    device: Device = "cuda" if work.grid.device == "cuda" else "cpu"
    with Actors(cluster, RowMaker, (work,), actors, len(jobs), device=device) as pool:
        while True:
            rows = folder.log.read()
            done = sum(job in rows for job in jobs)
            watcher.rows(done, None, None)
            is_done = done == len(jobs)
            if is_done and not pool.busy:  # a row exists before its actor answers
                return Outcome({job: rows[job] for job in jobs}, made)
            for answer in pool.answers():
                if answer.actor is None:
                    deaths.add(answer.work)
                    continue
                owner = answer.value if answer.work is None else answer.work
                step, job = ("made", None) if answer.work is None else answer.value
                if job is not None:
                    made += 1
                    deaths.in_vain = 0
                    rows = folder.log.read()
                    watcher.rows(sum(each in rows for each in jobs), job, rows.get(job))
                wait = WAIT if step == "busy" else 0
                resting.append((time.monotonic() + wait, answer.actor, owner))
            if is_done:
                continue
            now = time.monotonic()
            for _, actor, owner in (each for each in resting if each[0] <= now):
                pool.give(actor, owner, lambda one: one.make_row.remote())
            resting = [each for each in resting if each[0] > now]
