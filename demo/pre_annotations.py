"""Measures how many pre-annotated regions match objects of the ground truth.

The regions of a served task's pre-annotation are read like on Label Studio's page, and matched with
the objects of the picture: best score first, same label, mask IoU at least FITS
(`taudis.evaluation.matching`). One region matches at most one object, so the number of matched
regions equals the number of found objects. Labels drawn as rectangles are compared by their boxes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backend.label_studio.label_config import LabelConfig
from backend.label_studio.regions.decode import INSTANCE_KEY, decode_annotation
from taudis.data.coco import encode
from taudis.evaluation.matching import FITS, NONE, EvaluatedImage, match
from taudis.types import BoolArray, Target


@dataclass(frozen=True)
class PreAnnotation:
    """The pre-annotation of one served task, compared with the ground truth.

    Crowd regions of the ground truth are no objects. A pre-annotated region inside a crowd is
    neither right nor wrong: `in_crowds` counts it, and `regions` does not.
    """

    task: int
    version: str  # the prediction's model version
    regions: int  # a polygon in several parts is one region
    in_crowds: int
    matched: int  # regions that match an object; equals the number of found objects
    objects: int


def compare(
    task: int, version: str, result: Sequence[Mapping[str, Any]], truth: Target, config: LabelConfig
) -> PreAnnotation:
    """Match the `result` of a prediction, best score first, with the objects of its picture.

    Args:
        task: the task's id.
        version: the prediction's model version.
        result: the regions served by Label Studio. An unreadable region matches nothing.
        truth: the objects and crowd regions; labels as numbered by `config`.
        config: the project's labelling config.
    """
    regions = len({_instance(row) for row in result})
    objects = int((~truth.iscrowd).sum())
    size = (truth.masks.shape[1], truth.masks.shape[2])
    decoded = decode_annotation(result, config, size=size).target
    if decoded is None or not len(decoded):
        return PreAnnotation(task, version, regions, 0, 0, objects)
    read = ~decoded.iscrowd  # crowds are regions with an unknown label
    image = EvaluatedImage(
        size,
        truth.labels,
        [encode(mask) for mask in _as_drawn(truth, config)],
        truth.iscrowd,
        decoded.labels[read],
        -np.arange(read.sum(), dtype=np.float64),  # the first region has the best score
        [encode(mask) for mask in decoded.masks[read]],
    )
    found = [match(image, label=int(label)) for label in np.unique(image.labels)]
    matched = sum(int((one.objects != NONE).sum()) for one in found)
    in_crowds = sum(int(one.in_crowd.sum()) for one in found)
    return PreAnnotation(task, version, regions - in_crowds, in_crowds, matched, objects)


def _instance(row: Mapping[str, Any]) -> str:
    """A key shared by all results of one instance: the link in their meta, or their id."""
    meta = row.get("meta")
    tie = meta.get(INSTANCE_KEY) if isinstance(meta, Mapping) else None
    return str(tie or row.get("id"))


def _as_drawn(truth: Target, config: LabelConfig) -> BoolArray:
    """The masks [n,H,W]; objects that are drawn as rectangles fill their boxes."""
    masks = np.array(truth.masks)
    for row, label in enumerate(truth.labels.tolist()):
        if truth.iscrowd[row]:
            continue
        if config.control_for(config.label_map.name(label)).kind == "rectangle":
            x1, y1, x2, y2 = truth.boxes[row].round().astype(int).clip(0).tolist()
            masks[row, y1:y2, x1:x2] = True
    return masks


@dataclass(frozen=True)
class Total:
    """The sum of several served tasks; fields as in `PreAnnotation`."""

    tasks: int
    regions: int
    in_crowds: int
    matched: int
    objects: int

    @classmethod
    def of(cls, seen: Iterable[PreAnnotation]) -> Total:
        """The sum. A task served repeatedly under one version counts once."""
        once = {(one.version, one.task): one for one in seen}.values()
        return cls(
            len(once),
            sum(one.regions for one in once),
            sum(one.in_crowds for one in once),
            sum(one.matched for one in once),
            sum(one.objects for one in once),
        )

    def to_json(self) -> dict[str, Any]:
        """The counts, and the shares (0 to 1) of matched regions and of found objects.

        A share is None if there are no regions or no objects.
        """
        return {
            **vars(self),
            "found": self.matched,
            "share_matched": round(self.matched / self.regions, 4) if self.regions else None,
            "share_found": round(self.matched / self.objects, 4) if self.objects else None,
        }


def by_round(
    seen: Iterable[PreAnnotation], versions: Sequence[str]
) -> dict[int, list[PreAnnotation]]:
    """The served tasks by the training round whose order and model they came from.

    Args:
        seen: the served tasks.
        versions: the version of the first order, then of each training round. The names of versions
            sort by age. A version that is not listed belongs to the round before it.
    """
    rounds: dict[int, list[PreAnnotation]] = {}
    for one in seen:
        rounds.setdefault(max(bisect_right(versions, one.version) - 1, 0), []).append(one)
    return dict(sorted(rounds.items()))


def in_words(total: Mapping[str, Any]) -> str:
    """A sentence about the `Total.to_json` of the tasks from the second model on."""
    if not total["regions"]:
        return f"Annotators were shown no region from the second model on ({total['tasks']} tasks)."
    objects = f"{total['found']} of {total['objects']} objects"
    return (
        f"Of {total['regions']} regions that annotators were shown from the second model on,"
        f" {total['matched']} ({total['share_matched']:.0%}) matched an object at IoU {FITS};"
        f" {objects} ({total['share_found'] or 0:.0%}) were found."
    ).replace("%", " %")
