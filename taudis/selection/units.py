"""Embeddings as the cosine sees them: rows of length 1, read block by block when they are needed.

The embeddings of a pool are large and may lie in a file. Nothing here holds more than a block of
them in memory, and rows come in an order of the caller's own, so that what is computed from them
does not depend on the pool's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from taudis.errors import DataError
from taudis.memmap import take
from taudis.types import FloatArray, IntArray

Float32 = npt.NDArray[np.float32]

BLOCK = 4096  # rows of a walk
_NOTHING_LEFT = 1e-6  # of a dimension's largest value: what centring leaves below it is rounding
_SAFE = 1e-18, 1e18  # squared lengths between which float32 neither overflows nor loses digits


@dataclass(frozen=True, eq=False)
class UnitVectors:
    """Rows of a matrix of embeddings, in an order, centred and scaled if so wished.

    `units[index]` gives rows of length 1 [n,D] float32; a zero vector stays zero, and so does a row
    that equals the mean when `mean` is subtracted.
    """

    embeddings: FloatArray  # [N,D], any length of rows; may be memory-mapped
    rows: IntArray | None = None  # [n] which rows, in which order; None: all as they are
    mean: Float32 | None = None  # [D] subtracted
    rounding: Float32 | None = None  # [D] what is left below it is 0
    spread: Float32 | None = None  # [D] divided by

    @classmethod
    def of(
        cls,
        embeddings: FloatArray,
        rows: IntArray | None = None,
        *,
        centre: bool = False,
        standardise: bool = False,
    ) -> UnitVectors:
        """The given rows of the embeddings [N,D].

        `centre` subtracts the mean of these rows; `standardise` does so and divides each dimension
        by its standard deviation (constant dimensions become 0). Raises DataError unless a finite
        float matrix (whether finite is seen when rows are read).
        """
        known = isinstance(embeddings, np.ndarray)
        if not known or embeddings.ndim != 2 or embeddings.dtype.kind != "f":
            got = f"{getattr(embeddings, 'dtype', type(embeddings))} {list(np.shape(embeddings))}"
            raise DataError(f"embeddings: expected a float matrix [n, D], got {got}.")
        shape = embeddings.shape
        plain = cls(embeddings, rows)
        if not (centre or standardise) or not len(plain) or not shape[1]:
            return plain
        total, peak = np.zeros(shape[1]), np.zeros(shape[1], np.float32)
        for block in plain._walk():
            total += block.sum(axis=0, dtype=np.float64)
            peak = np.maximum(peak, np.abs(block).max(axis=0))
        mean = (total / len(plain)).astype(np.float32)
        centred = replace(plain, mean=mean, rounding=(_NOTHING_LEFT * peak).astype(np.float32))
        return centred._standardised() if standardise else centred

    def _standardised(self) -> UnitVectors:
        total, squares = np.zeros(self.width), np.zeros(self.width)
        for block in self._walk():
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
        """The rows of the given places, in the order given."""
        return replace(self, rows=index if self.rows is None else self.rows[index])

    def prepared(self, index: slice | IntArray) -> Float32:
        """Rows [n,D] float32 of any length, centred and scaled. Raises DataError for NaN."""
        wanted = index if self.rows is None else self.rows[index]
        # A slice may be a view, which must not be changed.
        block = take(self.embeddings, wanted).astype(np.float32, copy=isinstance(wanted, slice))
        if self.mean is None:
            return block
        _check_finite(block)
        block -= self.mean
        block[np.abs(block) <= self.rounding] = 0
        if self.spread is not None:
            block /= self.spread
        return block

    def __getitem__(self, index: slice | IntArray) -> Float32:
        return to_unit_length(self.prepared(index))

    def _walk(self) -> Iterator[Float32]:
        """All rows, prepared, a block at a time."""
        for start in range(0, len(self), BLOCK):
            block = self.prepared(slice(start, start + BLOCK))
            _check_finite(block)
            yield block


def _check_finite(block: npt.NDArray[Any]) -> None:
    if not np.isfinite(block).all():
        raise DataError("embeddings: expected finite numbers, got NaN or infinity; drop such rows.")


def to_unit_length(block: Float32) -> Float32:
    """The rows [n,D] divided by their lengths, in place; zero rows stay zero. DataError for NaN."""
    squares = np.einsum("nd,nd->n", block, block)
    low, high = _SAFE
    odd = ~((squares > low) & (squares < high))  # true for NaN too
    if odd.any():
        rows = block[odd]
        _check_finite(rows)
        peak = np.abs(rows).max(axis=1, initial=0, keepdims=True)
        rows /= np.where(peak > 0, peak, 1)  # first to 1, so that squares stay in range
        block[odd] = rows
        squares[odd] = np.einsum("nd,nd->n", rows, rows)
    block *= (1 / np.sqrt(np.where(squares > 0, squares, 1)))[:, None].astype(np.float32)
    return block
