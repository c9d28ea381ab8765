"""What the check of a COCO file gives, and the question that it may leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from taudis.data.coco import CocoSamples
from taudis.data.coco.kinds import Findings
from taudis.types import LabelMap


@dataclass(frozen=True, eq=False)
class Checked:
    """A COCO file that was looked at, and what may be done with it."""

    names: tuple[str, ...]  # of labels 1..K; () where the file has no categories
    samples: CocoSamples  # what can be used
    found: Findings
    objects: int  # usable, crowds not counted
    crowds: int  # usable
    asked: str  # a question about crowds that is open, or ""
    labels_used: bool  # whether annotations matter, or pictures alone
    skipped_images: int  # left out by --skip-bad
    ignored: int  # unusable objects that are ignored by their box, by --skip-bad
    looked: bool  # whether pictures were looked at
    numbered: bool  # whether image ids are the file's

    @property
    def refusals(self) -> list[str]:
        """Why the file is not used as it is; empty where it is."""
        return [*self.found.sentences("refused"), *([self.asked] if self.asked else [])]

    @property
    def label_map(self) -> LabelMap:
        """The labels of the file. Raises DataError where it has none."""
        return LabelMap(self.names)

    def to_dict(self) -> dict[str, Any]:
        """The counts, for JSON and for a checkpoint's card."""
        counts: dict[str, Any] = {"images": len(self.samples)}
        if self.labels_used:
            counts |= {"objects": self.objects, "crowds": self.crowds, "labels": len(self.names)}
        if self.skipped_images or self.ignored:
            counts["skipped"] = {"images": self.skipped_images, "objects_ignored": self.ignored}
        return {**counts, **self.found.to_dict()}


WRITERS = {
    "datumaro (CVAT)": "every brush mask",
    "CVAT": "every brush mask",
    "labelformat": "every mask",
    "supervision (roboflow)": "every object that has a hole or two parts",
    "roboflow": "every object that has a hole or two parts",
    "darwin-py (V7)": "every object that has a hole or two parts",
}
"""What each tool marks as a crowd; docs/coco.md shows it, as the tools' own output."""


def crowd_question(crowds: int, masks: int, writer: str) -> str:
    """What has to be decided where `crowds` of `masks` masks are crowds; who may have done it."""
    if writer in WRITERS:
        likely = f"The file looks like {writer}'s, which marks {WRITERS[writer]} so."
    elif crowds == masks:
        likely = "datumaro (CVAT) marks every brush mask so, labelformat every mask."
    else:
        likely = "supervision (roboflow) and V7 mark every object that has a hole or two parts so."
    return (
        f"{crowds:,} of {masks:,} masks are crowds (iscrowd 1), which COCO ignores in training and"
        f" evaluation. {likely} Give --crowds objects to use them as objects, or --crowds ignore"
        " where they are true crowds."
    )
