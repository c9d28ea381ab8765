"""The command `pool`: lists the unlabelled images of a folder as a COCO file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taudis.cli.options import Coco, Images, write_result
from taudis.errors import DataError

if TYPE_CHECKING:
    from taudis.data.coco.values import Key


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
    Images that the file lists without an object are unlabelled. The last line counts both, the
    labelled images whose files are not in the folder (`not_found`), and the folder's files that
    are no images by their suffixes (`not_images`).
    """
    from taudis.data.coco.file import read_coco_json
    from taudis.data.coco.images import find_picture, is_picture
    from taudis.data.coco.kinds import Findings
    from taudis.files import write_json

    for target in (out, labelled):
        if target is not None and target.resolve() == coco.resolve():
            raise DataError(f"{target}: expected another file than the one that is read.")
    content = read_coco_json(coco, Findings())
    with_object = {_key(each, "image_id", coco) for each in content.get("annotations", [])}
    known = [each for each in content["images"] if _key(each, "id", coco) in with_object]
    places = [find_picture(images, _name(each, coco))[0] for each in known]
    names, others = _without_object(images, places, coco)
    rows = [{"id": number, "file_name": name} for number, name in enumerate(names, start=1)]
    write_json(out, {"images": rows})
    if labelled is not None:
        write_json(labelled, {**content, "images": known})
    missing = sum(not is_picture(place) for place in places)
    counts = {"unlabelled": len(rows), "labelled": len(known), "not_found": missing}
    write_result({"pool": str(out), **counts, "not_images": others})


def _without_object(images: Path, labelled: list[Path], coco: Path) -> tuple[list[str], int]:
    """The sorted names of unlabelled images, and the number of files that are not images.

    Raises DataError if all images are labelled.
    """
    from taudis.data.images import picture_suffixes

    ends, taken = picture_suffixes(), {place.resolve() for place in labelled}
    files = sorted(path for path in images.rglob("*") if path.is_file())
    found = [path for path in files if path.suffix.lower() in ends]
    free = [path for path in found if path.resolve() not in taken]
    if not free:
        raise DataError(
            f"{images}: expected an image without an object in {coco}, got none of {len(found)}."
        )
    return [path.relative_to(images).as_posix() for path in free], len(files) - len(found)


def _key(record: Any, name: str, coco: Path) -> Key:
    """An id of a record as `check` and `train` read it. Raises DataError if it has none."""
    from taudis.data.coco.values import key_of

    key = key_of(record.get(name)) if isinstance(record, dict) else None
    if key is None:
        raise DataError(f"{coco}: expected {name!r} in each record, got {record!r:.100}.")
    return key


def _name(record: Any, coco: Path) -> str:
    """An image's file name as `check` and `train` read it. Raises DataError if it has none."""
    from taudis.data.coco.parse import name_of

    name = name_of(record)
    if name is None:
        raise DataError(f"{coco}: expected 'file_name' in each record, got {record!r:.100}.")
    return name
