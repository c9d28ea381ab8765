"""The command `pool`: lists the unlabelled images of a folder as a COCO file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from taudis.cli.options import Coco, Images, write_result
from taudis.errors import DataError

SUFFIXES = frozenset(
    (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
"""Suffixes of image files that `score` reads."""


def pool(
    coco: Coco,
    images: Images,
    out: Annotated[Path, typer.Argument(help="COCO file to write: the unlabelled images.")],
    labelled: Annotated[
        Path | None,
        typer.Option(help="Also write a COCO file of the labelled images alone, for `train`."),
    ] = None,
) -> None:
    """List the images of a folder that have no object in a COCO file, for `score`.

    An image is labelled if the COCO file has an object on it, as for `create` of the backend.
    Images that the file lists without an object are unlabelled. The last line counts both, and the
    labelled images whose files are not in the folder (`not_found`).
    """
    from taudis.data.coco.file import read_coco_json
    from taudis.data.coco.images import find_picture
    from taudis.data.coco.kinds import Findings
    from taudis.files import write_json

    for target in (out, labelled):
        if target is not None and target.resolve() == coco.resolve():
            raise DataError(f"{target}: expected another file than the one that is read.")
    content = read_coco_json(coco, Findings())
    with_object = {_text(each, "image_id", coco) for each in content.get("annotations", [])}
    known = [each for each in content["images"] if _text(each, "id", coco) in with_object]
    places = [find_picture(images, _text(each, "file_name", coco))[0] for each in known]
    names = _without_object(images, places, coco)
    rows = [{"id": number, "file_name": name} for number, name in enumerate(names, start=1)]
    write_json(out, {"images": rows})
    if labelled is not None:
        write_json(labelled, {**content, "images": known})
    missing = sum(not place.is_file() for place in places)
    counts = {"unlabelled": len(rows), "labelled": len(known), "not_found": missing}
    write_result({"pool": str(out), **counts})


def _without_object(images: Path, labelled: list[Path], coco: Path) -> list[str]:
    """The sorted names of unlabelled images. Raises DataError if all images are labelled."""
    taken = {place.resolve() for place in labelled}
    found = sorted(path for path in images.rglob("*") if path.suffix.lower() in SUFFIXES)
    free = [path for path in found if path.is_file() and path.resolve() not in taken]
    if not free:
        raise DataError(
            f"{images}: expected an image without an object in {coco}, got none of {len(found)}."
        )
    return [path.relative_to(images).as_posix() for path in free]


def _text(record: Any, key: str, coco: Path) -> str:
    """The value of a key as text; ids may be numbers or text. Raises DataError if it is missing."""
    try:
        return str(record[key])
    except (KeyError, TypeError) as error:
        raise DataError(f"{coco}: expected {key!r} in each record, got {record!r:.100}.") from error
