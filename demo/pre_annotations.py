"""How much of what annotators are shown lies on objects of the ground truth.

The regions of a served task's pre-annotation are read as Label Studio's own page reads them, and
matched with the objects of the picture: best score first, same label, IoU of masks at least FITS
(`taudis.evaluation.matching`). One region finds at most one object, so the regions that match are
as many as the objects that are found. Labels that a project draws as rectangles are compared by
their boxes.
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
    """What an annotator saw on one served task, compared with the ground truth.

    Crowd regions of the ground truth are no objects. A region that lies in one is neither right nor
    wrong: `in_crowds` counts it, `regions` does not.
    """

    task: int
    version: str  # the prediction's model version
    regions: int  # a polygon in several parts is one region
    in_crowds: int
    matched: int  # regions that match an object, and objects that are found
    objects: int


def compare(
    task: int, version: str, result: Sequence[Mapping[str, Any]], truth: Target, config: LabelConfig
) -> PreAnnotation:
    """Match the `result` of a prediction, best score first, with the objects of its picture.

    Args:
        task: the task's id.
        version: the prediction's model version.
        result: the regions as Label Studio serves them. One that cannot be read matches nothing.
        truth: the objects and crowd regions; labels as numbered by `config`.
        config: the project's labelling config.
    """
    regions = len({_instance(row) for row in result})
    objects = int((~truth.iscrowd).sum())
    size = (truth.masks.shape[1], truth.masks.shape[2])
    decoded = decode_annotation(result, config, size=size).target
    if decoded is None or not len(decoded):
        return PreAnnotation(task, version, regions, 0, 0, objects)
    read = ~decoded.iscrowd  # crowds are regions whose label is not known
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
    """What the results of one instance have in common: its tie, or their id."""
    meta = row.get("meta")
    tie = meta.get(INSTANCE_KEY) if isinstance(meta, Mapping) else None
    return str(tie or row.get("id"))


def _as_drawn(truth: Target, config: LabelConfig) -> BoolArray:
    """The masks [n,H,W]; objects that are drawn as rectangles fill their boxes."""
    masks = truth.masks.copy()
    for row, label in enumerate(truth.labels.tolist()):
        drawn = config.control_for(config.label_map.name(label)).kind
        if drawn == "rectangle" and not truth.iscrowd[row]:
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
        """The sum. A task that was served repeatedly under one version counts once."""
        once = {(one.version, one.task): one for one in seen}.values()
        return cls(
            len(once),
            sum(one.regions for one in once),
            sum(one.in_crowds for one in once),
            sum(one.matched for one in once),
            sum(one.objects for one in once),
        )

    def to_json(self) -> dict[str, Any]:
        """The counts, and the shares (0 to 1) of regions that match and of objects found.

        A share of nothing is None.
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
            sort by age; one that is not listed belongs to the round before it.
    """
    rounds: dict[int, list[PreAnnotation]] = {}
    for one in seen:
        rounds.setdefault(max(bisect_right(versions, one.version) - 1, 0), []).append(one)
    return dict(sorted(rounds.items()))


def in_words(total: Mapping[str, Any]) -> str:
    """A sentence of the `Total.to_json` of the tasks from the second model on."""
    if not total["regions"]:
        return f"Annotators were shown no region from the second model on ({total['tasks']} tasks)."
    objects = f"{total['found']} of {total['objects']} objects"
    return (
        f"Of {total['regions']} regions that annotators were shown from the second model on,"
        f" {total['matched']} ({total['share_matched']:.0%}) matched an object at IoU {FITS};"
        f" {objects} ({total['share_found'] or 0:.0%}) were found."
    ).replace("%", " %")
