"""Reads pool files: safetensors files, numpy's .npz, and manifests of several files.

`taudis.data.pool_format` and docs/pools.md have the layout, `taudis.data.pool_manifest` has
manifests. The large arrays stay in the file and are read when needed (`taudis.memmap`), so a pool
of millions of instances takes little memory. Nothing is unpickled, so a file cannot run code.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from taudis.data.pool_format import (
    ARRAYS,
    INSTANCES,
    MEASURES,
    POOL,
    Numbers,
    PoolHeader,
    check_classes,
    check_fits,
    check_layout,
)
from taudis.data.pool_manifest import Manifest, is_manifest, read_manifest
from taudis.data.pool_writer import DTYPE_NAMES, PoolWriter
from taudis.errors import DataError
from taudis.memmap import FileIdentity, JoinedRows, identity_of, map_file
from taudis.types import Instances, Pool, Uncertainty

AGAIN = "Copy the file again, or score the images again."


def save_pool(
    path: Path, pool: Pool, *, label_names: tuple[str, ...] = (), model: str = ""
) -> None:
    """Write a pool without its masks to a file, atomically.

    label_names: of the labels 1..K, if known. model: free text about the model that scored it.
    Embeddings keep their dtype (float64 becomes float32). Raises DataError for a pool that
    `load_pool` would refuse, and OSError if it cannot be written.
    """
    half = pool.instances.embeddings.dtype == pool.image_embeddings.dtype == np.float16
    with PoolWriter(
        path,
        label_names=label_names,
        model=model,
        embedding_dtype="float16" if half else "float32",
    ) as writer:
        writer.append(pool)


def load_pool(path: Path) -> Pool:
    """The pool of a file. All values are checked here, so later steps meet no NaN.

    `embeddings`, `class_probs` and `image_embeddings` are read-only maps of the file, in its
    dtypes, so the file must stay in place while the pool is used. The other arrays are in memory,
    52 bytes per instance. (An .npz cannot be mapped and is in memory as a whole.) For a manifest,
    the maps of its parts are joined (`JoinedRows`). Raises DataError with the path and the first
    fault.
    """
    try:
        arrays, header = _read_parts(path) if is_manifest(path) else _read(path)
        check_classes(arrays["class_probs"], arrays["labels"], header.label_names)
        return Pool(
            **{name: arrays[name] for name in POOL},
            instances=Instances(**{name: arrays[name] for name in INSTANCES}),
            uncertainty=Uncertainty(**{name: arrays[name] for name in MEASURES}),
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def read_header(path: Path) -> PoolHeader:
    """The metadata of a pool file. Raises DataError with the path."""
    try:
        if is_manifest(path):
            return read_manifest(path).header
        if _is_zip(path):
            return _read_npz(path)[1]
        return PoolHeader.from_metadata(_entries(path)[0])
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _read(path: Path) -> tuple[dict[str, Any], PoolHeader]:
    """The arrays of a file for a `Pool`, and its header."""
    found, header = _read_npz(path) if _is_zip(path) else _read_safetensors(path)
    # `pop` closes each map after its array is copied, which frees the memory of its pages.
    return {name: _as_loaded(name, found.pop(name)) for name in ARRAYS}, header


def _read_parts(path: Path) -> tuple[dict[str, Any], PoolHeader]:
    """The joined arrays of a manifest's parts for a `Pool`, and its header."""
    manifest = read_manifest(path)
    parts = [_read_part(path.parent / part.file, manifest) for part in manifest.parts]
    found = [(len(arrays["image_ids"]), len(arrays["labels"])) for arrays in parts]
    for part, counts in zip(manifest.parts, found, strict=True):
        if counts != (part.images, part.instances):
            raise DataError(
                f"{part.file}: expected {part.images} images and {part.instances} instances, got"
                f" {counts[0]} and {counts[1]}. {AGAIN}"
            )
    starts = np.cumsum([0, *(images for images, _ in found)])
    for start, arrays in zip(starts.tolist(), parts, strict=False):
        arrays["image_index"] = arrays["image_index"] + start
    return {name: _joined(name, [arrays.pop(name) for arrays in parts]) for name in ARRAYS}, (
        manifest.header
    )


def _read_part(path: Path, manifest: Manifest) -> dict[str, Any]:
    """The arrays of a part. Raises DataError with its file name."""
    try:
        arrays, header = _read(path)
        if header.label_names != manifest.header.label_names:
            raise DataError(
                f"expected the label_names of the manifest, {list(manifest.header.label_names)},"
                f" got {list(header.label_names)}."
            )
    except DataError as error:
        raise DataError(f"{path.name}: {error}") from error
    return arrays


def _joined(name: str, arrays: list[Any]) -> Any:
    """The array of all parts; large ones stay mapped. Raises DataError for different widths."""
    kinds = {(array.shape[1:], array.dtype) for array in arrays}
    if len(kinds) != 1:
        raise DataError(
            f"{name}: expected one width and dtype in all parts, got {sorted(map(str, kinds))}."
        )
    return JoinedRows(tuple(arrays)) if ARRAYS[name].mapped else np.concatenate(arrays)


def _as_loaded(name: str, array: Numbers) -> Numbers:
    """An array for the pool: a large one stays mapped, others are copied in their dtype."""
    if ARRAYS[name].mapped:
        return array
    dtype = ARRAYS[name].dtype_of(array.dtype)
    check_fits(name, array, dtype)
    return np.array(array, dtype)


def _is_zip(path: Path) -> bool:
    """Whether a file is an .npz, by its first bytes. Raises DataError if there is no file."""
    try:
        with path.open("rb") as file:
            return file.read(2) == b"PK"
    except FileNotFoundError:
        raise DataError("expected a pool file, found none.") from None
    except OSError as error:
        raise DataError(f"expected a pool file: {error.strerror}.") from error


def _entries(path: Path) -> tuple[dict[str, str], dict[str, Any], int]:
    """(metadata, array name -> dtype, shape and data_offsets, offset of the data)."""
    size = path.stat().st_size
    try:
        # This checks the header, and that its arrays fill the file exactly.
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        raise DataError(_damage(path, size, str(error))) from error
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entries = json.loads(file.read(length))
    return entries.pop("__metadata__", {}), entries, 8 + length


def _damage(path: Path, size: int, error: str) -> str:
    """A sentence that describes the damage of a file that safetensors cannot read."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        begins = file.read(1) == b"{"
        if not (begins or size <= 8):
            return (
                "expected a pool written by `score` (safetensors or .npz), got another kind of "
                f"file ({size} bytes)."
            )
        try:
            file.seek(8)
            entries = json.loads(file.read(length)) if 8 + length <= size else {}
            ends = [entry["data_offsets"][1] for entry in entries.values() if "dtype" in entry]
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            return f"the header is damaged ({error}). {AGAIN}"
    if not ends:
        return f"the file is cut in its header, after {size} bytes. {AGAIN}"
    wanted = 8 + length + max(ends)
    if wanted == size:
        return f"the header is damaged ({error}). {AGAIN}"
    kind = "cut" if size < wanted else "longer than its header says"
    return f"expected {wanted} bytes, got {size}: the file is {kind}. {AGAIN}"


def _read_safetensors(path: Path) -> tuple[dict[str, Numbers], PoolHeader]:
    """Maps of all arrays of a safetensors file, with a checked layout."""
    known = identity_of(path.stat())
    metadata, entries, data = _entries(path)
    header = PoolHeader.from_metadata(metadata)
    names = {theirs: ours for ours, theirs in DTYPE_NAMES.items()}
    shapes = {name: tuple(entry["shape"]) for name, entry in entries.items()}
    dtypes = {name: names.get(entry["dtype"], entry["dtype"]) for name, entry in entries.items()}
    check_layout(shapes, dtypes)
    return {
        name: _mapped(
            path, dtypes[name], data + entries[name]["data_offsets"][0], shapes[name], known
        )
        for name in ARRAYS
    }, header


def _mapped(
    path: Path, dtype: str, offset: int, shape: tuple[int, ...], known: FileIdentity
) -> Numbers:
    """A read-only map of an array. An empty array cannot be mapped and is in memory."""
    kind = np.dtype(dtype).newbyteorder("<")
    if 0 in shape:
        return np.zeros(shape, kind)
    try:
        return map_file(path, kind, offset, shape, known)
    except DataError:  # DataError is also a ValueError
        raise
    except (OSError, ValueError) as error:  # removed or truncated after its header was read
        raise DataError(f"cannot be read: {error}. {AGAIN}") from error


def _read_npz(path: Path) -> tuple[dict[str, Numbers], PoolHeader]:
    """The arrays of an .npz in memory, with a checked layout."""
    try:
        # Open the file here, because np.load does not close it if the content is not an .npz.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            arrays = {name: found[name] for name in (*ARRAYS, *_TEXTS) if name in found.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"expected an .npz of plain arrays: {error} {AGAIN}") from error
    names = np.atleast_1d(arrays.pop("label_names", np.zeros(0, str)))
    text = arrays.pop("model", np.array(""))
    header = PoolHeader(tuple(map(str, names.ravel())), str(text))
    shapes = {name: array.shape for name, array in arrays.items()}
    check_layout(shapes, {name: array.dtype.name for name, array in arrays.items()})
    return arrays, header


_TEXTS = ("label_names", "model")
