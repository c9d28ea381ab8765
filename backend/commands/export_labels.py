"""Exports a project's labels as a COCO data set: one annotation per object, with holes and parts.

Label Studio's converter writes one annotation per contour, and leaves out ellipses and bitmasks.
This export has exactly the masks of the training.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from backend.commands.projects import labels_of
from backend.errors import RoundError
from backend.images.decode import Pixels
from backend.label_studio.left_out import Summary
from backend.label_studio.new_project import uploaded_name
from backend.worker.context import RoundContext
from backend.worker.dataset import AnnotatedSamples, submitted
from taudis.data.coco.write import Segmentation, coco_of
from taudis.files import draft_folder
from taudis.types import Target

FILE, FOLDER, LEFT_OUT = "instances.json", "images", "left_out.json"


@dataclass(frozen=True)
class ExportedLabels:
    """Counts of an export."""

    images: int
    objects: int
    left_out: Summary
    superseded: int = 0  # annotations that do not count because their task has a newer one

    def in_words(self) -> str:
        """The counts in words."""
        found = [f"{self.objects} objects in {self.images} labelled images."]
        if self.superseded:
            found.append(f"Annotations not used, their task has a newer one: {self.superseded}.")
        if self.left_out:
            found.append(f"{self.left_out.in_words()} {LEFT_OUT} lists each.")
        return " ".join(found)


# long: with its docstring
def export_labels(
    context: RoundContext, out: Path, segmentation: Segmentation = "rle"
) -> ExportedLabels:
    """Write `instances.json`, `images/` and `left_out.json` to a folder atomically.

    Image ids are Label Studio's task ids. Images are PNG files with the pixels that the annotator's
    browser shows, so rotated photographs match their masks. Each image record has the address in
    Label Studio as `address`, and that of an upload the file's name as `original_file_name`. A
    region whose label is no longer in the config is a crowd (`iscrowd` 1, to be ignored). One
    annotation of a task is written, the one that training uses; the others are counted as not
    used. Tasks that training leaves out are left out, with the reason in `left_out.json`. out: a
    new or empty folder.

    Raises RoundError: `out` is not empty, no labelled task can be used, or writing failed.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RoundError(f"Expected a new or empty folder to export to, {out} is not empty.")
    samples, left_out = labels_of(context)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with draft_folder(out, mode=0o755) as draft:
            (draft / FOLDER).mkdir()
            truth = coco_of(
                samples.config.label_map,
                *_images_and_targets(samples, draft / FOLDER),
                segmentation,
            )
            for record, task in zip(truth["images"], samples.tasks, strict=True):
                record |= _origin(samples.config.image.address(task["data"]))
            _write(draft / FILE, truth)
            _write(draft / LEFT_OUT, [asdict(row) for row in samples.left_out])
    except OSError as error:
        raise RoundError(
            f"The export to {out} failed: {error}. Nothing was left there. Mend the cause, or"
            " choose another folder."
        ) from error
    objects = sum(not row["iscrowd"] for row in truth["annotations"])
    superseded = sum(len(submitted(task)) - 1 for task in samples.tasks)
    return ExportedLabels(len(samples), objects, left_out, superseded)


def _origin(address: str) -> dict[str, str]:
    """Where an image comes from: its address and, of an upload, the name of the original file."""
    name = uploaded_name(address)
    return {"address": address} | ({"original_file_name": name} if name else {})


def _images_and_targets(
    samples: AnnotatedSamples, folder: Path
) -> tuple[list[tuple[int, str, tuple[int, int]]], Iterator[Target]]:
    """Write the images. Returns their ids, file names and sizes, and an iterator of targets."""
    sizes = []
    for row, number in enumerate(samples.task_ids):
        image, _ = samples.with_crowds(row)
        name = f"{number:08d}.png"
        _write_png(folder / name, image)
        height, width = image.shape[:2]
        sizes.append((number, name, (height, width)))
    return sizes, (samples.with_crowds(row)[1] for row in range(len(samples)))


def _write_png(path: Path, image: Pixels) -> None:
    """Write an RGB image. Raises OSError."""
    done, data = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
    if not done:
        raise OSError(f"{path.name}: could not be written as PNG.")
    path.write_bytes(data.tobytes())


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
