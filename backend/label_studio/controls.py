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

VectorLabels need closable="true", because open lines have no area. They get no pre-annotations.
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
"""Tags that draw without a label, in the same order. A `Labels` or `Choices` tag gives it."""


@dataclass(frozen=True)
class ToolTag:
    """A tag that draws regions but does not give their class, and its result type."""

    kind: Kind
    name: str
    to_name: str
    result_type: str
    label: str = ""  # the tag's only label, which all its regions have; '' if there is none


@dataclass(frozen=True)
class ControlTag:
    """One control tag that gives regions their labels.

    Its pre-annotations have the shape `kind`, drawn with `tool` if the tag itself does not draw.
    `scores_only`: why Label Studio would refuse pre-annotations for it; '' if it accepts them.
    `choices`: whether it is a `Choices` tag. Our results for a `Choices` tag have no shape.
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
        """Label Studio's result type, which is also the key of the labels in a result's value."""
        if self.choices:
            return "choices"
        return "labels" if self.tool else f"{self.kind}labels"

    def label(self, written: object) -> str | None:
        """The label with this name or value; None if there is none."""
        if not isinstance(written, str):
            return None
        return written if written in self.labels else self.aliased.get(written)
