"""The result of checking a COCO file, and the question about crowds that a person must answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from taudis.data.coco import CocoSamples
from taudis.data.coco.kinds import Findings
from taudis.types import LabelMap


@dataclass(frozen=True, eq=False)
class Checked:
    """A checked COCO file."""

    names: tuple[str, ...]  # of labels 1..K; () if the file has no categories
    samples: CocoSamples  # the usable images and objects
    found: Findings
    objects: int  # number of usable objects, without crowds
    crowds: int  # number of usable crowds
    question: str  # the open question about crowds, or ""
    labels_used: bool  # whether annotations were checked, or only images
    skipped_images: int  # images left out by --skip-bad
    ignored: int  # unusable objects that --skip-bad turned into crowd regions
    with_pictures: bool  # whether image files were checked
    numbered: bool  # whether image ids are those of the file

    @property
    def refusals(self) -> list[str]:
        """The reasons why the file is refused; empty if it can be used."""
        return [*self.found.sentences("refused"), *([self.question] if self.question else [])]

    @property
    def label_map(self) -> LabelMap:
        """The labels of the file. Raises DataError if it has none."""
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
"""Tool -> the masks that it marks as crowds. docs/coco.md shows the output of these tools."""


def crowd_question(crowds: int, masks: int, writer: str) -> str:
    """The question for a person if `crowds` of `masks` masks are crowds. writer: the tool."""
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
