"""Embeddings as vectors of length 1, for cosine similarity, read block by block.

The embeddings of a pool may be a large memory-mapped file, so only requested rows are loaded. The
caller chooses the order of the rows. Algorithm 1 passes the priority order of the instances, so
that its results do not depend on the order of the pool.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from taudis.errors import DataError
from taudis.memmap import JoinedRows, take
from taudis.types import Float32, FloatArray, IntArray

BLOCK = 4096  # rows read at a time to compute the mean and the standard deviation
# Differences to the mean below this share of a dimension's largest value are rounding noise.
_NEGLIGIBLE = 1e-6
_SAFE = 1e-18, 1e18  # float32 squared lengths in this range neither overflow nor lose digits


@dataclass(frozen=True, eq=False)
class UnitVectors:
    """Selected rows of a matrix of embeddings, optionally centred and scaled.

    `vectors[index]` gives rows [n,D] float32 of length 1. A zero vector stays zero. If the mean is
    subtracted, a row that equals the mean becomes zero.
    """

    embeddings: FloatArray  # [N,D], rows of any length; may be memory-mapped
    rows: IntArray | None = None  # [n] selected rows in order; None: all rows of `embeddings`
    mean: Float32 | None = None  # [D] subtracted from each row
    noise: Float32 | None = None  # [D] after centring, smaller absolute values become 0
    spread: Float32 | None = None  # [D] standard deviation; divides each centred row

    @classmethod
    def of(
        cls,
        embeddings: FloatArray | UnitVectors,
        rows: IntArray | None = None,
        *,
        centre: bool = False,
        standardise: bool = False,
    ) -> UnitVectors:
        """The given rows of the embeddings [N,D]. `UnitVectors` are returned unchanged.

        centre: subtract the mean of these rows. standardise: also divide each dimension by its
        standard deviation; a constant dimension becomes 0. Raises DataError unless the embeddings
        are a float matrix. NaN and infinity raise DataError here or when their row is read.
        """
        if isinstance(embeddings, UnitVectors):
            return embeddings
        known = isinstance(embeddings, np.ndarray | JoinedRows)
        if not known or embeddings.ndim != 2 or embeddings.dtype.kind != "f":
            got = f"{getattr(embeddings, 'dtype', type(embeddings))} {list(np.shape(embeddings))}"
            raise DataError(f"embeddings: expected a float matrix [n, D], got {got}.")
        plain = cls(embeddings, rows)
        if not (centre or standardise) or not len(plain) or not plain.width:
            return plain
        return plain._centred()._scaled() if standardise else plain._centred()

    def _centred(self) -> UnitVectors:
        total, peak = np.zeros(self.width), np.zeros(self.width, np.float32)
        for block in self._blocks():
            total += block.sum(axis=0, dtype=np.float64)
            peak = np.maximum(peak, np.abs(block).max(axis=0))
        mean = (total / len(self)).astype(np.float32)
        return replace(self, mean=mean, noise=(_NEGLIGIBLE * peak).astype(np.float32))

    def _scaled(self) -> UnitVectors:
        total, squares = np.zeros(self.width), np.zeros(self.width)
        for block in self._blocks():
            total += block.sum(axis=0, dtype=np.float64)
            squares += np.einsum("nd,nd->d", block, block, dtype=np.float64)
        variance = squares / len(self) - (total / len(self)) ** 2
        spread = np.sqrt(np.maximum(variance, 0)).astype(np.float32)
        return replace(self, spread=np.where(spread > 0, spread, 1).astype(np.float32))

    def __len__(self) -> int:
        return len(self.embeddings) if self.rows is None else len(self.rows)

    @property
    def width(self) -> int:
        """D."""
        return int(self.embeddings.shape[1])

    def head(self, count: int) -> UnitVectors:
        """The first `count` rows."""
        return self.pick(np.arange(count))

    def pick(self, index: IntArray) -> UnitVectors:
        """The rows at the given positions, in the given order."""
        return replace(self, rows=index if self.rows is None else self.rows[index])

    def prepared(self, index: slice | IntArray) -> Float32:
        """Rows [n,D] float32, centred and scaled but not yet of length 1.

        Raises DataError for NaN and infinity if a mean is subtracted.
        """
        wanted = index if self.rows is None else self.rows[index]
        # A slice may give a view of `embeddings`; the code below changes `block` in place.
        block = take(self.embeddings, wanted).astype(np.float32, copy=isinstance(wanted, slice))
        if self.mean is None:
            return block
        _check_finite(block)
        block -= self.mean
        block[np.abs(block) <= self.noise] = 0
        if self.spread is not None:
            block /= self.spread
        return block

    def __getitem__(self, index: slice | IntArray) -> Float32:
        return to_unit_length(self.prepared(index))

    def _blocks(self) -> Iterator[Float32]:
        """All rows, prepared, a block at a time."""
        for start in range(0, len(self), BLOCK):
            block = self.prepared(slice(start, start + BLOCK))
            _check_finite(block)
            yield block


def as_pair(
    candidates: FloatArray | UnitVectors, pool: FloatArray | UnitVectors, own: IntArray | None
) -> tuple[UnitVectors, UnitVectors]:
    """Both as `UnitVectors`. Raises DataError unless their widths and `own` fit."""
    one, other = UnitVectors.of(candidates), UnitVectors.of(pool)
    if one.width != other.width:
        raise DataError(
            f"candidates and pool: expected one embedding width, got {one.width} and "
            f"{other.width}; take both from one model and one branch."
        )
    if own is not None and (
        own.shape != (len(one),) or (len(own) and not (own.min() >= -1 and own.max() < len(other)))
    ):
        raise DataError(
            f"own: expected {len(one)} pool columns in 0..{len(other) - 1} (-1: none), "
            f"got shape {list(own.shape)}."
        )
    return one, other


def _check_finite(block: npt.NDArray[Any]) -> None:
    if not np.isfinite(block).all():
        raise DataError("embeddings: expected finite numbers, got NaN or infinity; drop such rows.")


def to_unit_length(block: Float32) -> Float32:
    """Divide the rows [n,D] by their lengths, in place; zero rows stay zero.

    Raises DataError for NaN and infinity.
    """
    squares = np.einsum("nd,nd->n", block, block)
    low, high = _SAFE
    odd = ~((squares > low) & (squares < high))  # true for NaN too
    if odd.any():
        rows = block[odd]
        _check_finite(rows)
        peak = np.abs(rows).max(axis=1, initial=0, keepdims=True)
        rows /= np.where(peak > 0, peak, 1)  # with a largest element of 1, squares stay in range
        block[odd] = rows
        squares[odd] = np.einsum("nd,nd->n", rows, rows)
    block *= (1 / np.sqrt(np.where(squares > 0, squares, 1)))[:, None].astype(np.float32)
    return block
