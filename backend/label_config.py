"""The project's labelling config: which image is shown, which controls draw, which labels exist.

Only what instance segmentation needs is read: one `Image` object tag, the `BrushLabels`,
`PolygonLabels`, `EllipseLabels` and `RectangleLabels` that draw on it, and its `Labels` where tools
without labels of their own draw (`Brush`, `MagicWand`, `Polygon`, `Ellipse`, `Rectangle`).
Everything else in the config (choices, text, headers, views) is left alone.

A label's name is its `alias` where it has one, else its `value`: that is what Label Studio's editor
writes into a region (`selectedValues` of its labels mixin).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from backend.errors import ImageError, LabelConfigError
from taudis.instances import LabelMap

Kind = Literal["brush", "polygon", "ellipse", "rectangle"]

KINDS: dict[str, Kind] = {
    "BrushLabels": "brush",
    "PolygonLabels": "polygon",
    "EllipseLabels": "ellipse",
    "RectangleLabels": "rectangle",
}
"""Supported control tags, in the order in which pre-annotations prefer them."""

TOOLS: dict[str, Kind] = {
    "Brush": "brush",
    "MagicWand": "brush",
    "Polygon": "polygon",
    "Ellipse": "ellipse",
    "Rectangle": "rectangle",
}
"""Tags that draw without a label, in the same order; the label is the image's `Labels` tag's."""

UNSUPPORTED = {"KeyPointLabels", "BitmaskLabels", "VectorLabels"}
EXAMPLE = (
    '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">'
    '<Label value="Object"/></BrushLabels></View>'
)
MAX_CHARACTERS = 5_000_000
UNDEFINED = "$undefined$"
"""The data key that Label Studio uses for files uploaded before the config was set."""

_DATA_KEY = re.compile(r"\$([^\s$]+)")


@dataclass(frozen=True)
class ImageTag:
    """The `Image` object tag: its name, and the key of the task's data that holds the address."""

    name: str
    data_key: str

    def address(self, data: Mapping[str, Any]) -> str:
        """The image's address in a task's data. Raises ImageError when there is none."""
        value = data.get(self.data_key, data.get(UNDEFINED))
        if isinstance(value, str) and value.strip():
            return value.strip()
        came = "no such key" if value is None else f"a {type(value).__name__}"
        raise ImageError(
            f"Task data: expected an image address (text) under {self.data_key!r}, got {came}. "
            "Import the image under this key, or change the Image tag's value."
        )


@dataclass(frozen=True)
class ToolTag:
    """A tag that draws without a label, and the type of its result."""

    kind: Kind
    name: str
    to_name: str
    result_type: str


@dataclass(frozen=True)
class ControlTag:
    """One control tag that gives regions their labels.

    Its pre-annotations are of `kind`, drawn with `tool` where the tag draws nothing itself.
    """

    kind: Kind
    name: str
    to_name: str
    labels: tuple[str, ...]
    tool: ToolTag | None = None

    @property
    def result_type(self) -> str:
        """Label Studio's result type, which is also the key of the labels in its value."""
        return "labels" if self.tool else f"{self.kind}labels"


@dataclass(frozen=True)
class LabelConfig:
    """What a labelling config means for instance segmentation."""

    image: ImageTag
    controls: tuple[ControlTag, ...]
    label_map: LabelMap

    @property
    def pre_annotation(self) -> ControlTag:
        """The control that pre-annotations are written to: brush, polygon, ellipse, rectangle."""
        return self._preferred(self.controls)

    def control_for(self, label: str) -> ControlTag:
        """The preferred control among those that have this label.

        Raises LabelConfigError for a label that no control has.
        """
        having = tuple(control for control in self.controls if label in control.labels)
        if not having:
            raise LabelConfigError(
                f"Label {label!r}: expected one of {self.label_map.names}. "
                "Train again with the present labelling config."
            )
        return self._preferred(having)

    def control(self, name: str) -> ControlTag | None:
        """The control of this name, or None."""
        return next((control for control in self.controls if control.name == name), None)

    @staticmethod
    def _preferred(controls: tuple[ControlTag, ...]) -> ControlTag:
        order = list(KINDS.values())
        return min(controls, key=lambda control: order.index(control.kind))


def parse_label_config(xml: str) -> LabelConfig:
    """Read a labelling config.

    Raises LabelConfigError, each time with what to change: broken or hostile XML, no image tag or
    several, a list of images, no supported label tag, no labels, dynamic labels, a repeated label.
    """
    root = _parse_xml(xml)
    tags = [element for element in root.iter() if isinstance(element.tag, str)]
    images = [element for element in tags if element.tag == "Image"]
    if not images:
        raise LabelConfigError(f"No Image tag: expected one, as in {EXAMPLE}")
    controls = _controls(tags, {element.get("name", "") for element in images})
    if not controls:
        raise LabelConfigError(_no_control({element.tag for element in tags}))
    if len({control.name for control in controls}) != len(controls):
        raise LabelConfigError("Two label tags have one name; give each a name of its own.")
    image = _image(images, controls)
    names = dict.fromkeys(label for control in controls for label in control.labels)
    return LabelConfig(image, controls, LabelMap(tuple(names)))


def _parse_xml(xml: str) -> Element:
    if not isinstance(xml, str) or not xml.strip():
        raise LabelConfigError(f"The labelling config is empty; set one such as {EXAMPLE}")
    if len(xml) > MAX_CHARACTERS:
        raise LabelConfigError(
            f"The labelling config has {len(xml)} characters, at most {MAX_CHARACTERS} are read."
        )
    try:
        return fromstring(xml, forbid_dtd=True)
    except DefusedXmlException:
        raise LabelConfigError(
            "The labelling config declares a DTD or entities; remove the <!DOCTYPE ...> part."
        ) from None
    except (ParseError, ValueError) as error:
        raise LabelConfigError(f"The labelling config is not valid XML ({error}).") from None


def _no_control(tags: set[str]) -> str:
    near, drawing = sorted(tags & UNSUPPORTED), sorted(tags & TOOLS.keys())
    seen = f" (found {', '.join(near)}, which cannot be trained from)" if near else ""
    if drawing:
        seen += f" (found {', '.join(drawing)} without a Labels tag of the same toName)"
    wanted = ", ".join(KINDS)
    return f"No supported label tag{seen}: expected one of {wanted}, as in {EXAMPLE}"


def _attribute(element: Element, name: str) -> str:
    value = element.get(name, "").strip()
    if not value:
        raise LabelConfigError(f'<{element.tag}> has no {name}; add {name}="..." to it.')
    return value


def _controls(tags: list[Element], images: set[str]) -> tuple[ControlTag, ...]:
    """The label tags in their order, `Labels` among them where a tool draws on the same image."""
    tools: dict[str, ToolTag] = {}  # by the image: the preferred one
    for tag, kind in TOOLS.items():
        for element in tags:
            name, to_name = element.get("name", ""), element.get("toName", "")
            if element.tag == tag and name and to_name in images:
                tools.setdefault(to_name, ToolTag(kind, name, to_name, tag.lower()))
    controls = []
    for element in tags:
        tool = tools.get(element.get("toName", ""))
        if element.tag in KINDS:
            controls.append(_control(element, KINDS[element.tag], None))
        elif element.tag == "Labels" and tool is not None:
            controls.append(_control(element, tool.kind, tool))
    return tuple(controls)


def _control(element: Element, kind: Kind, tool: ToolTag | None) -> ControlTag:
    name, to_name = _attribute(element, "name"), _attribute(element, "toName")
    labels = tuple(_label(label, name) for label in element.iter("Label"))
    if not labels:
        dynamic = element.get("value", "").startswith("$")
        why = "takes its labels from the task data" if dynamic else "has no labels"
        raise LabelConfigError(
            f'<{element.tag} name={name!r}> {why}; write them out as <Label value="..."/>, '
            "since a model needs a fixed set of labels."
        )
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice:
        raise LabelConfigError(f"<{element.tag} name={name!r}> repeats {twice}; keep one of each.")
    return ControlTag(kind, name, to_name, labels, tool)


def _label(element: Element, control: str) -> str:
    value = element.get("alias", "").strip() or element.get("value", "").strip()
    if not value:
        raise LabelConfigError(f'A Label of {control!r} has no value; add value="..." to it.')
    if value.startswith("$"):
        raise LabelConfigError(
            f"Label {value!r} of {control!r} comes from the task data; write its name out."
        )
    return value


def _image(images: list[Element], controls: tuple[ControlTag, ...]) -> ImageTag:
    """The one image that all label tags draw on."""
    named = {_attribute(element, "name"): element for element in images}
    targets = sorted({control.to_name for control in controls})
    if len(targets) > 1:
        raise LabelConfigError(
            f"The label tags draw on several objects ({', '.join(targets)}); "
            "one image a task is supported: let every toName be the same Image."
        )
    if targets[0] not in named:
        raise LabelConfigError(
            f"toName={targets[0]!r} names no Image tag; expected one of {sorted(named)}."
        )
    element = named[targets[0]]
    if element.get("valueList"):
        raise LabelConfigError(
            f"<Image name={targets[0]!r}> shows a list of images (valueList), and a rank is given "
            'to a task, not to a page of it; use value="$image" with one image a task.'
        )
    value = _attribute(element, "value")
    key = _DATA_KEY.fullmatch(value)
    if key is None:
        raise LabelConfigError(
            f"<Image name={targets[0]!r}> has value={value!r}; expected one data key, "
            'such as value="$image".'
        )
    return ImageTag(targets[0], key[1])
