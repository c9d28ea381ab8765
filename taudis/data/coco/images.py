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

from taudis.data.coco.parse import ImageRecord
from taudis.data.images import read_turned_file
from taudis.errors import DataError

SWAPS_SIDES = 5
"""First EXIF orientation that swaps width and height; 2 to 4 mirror or turn by 180 degrees."""


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
    orientation: int = 1  # EXIF orientation, 1 (not turned) to 8
    error: str = ""

    @property
    def raw(self) -> tuple[int, int] | None:
        """(height, width) px, not turned."""
        if self.size is None or self.orientation < SWAPS_SIDES:
            return self.size
        return self.size[1], self.size[0]


def inspect_picture(path: Path) -> Inspected:
    """Decode an image file once."""
    try:
        pixels, orientation = read_turned_file(path)
    except DataError as error:
        return Inspected(None, error=str(error))
    return Inspected((pixels.shape[0], pixels.shape[1]), orientation)


def inspect_pictures(
    paths: Sequence[Path | None], progress: Callable[[], object]
) -> list[Inspected | None]:
    """Inspect every existing image file, in threads. progress: called after each."""
    seen: list[Inspected | None] = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for result in pool.map(lambda path: None if path is None else inspect_picture(path), paths):
            progress()
            seen.append(result)
    return seen


def share_a_name(images: Iterable[tuple[ImageRecord, Path]]) -> set[Path]:
    """The image files that were found for several different names."""
    names: dict[Path, set[str]] = {}
    for image, path in images:
        names.setdefault(path, set()).add(image.name)
    return {path for path, given in names.items() if len(given) > 1}
