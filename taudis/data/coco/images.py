"""Finds the image files of a COCO file, decodes them, and reads their sizes and orientations.

Tools often write paths of another machine, so image files are also searched by their base name.
"""

from __future__ import annotations

import errno
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
"""EXIF tag: 1 is upright, 2 to 4 mirror or turn by 180 degrees, 5 to 8 swap width and height."""


def find_picture(folder: Path, name: str) -> tuple[Path, bool]:
    """(path of the image file called `name`, whether it is where the COCO file says).

    Tools write paths of a server or of another machine. So the base name is tried, too, in `folder`
    and in `folder`/images. If there is no such file, the path according to the COCO file is
    returned.
    """
    first = folder / name
    if is_picture(first):
        return first, True
    for path in _candidates(folder, name):
        if is_picture(path):
            return path, False
    return first, False


def is_picture(path: Path) -> bool:
    """Whether there is a file of this name. Raises OSError if the disk does not say it.

    A COCO file may give a longer name than the disk can have: such a file is missing.
    """
    try:
        return path.is_file()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise


def _candidates(folder: Path, name: str) -> Iterator[Path]:
    for within in (folder, folder / "images"):
        for text in _names(name):
            relative = text.lstrip("/")
            if ":" not in relative and ".." not in Path(relative).parts:
                yield within / relative
        for text in _names(name):
            base = PureWindowsPath(text).name  # splits at / and \
            if base and ":" not in base:
                yield within / base


def _names(name: str) -> list[str]:
    """Possible names: as given, without the query of a URL, and the path in a local-files URL."""
    try:
        address = urlsplit(name)
    except ValueError:
        return [name]
    given = parse_qs(address.query).get("d", [])
    texts = [name, *given, address.path, unquote(address.path)]
    return [text for text in dict.fromkeys(texts) if text and "\0" not in text]


@dataclass(frozen=True)
class Inspected:
    """The size and orientation of an image file, or the error that it cannot be decoded."""

    size: tuple[int, int] | None  # (height, width) px, turned by EXIF; None: cannot be decoded
    raw: tuple[int, int] | None  # (height, width) px, not turned
    orientation: int = 1
    error: str = ""


def inspect_picture(path: Path, read: Callable[[Path], object]) -> Inspected:
    """Decode an image file with `read`, which returns an array [H,W,3] or raises DataError."""
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
    """Inspect every existing image file, in threads. progress: called after each."""
    seen: list[Inspected | None] = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for result in pool.map(
            lambda path: None if path is None else inspect_picture(path, read), paths
        ):
            progress()
            seen.append(result)
    return seen


def share_a_name(images: Iterable[tuple[ImageRecord, Path]]) -> set[Path]:
    """The image files that were found for several different names."""
    names: dict[Path, set[str]] = {}
    for image, path in images:
        names.setdefault(path, set()).add(image.name)
    return {path for path, given in names.items() if len(given) > 1}
