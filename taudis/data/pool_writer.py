"""Writes a pool file part by part, in limited memory. The file appears when it is complete."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal

import numpy as np
from safetensors import safe_open

from taudis.data.pool_format import (
    ARRAYS,
    INSTANCES,
    MEASURES,
    POOL,
    Numbers,
    PoolHeader,
    check_classes,
    check_fits,
    check_not_lost,
)
from taudis.errors import DataError
from taudis.files import move_into_place
from taudis.memmap import blocks
from taudis.types import Pool

COPY_BYTES = 4_000_000
EMBEDDINGS = ("embeddings", "image_embeddings")

DTYPE_NAMES = {
    "float16": "F16", "float32": "F32", "float64": "F64",
    "int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64",
    "uint8": "U8", "uint16": "U16", "uint32": "U32", "uint64": "U64",
}  # fmt: skip
"""Names of dtypes in numpy -> in safetensors."""

_live: set[str] = set()  # names of the draft folders in use by this process


def check_pool_path(path: Path) -> None:
    """Raise DataError for a name of another format. Call this before the images are scored."""
    if path.suffix == ".npz":
        raise DataError(f"{path}: expected a name that ends in .safetensors, got .npz.")


class PoolWriter:
    """Appends pools, of one or many images, to a file that appears when it is complete.

        with PoolWriter(path, label_names=("cat", "dog")) as writer:
            for part in parts:
                writer.append(part)

    Each array grows in a draft file beside `path`. At the end the drafts are joined to a file. Each
    draft is removed after it is copied, so the disk needs space for the pool and one array more. An
    error in the block removes the drafts and keeps the file at `path`. A killed process leaves its
    drafts; the next writer with the same name on the same machine removes them. Drafts of other
    machines or containers stay, because their writers may still run. If several writers use the
    same name at the same time, the last one wins. Memory: one part, and 64 bytes per image.

    embedding_dtype: of `embeddings` and `image_embeddings`; float16 halves the file. Raises
    DataError for parts that do not fit, and OSError if they cannot be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        label_names: tuple[str, ...] = (),
        model: str = "",
        embedding_dtype: Literal["float16", "float32"] = "float16",
    ) -> None:
        check_pool_path(path)
        self.path = path
        self.header = PoolHeader(tuple(label_names), model)
        self.images = self.instances = 0
        """Numbers of appended images and instances."""
        self._embedding_dtype = np.dtype(embedding_dtype)
        self._dtypes: dict[str, np.dtype[np.generic]] = {}
        self._widths: dict[str, tuple[int, ...]] = {}  # array name -> shape of a row
        self._seen: set[int] = set()
        self._stack = ExitStack()

    def __enter__(self) -> PoolWriter:
        self._remove_old_drafts()  # first, because old drafts may fill the disk
        own = f"{self._prefix}{socket.gethostname()}-{os.getpid()}-"
        self._folder = Path(tempfile.mkdtemp(prefix=own, dir=self.path.parent))
        _live.add(self._folder.name)
        self._files: dict[str, BinaryIO] = {
            name: self._stack.enter_context((self._folder / name).open("wb")) for name in ARRAYS
        }
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._stack.close()
            if error is None:
                self._publish()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
            _live.discard(self._folder.name)

    @property
    def _prefix(self) -> str:
        return f".{self.path.name}.parts-"

    def _remove_old_drafts(self) -> None:
        """Remove drafts of killed writers of this name. Raises OSError without the folder."""
        for left in self.path.parent.iterdir():
            if left.name.startswith(self._prefix) and _has_ended_writer(left.name):
                shutil.rmtree(left, ignore_errors=True)

    def append(self, part: Pool) -> None:
        """Append the images of a pool, without masks.

        The first part sets the widths. For an empty pool, append a part without images. Raises
        DataError, and appends nothing, for repeated ids, other widths than before, class_probs that
        are not distributions, labels without a name, and embeddings that are too large for the
        file's dtype, or rows so small that float16 loses them.
        """
        arrays = _arrays_of(part)
        self._check(part, arrays)
        for name, array in arrays.items():
            dtype = self._dtypes.setdefault(name, self._dtype(name, array))
            for _, rows in blocks(array):
                moved = rows.astype(dtype, copy=False)
                if name == "image_index":
                    moved = moved + self.images
                self._files[name].write(moved.tobytes())
            self._widths.setdefault(name, array.shape[1:])
        self._seen.update(part.image_ids.tolist())
        self.images += len(part)
        self.instances += len(part.instances)

    def _check(self, part: Pool, arrays: dict[str, Numbers]) -> None:
        """Raise DataError unless the part fits the parts before and the file's dtypes."""
        for name, array in arrays.items():
            width = self._widths.get(name, array.shape[1:])
            if array.shape[1:] != width:
                raise DataError(
                    f"{name}: expected rows of shape {list(width)} as in the parts before, got "
                    f"{list(array.shape[1:])}."
                )
            dtype = self._dtypes.get(name, self._dtype(name, array))
            check_fits(name, array, dtype)
            if name in EMBEDDINGS:
                check_not_lost(name, array, dtype)
        again = self._seen.intersection(part.image_ids.tolist())
        if again:
            raise DataError(
                f"image_ids: expected unique ids, got duplicates: {min(again)} was appended before."
            )
        check_classes(
            part.instances.class_probs,
            part.instances.labels,
            self.header.label_names,
            start=self.instances,
        )

    def _dtype(self, name: str, array: Numbers) -> np.dtype[np.generic]:
        """The dtype in the file, for an array of the first part."""
        if name in EMBEDDINGS:
            return self._embedding_dtype
        return ARRAYS[name].dtype_of(array.dtype)

    def _publish(self) -> None:
        """Join the drafts, check the result, and move it to `path`."""
        if not self._widths:
            raise DataError(
                f"{self.path}: expected at least one part; append an empty pool if there is no "
                "image, so that the widths are known."
            )
        draft = self._folder / "pool"
        with draft.open("wb") as file:
            names = self._write_header(file)
            for name in names:
                with (self._folder / name).open("rb") as part:
                    shutil.copyfileobj(part, file, COPY_BYTES)
                (self._folder / name).unlink()
        with safe_open(draft, framework="numpy") as found:
            if set(found.keys()) != set(ARRAYS):
                raise DataError(f"{self.path}: was not written as expected; write it again.")
        move_into_place(draft, self.path)

    def _write_header(self, file: BinaryIO) -> list[str]:
        """Write the header of a safetensors file; returns the array names in the order of data.

        The header is its length in 8 bytes (little-endian), then JSON with dtype, shape and offsets
        of each array, padded with blanks to a multiple of 8 bytes. Arrays with wide items come
        first. So each array begins at a multiple of its item size, which is faster to read.
        """
        names = sorted(ARRAYS, key=lambda name: (-self._dtypes[name].itemsize, name))
        entries: dict[str, object] = {"__metadata__": self.header.metadata()}
        start = 0
        for name in names:
            rows = self.images if ARRAYS[name].axes[0] == "I" else self.instances
            end = start + (self._folder / name).stat().st_size
            entries[name] = {
                "dtype": DTYPE_NAMES[self._dtypes[name].name],
                "shape": [rows, *self._widths[name]],
                "data_offsets": [start, end],
            }
            start = end
        text = json.dumps(entries, ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)
        file.write(len(text).to_bytes(8, "little") + text)
        return names


def _arrays_of(part: Pool) -> dict[str, Numbers]:
    """The arrays of a pool by their names in the file."""
    owners: dict[str, object] = dict.fromkeys(POOL, part)
    owners |= dict.fromkeys(INSTANCES, part.instances)
    owners |= dict.fromkeys(MEASURES, part.uncertainty)
    return {name: getattr(owners[name], name) for name in ARRAYS}


def _has_ended_writer(name: str) -> bool:
    """Whether the process of a draft folder, .NAME.parts-HOST-PID-RANDOM, has ended."""
    rest, _, number = name.rpartition("-")[0].rpartition("-")
    if not rest.endswith(f".parts-{socket.gethostname()}") or not number.isdecimal():
        return False
    if int(number) == os.getpid():  # of this process, or of an earlier process with the same id
        return name not in _live
    try:
        os.kill(int(number), 0)  # signal 0 only checks that the process exists
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):  # another user's process; not a process id
        return False
    return False
