"""Tags of a labelling config that draw regions on an image or give them their labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["brush", "bitmask", "polygon", "ellipse", "rectangle", "vector"]

KINDS: dict[str, Kind] = {
    "BrushLabels": "brush",
    "BitmaskLabels": "bitmask",
    "PolygonLabels": "polygon",
    "EllipseLabels": "ellipse",
    "RectangleLabels": "rectangle",
    "VectorLabels": "vector",
}
"""Supported control tags, in the order in which pre-annotations prefer them.

VectorLabels only where closable="true": open lines have no area. No pre-annotation is written to
them.
"""

TOOLS: dict[str, Kind] = {
    "Brush": "brush",
    "Bitmask": "bitmask",
    "Polygon": "polygon",
    "Ellipse": "ellipse",
    "Rectangle": "rectangle",
    "Vector": "vector",
    "MagicWand": "brush",
}
"""Tags that draw without a label, in the same order; a `Labels` or `Choices` tag gives it."""


@dataclass(frozen=True)
class ToolTag:
    """A tag that draws without giving the class, and the type of its result."""

    kind: Kind
    name: str
    to_name: str
    result_type: str
    label: str = ""  # its only label, where it has one: every region that it draws has it


@dataclass(frozen=True)
class ControlTag:
    """One control tag that gives regions their labels.

    Its pre-annotations are of `kind`, drawn with `tool` where the tag draws nothing itself.
    `scores_only`: why it gets no pre-annotations, where Label Studio would not take them.
    `choices`: it is a `Choices` tag, whose results have no shape of their own when we write them.
    """

    kind: Kind
    name: str
    to_name: str
    labels: tuple[str, ...]
    tool: ToolTag | None = None
    scores_only: str = ""
    aliased: Mapping[str, str] = field(default_factory=dict, hash=False)  # value -> alias
    choices: bool = False

    @property
    def result_type(self) -> str:
        """Label Studio's result type, which is also the key of the labels in its value."""
        if self.choices:
            return "choices"
        return "labels" if self.tool else f"{self.kind}labels"

    def label(self, written: object) -> str | None:
        """The label of this name or this value; None if there is no such label."""
        if not isinstance(written, str):
            return None
        return written if written in self.labels else self.aliased.get(written)
