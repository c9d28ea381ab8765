"""A manifest: a JSON file that lists several pool files, which together are one pool.

The files are its parts; they lie beside the manifest and are not copied. Each part is a pool file
(`taudis.data.pool_format`). All parts have the same label names, widths and dtypes. The images keep
the order of the parts. docs/pools.md describes it for authors of other models.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from taudis.data.pool_format import PoolHeader
from taudis.errors import DataError
from taudis.files import write_json

FORMAT, VERSION = "taudis-pool-parts", 1
SUFFIX = ".json"
"""Suffix of a manifest's name."""


@dataclass(frozen=True)
class Part:
    """A part of a pool, as listed in its manifest."""

    file: str  # relative to the manifest's folder, with /
    images: int
    instances: int


@dataclass(frozen=True)
class Manifest:
    """The parts of a pool, in their order, and the images that are not in it."""

    parts: tuple[Part, ...]  # at least one
    header: PoolHeader
    unreadable: dict[int, str] = field(default_factory=dict)  # id of a missing image -> reason

    @property
    def images(self) -> int:
        """The number of images in all parts."""
        return sum(part.images for part in self.parts)

    @property
    def instances(self) -> int:
        """The number of instances in all parts."""
        return sum(part.instances for part in self.parts)


def is_manifest(path: Path) -> bool:
    """Whether a path has the suffix of a manifest."""
    return path.suffix == SUFFIX


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest atomically. Raises OSError."""
    value = {
        "format": FORMAT,
        "format_version": VERSION,
        "label_names": list(manifest.header.label_names),
        "model": manifest.header.model,
        "images": manifest.images,
        "instances": manifest.instances,
        "unreadable": {str(number): why for number, why in manifest.unreadable.items()},
        "parts": [asdict(part) for part in manifest.parts],
    }
    write_json(path, value)


def read_manifest(path: Path) -> Manifest:
    """Read a file of `write_manifest`. Raises DataError without the path in its message."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError("expected a manifest of pool files, found none.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"expected a manifest of pool files as JSON: {error}.") from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise DataError(f"expected a manifest of pool files, with format {FORMAT!r}.")
    if not (isinstance(version := value.get("format_version"), int) and 1 <= version <= VERSION):
        raise DataError(f"expected format_version {VERSION} or older, got {version!r}.")
    try:
        parts = tuple(_part(entry) for entry in value["parts"])
        left = {int(number): str(why) for number, why in value.get("unreadable", {}).items()}
        names = json.dumps(value.get("label_names", []))
        known = {"format": "taudis-pool", "format_version": "1", "label_names": names}
        header = PoolHeader.from_metadata(known | {"model": str(value.get("model", ""))})
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"the manifest is damaged: {error!r}. Score the images again.") from error
    if not parts:
        raise DataError("expected a manifest with at least one part, got none.")
    return Manifest(parts, header, left)


def _part(entry: Any) -> Part:
    """A part. Raises DataError for a name outside of the manifest's folder."""
    part = Part(str(entry["file"]), int(entry["images"]), int(entry["instances"]))
    name = PurePosixPath(part.file)
    if name.is_absolute() or ".." in name.parts:
        raise DataError(f"expected parts in the manifest's folder, got {part.file!r}.")
    return part
