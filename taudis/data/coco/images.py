"""Finds the pictures of a COCO file on disk, decodes each once, and reads its size and orientation.

Tools often write paths of another machine, so a picture is also looked for by its base name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from urllib.parse import parse_qs, unquote, urlsplit

from PIL import Image as PillowImage

from taudis.data.coco.parse import ImageRecord
from taudis.errors import DataError

ORIENTATION = 0x0112
"""EXIF tag: 1 is upright, 2 to 4 mirror or turn around, 5 to 8 swap the sides."""


def find_picture(folder: Path, name: str) -> tuple[Path, bool]:
    """Where the picture called `name` lies, and whether it is where the file says.

    Tools write paths of their server or of another machine. So the base name is tried, too, in
    `folder` and in its folder `images`. If no picture is found, the file's own path is returned.
    """
    first = folder / name
    if first.is_file():
        return first, True
    for path in _candidates(folder, name):
        if path.is_file():
            return path, False
    return first, False


def _candidates(folder: Path, name: str) -> Iterator[Path]:
    for within in (folder, folder / "images"):
        for text in _names(name):
            relative = text.lstrip("/")
            if ":" not in relative and ".." not in Path(relative).parts:
                yield within / relative
        for text in _names(name):
            base = PureWindowsPath(text).name  # takes / and \
            if base and ":" not in base:
                yield within / base


def _names(name: str) -> list[str]:
    """The name as given, without an address's query, and a local-files address's own path."""
    try:
        address = urlsplit(name)
    except ValueError:
        return [name]
    given = parse_qs(address.query).get("d", [])
    texts = [name, *given, address.path, unquote(address.path)]
    return [text for text in dict.fromkeys(texts) if text and "\0" not in text]


@dataclass(frozen=True)
class Inspected:
    """The size and orientation of a picture, or why it cannot be decoded."""

    size: tuple[int, int] | None  # (height, width) px after EXIF turned it; None: cannot be decoded
    raw: tuple[int, int] | None  # before EXIF turned it
    orientation: int = 1
    error: str = ""


def inspect_picture(path: Path, read: Callable[[Path], object]) -> Inspected:
    """Decode a picture by `read`, which gives an array [H,W,3] or raises DataError."""
    try:
        size = read(path).shape[:2]  # type: ignore[attr-defined]
    except DataError as error:
        return Inspected(None, None, error=str(error))
    try:
        with PillowImage.open(path) as file:
            raw = file.height, file.width
            orientation = file.getexif().get(ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError):
        return Inspected((size[0], size[1]), (size[0], size[1]))
    turned = orientation if isinstance(orientation, int) and 2 <= orientation <= 8 else 1
    return Inspected((size[0], size[1]), raw, turned)


def inspect_pictures(
    paths: Sequence[Path | None], read: Callable[[Path], object], progress: Callable[[], object]
) -> list[Inspected | None]:
    """Inspect every existing picture in threads; `progress` is called after each."""
    seen: list[Inspected | None] = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for result in pool.map(
            lambda path: None if path is None else inspect_picture(path, read), paths
        ):
            progress()
            seen.append(result)
    return seen


def share_a_name(images: Iterable[tuple[ImageRecord, Path]]) -> set[Path]:
    """The pictures that were found for several different names."""
    names: dict[Path, set[str]] = {}
    for image, path in images:
        names.setdefault(path, set()).add(image.name)
    return {path for path, given in names.items() if len(given) > 1}
