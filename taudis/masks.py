"""The masks of one image, decoded one at a time: all masks of a large image take much memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class CodedMasks:
    """Masks [n,H,W] in a compact code, used as an array of bool where masks are read one by one.

    `numpy.asarray` decodes all of them: 100 masks of 12 megapixels take 1.2 GB.
    """

    codes: tuple[Any, ...]  # of n masks
    decode: Callable[[Any], Mask]  # a code -> its mask [H,W], in C order
    size: tuple[int, int]  # H, W

    @property
    def dtype(self) -> np.dtype[np.bool_]:
        """The type of a pixel, bool."""
        return np.dtype(bool)

    @property
    def ndim(self) -> int:
        """The number of axes: n, H, W."""
        return 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """[n,H,W]."""
        return (len(self.codes), *self.size)

    @property
    def nbytes(self) -> int:
        """Bytes of the decoded masks that are kept in memory: none."""
        return 0

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[Mask]:
        return map(self.decode, self.codes)

    def __getitem__(self, rows: Any) -> Any:
        """One mask [H,W] by its number, or the masks of a slice, an index or a boolean array."""
        if isinstance(rows, int | np.integer):
            return self.decode(self.codes[rows])
        chosen = np.arange(len(self))[rows].tolist()
        return CodedMasks(tuple(self.codes[row] for row in chosen), self.decode, self.size)

    def any(self, axis: int) -> Mask:
        """The pixels [H,W] of any mask. axis: 0."""
        if axis != 0:
            raise ValueError(f"axis: expected 0, got {axis}.")
        found = np.zeros(self.size, bool)
        for mask in self:
            found |= mask
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """All masks in memory."""
        found = np.zeros(self.shape, bool)
        for row, mask in enumerate(self):
            found[row] = mask
        return found.astype(dtype or bool, copy=False)
