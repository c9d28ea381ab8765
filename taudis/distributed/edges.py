"""Algorithm 1 line 6 on a ray cluster: each task computes the edges to some rows of a part.

Greedy cover only counts columns (`taudis.selection.graph`), so their order does not matter. Here
the columns are in the order of the pool's files, so the bits of each part are independent of the
others. A task reads its rows (with a sample of the instances, only the sampled rows) from the
part's file and returns their bits. The candidates' vectors are sent to each node once. All nodes
must see the parts under the same paths.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from taudis.distributed.cluster import Cluster, peak_memory
from taudis.errors import DataError
from taudis.memmap import Matrix, identity_of, map_file, parts_of, take
from taudis.selection.graph import edges_between
from taudis.selection.similarity import BitRows
from taudis.selection.unit_vectors import UnitVectors
from taudis.types import Float32, FloatArray, IntArray

logger = logging.getLogger(__name__)

TASK_BYTES = 8_000_000  # bytes of bits that a task returns
LEAST_COLUMNS = 1024  # least columns of a task; with fewer, overhead takes more time than products
PATIENCE_SECONDS = 300.0
"""Seconds without a finished task after which a warning says so, and again after as many."""
AHEAD = 2  # tasks per core that are given out at a time; their bits are in shared memory


@dataclass(frozen=True)
class Region:
    """The place of a matrix of embeddings in a file."""

    path: str
    dtype: str
    offset: int
    shape: tuple[int, ...]
    bytes: int  # size of the file
    changed: int  # time of the file's last change, ns

    @classmethod
    def of(cls, matrix: Matrix) -> Region:
        """The region of a mapped matrix. Raises DataError for a matrix in memory."""
        if not isinstance(matrix, np.memmap) or matrix.filename is None:
            raise DataError(
                "select --ray: expected a pool in files that all nodes see (a manifest, or"
                " .safetensors), got one in memory."
            )
        path = Path(str(matrix.filename))
        found = path.stat()
        return cls(
            str(path), matrix.dtype.str, matrix.offset, matrix.shape, found.st_size,
            found.st_mtime_ns,
        )  # fmt: skip

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return int(np.prod(self.shape[1:], dtype=np.int64)) * np.dtype(self.dtype).itemsize

    def rows(self, wanted: IntArray) -> FloatArray:
        """The rows [n,D] at ascending positions. Raises DataError if the file was replaced."""
        try:
            found = identity_of(Path(self.path).stat())
        except OSError as error:
            raise DataError(
                f"{self.path}: node {os.uname().nodename} does not see it: {error.strerror}."
            ) from error
        if found[2:] != (self.bytes, self.changed):
            raise DataError(f"{self.path}: expected the file that the driver opened, got another.")
        mapped = map_file(Path(self.path), np.dtype(self.dtype), self.offset, self.shape)
        return take(mapped, wanted)


@dataclass(frozen=True)
class Preparation:
    """The centring and scaling of vectors before the cosine; see `UnitVectors`."""

    mean: Float32 | None
    noise: Float32 | None
    spread: Float32 | None

    def units(self, embeddings: FloatArray) -> UnitVectors:
        """Rows [n,D] as unit vectors."""
        return UnitVectors(embeddings, None, self.mean, self.noise, self.spread)


@dataclass
class Moved:
    """Bytes sent and read, and the largest memory of a process, over all calls."""

    candidates: int = 0  # bytes of the candidates' vectors, sent to the cluster's store once
    bits: int = 0  # bytes of edges, from the tasks to the driver
    places: int = 0  # bytes of row numbers, from the driver to the tasks
    read: int = 0  # bytes of embeddings that tasks read from the parts
    tasks: int = 0
    worker_peak: int = 0  # largest memory of a worker, bytes

    def to_dict(self) -> dict[str, int]:
        """The figures for the output of the command."""
        return {
            "candidates_bytes": self.candidates,
            "bits_bytes": self.bits,
            "places_bytes": self.places,
            "read_bytes": self.read,
            "tasks": self.tasks,
            "worker_peak_bytes": self.worker_peak,
            "driver_peak_bytes": peak_memory(),
        }


def part_edges(
    candidates: FloatArray, prepare: Preparation, region: Region, rows: IntArray, sigma: float
) -> tuple[BitRows, int]:
    """A task: (edges of the candidates to some rows of a part, peak memory of the process).

    The driver sets the edges of candidates to themselves.
    """
    columns = prepare.units(region.rows(rows))
    return edges_between(prepare.units(candidates), columns, sigma), peak_memory()


class RayEdges:
    """Computes edges on a cluster, for `taudis.selection.graph.using_edges`."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.moved = cluster, Moved()

    # long: the signature and the docstring take half of it
    def __call__(
        self,
        candidates: UnitVectors,
        columns: UnitVectors,
        sigma: float,
        own: IntArray,
        progress: Callable[[int, int], None] | None = None,
    ) -> BitRows:
        """The edges [C, W] of candidates and columns, with the columns in the order of the files.

        own: [C] the position of each candidate in `columns`, or -1. The edge of a candidate to its
        own column is always set. Raises DataError for a pool in memory.
        """
        ray, moved = self.cluster.ray, self.moved
        prepare = Preparation(candidates.mean, candidates.noise, candidates.spread)
        vectors = take(candidates.embeddings, rows_of(candidates))
        moved.candidates += vectors.nbytes
        layout = Layout.of(columns)
        edges = np.zeros((len(candidates), layout.width), np.uint8)
        task = ray.remote(part_edges).options(num_cpus=1, max_retries=5)
        shared, waiting, done = ray.put(vectors), dict[Any, Task](), 0
        for each in chain(layout.tasks(len(candidates)), [None]):
            while waiting and (each is None or len(waiting) >= AHEAD * max(1, self.cluster.cpus)):
                ready = self._ready(list(waiting))
                part = waiting.pop(ready[0])
                edges[:, part.left : part.left + part.width] = self._counted(ready[0])
                done += len(part.rows)
                if progress:
                    progress(done, len(columns))
            if each is not None:
                moved.places += each.rows.nbytes
                moved.read += len(each.rows) * each.region.row_bytes
                waiting[task.remote(shared, prepare, each.region, each.rows, sigma)] = each
        inside = np.flatnonzero(own >= 0)
        column = layout.column_of(own[inside])
        edges[inside, column >> 3] |= (128 >> (column & 7)).astype(np.uint8)
        return edges

    def _ready(self, waiting: list[Any]) -> list[Any]:
        """A finished task, as a list. Logs a warning whenever none finished in PATIENCE_SECONDS."""
        ray = self.cluster.ray
        while not (ready := ray.wait(waiting, num_returns=1, timeout=PATIENCE_SECONDS)[0]):
            logger.warning(
                "ray: none of %d tasks has finished in %.0f s. %g of %d cores are free. Other"
                " programs may occupy the cluster.",
                len(waiting), PATIENCE_SECONDS, ray.available_resources().get("CPU", 0),
                self.cluster.cpus,
            )  # fmt: skip
        return list(ready)

    def _counted(self, reference: Any) -> BitRows:
        """The bits of a finished task, added to the figures in `moved`."""
        found: tuple[BitRows, int] = self.cluster.result(reference)
        bits, peak = found
        self.moved.tasks += 1
        self.moved.bits += bits.nbytes
        self.moved.worker_peak = max(self.moved.worker_peak, peak)
        return bits


def rows_of(units: UnitVectors) -> IntArray:
    """The rows [n] of the matrix that unit vectors select, in their order."""
    return np.arange(len(units.embeddings)) if units.rows is None else units.rows


@dataclass(frozen=True, eq=False)
class Task:
    """Some columns of a part."""

    region: Region
    rows: IntArray  # [n] rows of the part, ascending
    left: int  # first byte of their bits in a row of edges
    width: int  # number of bytes of their bits


@dataclass(frozen=True, eq=False)
class Layout:
    """The position of each column in a row of edges: part by part, by its row in the part.

    It depends only on the columns, so it is the same for other candidates.
    """

    regions: tuple[Region, ...]  # of each part
    rows: tuple[IntArray, ...]  # rows of each part, ascending
    lefts: IntArray  # [P] first byte of each part's bits
    width: int  # W
    columns: IntArray  # [n] the column (bit) of each unit vector

    @classmethod
    def of(cls, units: UnitVectors) -> Layout:
        """The layout of these columns. Raises DataError for a matrix in memory."""
        parts = parts_of(units.embeddings)
        starts = np.cumsum([0, *map(len, parts)])
        rows = rows_of(units)
        part = np.searchsorted(starts, rows, side="right") - 1
        order = np.lexsort((rows, part))
        cuts = np.searchsorted(part[order], np.arange(len(parts) + 1))
        widths = [-(-count // 64) * 8 for count in np.diff(cuts).tolist()]
        lefts = np.cumsum([0, *widths])
        columns = np.empty(len(rows), np.int64)
        inner = np.arange(len(rows)) - cuts[part[order]]
        columns[order] = lefts[part[order]] * 8 + inner
        filled = [n for n in range(len(parts)) if cuts[n + 1] > cuts[n]]
        return cls(
            tuple(Region.of(parts[n]) for n in filled),
            tuple(rows[order[cuts[n] : cuts[n + 1]]] - starts[n] for n in filled),
            lefts[filled] if filled else lefts[:0],
            int(lefts[-1]),
            columns,
        )

    def column_of(self, places: IntArray) -> IntArray:
        """The columns [m] of unit vectors, by their positions."""
        found: IntArray = self.columns[places]
        return found

    def tasks(self, candidates: int) -> Iterator[Task]:
        """The columns, divided into tasks of about TASK_BYTES of bits."""
        count = max(LEAST_COLUMNS, TASK_BYTES * 8 // max(1, candidates)) // 64 * 64
        for region, rows, left in zip(self.regions, self.rows, self.lefts.tolist(), strict=True):
            for start in range(0, len(rows), count):
                some = rows[start : start + count]
                yield Task(region, some, left + start // 8, -(-len(some) // 64) * 8)
