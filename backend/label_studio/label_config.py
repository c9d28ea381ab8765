"""Reads a project's labelling config: its image, its labels, and the tags that draw regions.

Only the tags that instance segmentation needs are read: one `Image` tag; the tags that draw
labelled regions with an area on it (KINDS); and a `Labels` tag beside tools that draw without
labels of their own (TOOLS). All other tags (choices, text, headers, views) are ignored.

The config is read as Label Studio's editor reads it (`config_xml`, docs/label_configs.md). A
label's name is its `alias` if it has one, else its `value`, as written: the editor writes that name
into a region (`selectedValues` of its labels mixin), and accepts both names in a region.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from backend.errors import LabelConfigError
from backend.label_studio.addresses import VARIABLE, ImageTag
from backend.label_studio.config_xml import EXAMPLE, Tag, read_tags
from backend.label_studio.import_rules import LABELS_BESIDE, refusal
from taudis.types import LabelMap

__all__ = ["ControlTag", "ImageTag", "Kind", "LabelConfig", "ToolTag", "parse_label_config"]

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
"""Tags that draw without a label, in the same order. The image's `Labels` tag gives the label."""

OBJECTS = {
    "audio", "audioplus", "chat", "hypertext", "image", "list", "paragraphs", "pdf", "richtext",
    "table", "text", "timeseries", "video",
}  # fmt: skip
_KINDS: dict[str, Kind] = {tag.lower(): kind for tag, kind in KINDS.items()}
_TOOLS: dict[str, Kind] = {tag.lower(): kind for tag, kind in TOOLS.items()}
_NO_AREA = {
    "keypointlabels": "KeyPointLabels",
    "vectorlabels": 'VectorLabels without closable="true"',
}


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
    `scores_only`: why it gets no pre-annotations, where Label Studio would not take them.
    """

    kind: Kind
    name: str
    to_name: str
    labels: tuple[str, ...]
    tool: ToolTag | None = None
    scores_only: str = ""
    aliased: Mapping[str, str] = field(default_factory=dict, hash=False)  # value -> alias

    @property
    def result_type(self) -> str:
        """Label Studio's result type, which is also the key of the labels in its value."""
        return "labels" if self.tool else f"{self.kind}labels"

    def label(self, written: object) -> str | None:
        """The label of this name or this value; None if there is no such label."""
        if not isinstance(written, str):
            return None
        return written if written in self.labels else self.aliased.get(written)


@dataclass(frozen=True)
class LabelConfig:
    """What a labelling config means for instance segmentation."""

    image: ImageTag
    controls: tuple[ControlTag, ...]
    label_map: LabelMap
    tools: tuple[ToolTag, ...] = ()  # all that draw on the image, beside labels or not
    areas: tuple[ToolTag, ...] = ()  # of these the ones whose regions have an area
    other_objects: frozenset[str] = frozenset()  # names of what else a task shows

    @property
    def pre_annotation(self) -> ControlTag:
        """The control that pre-annotations are written to: brush before polygon before others."""
        return self._preferred(self.controls)

    @property
    def scores_only(self) -> str:
        """Why some labels get no pre-annotations: a sentence for people, '' where all get them."""
        why = {name: self.control_for(name).scores_only for name in self.label_map.names}
        missing = [name for name, reason in why.items() if reason]
        if not missing:
            return ""
        of = "" if len(missing) == len(why) else f" of {', '.join(missing)}"
        reasons = dict.fromkeys(why[name] for name in missing)
        return f"No pre-annotations{of}, only scores: {'; '.join(reasons)}."

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
        return min(controls, key=lambda each: (bool(each.scores_only), order.index(each.kind)))


def parse_label_config(xml: str) -> LabelConfig:
    """Read a labelling config.

    Raises LabelConfigError, each time with what to change: broken or hostile XML, no image tag or
    several, a list of images, a Repeater, no supported label tag, no labels, dynamic labels, a
    repeated label.
    """
    tags = read_tags(xml)
    objects = [tag for tag in tags if tag.name in OBJECTS and tag.get("name")]
    images = [tag for tag in tags if tag.name == "image"]
    if not images:
        raise LabelConfigError(f"No Image tag: expected one, as in {EXAMPLE}")
    drawn = {tag.get("name"): tag for tag in images}
    tools = [tag for tag in tags if tag.name in _TOOLS and _target(tag, objects) in drawn]
    labelling = [tag for tag in tags if _is_labelling(tag, tools, objects)]
    if not labelling:
        raise LabelConfigError(_no_control(tags, tools))
    image = _image(images, labelling, objects)
    name = image.get("name")
    tools = [tag for tag in tools if _target(tag, objects) == name and tag.get("name")]
    controls = tuple(_control(tag, image, tools) for tag in labelling)
    if len({control.name for control in controls}) != len(controls):
        raise LabelConfigError("Two label tags have one name; give each a name of its own.")
    names = dict.fromkeys(label for control in controls for label in control.labels)
    return LabelConfig(
        ImageTag(name, image.value),
        controls,
        LabelMap(tuple(names)),
        tuple(_tool(tag, name) for tag in tools),
        tuple(_tool(tag, name) for tag in tools if _has_area(tag)),
        frozenset(tag.get("name") for tag in objects) - {name},
    )


def _target(tag: Tag, objects: list[Tag]) -> str:
    """The object that a tag belongs to: its toName, else the only object of the config."""
    return tag.get("toName") or (objects[0].get("name") if len(objects) == 1 else "")


def _is_labelling(tag: Tag, tools: list[Tag], objects: list[Tag]) -> bool:
    """Whether a tag gives labels to regions with an area."""
    if tag.name == "labels":
        target = _target(tag, objects)
        return any(_has_area(tool) and _target(tool, objects) == target for tool in tools)
    return tag.name in _KINDS and _has_area(tag)


def _has_area(tag: Tag) -> bool:
    return tag.name not in ("vector", "vectorlabels") or tag.get("closable") == "true"


def _no_control(tags: list[Tag], tools: list[Tag]) -> str:
    near = dict.fromkeys(_NO_AREA[tag.name] for tag in tags if tag.name in _NO_AREA)
    seen = f" (found {', '.join(near)}, which cannot be trained from)" if near else ""
    if tools:
        drawing = sorted({tool.written for tool in tools})
        seen += f" (found {', '.join(drawing)} without a Labels tag of the same toName)"
    return f"No supported label tag{seen}: expected one of {', '.join(KINDS)}, as in {EXAMPLE}"


# --- the image --------------------------------------------------------------------------------


def _image(images: list[Tag], labelling: list[Tag], objects: list[Tag]) -> Tag:
    """The one image that all label tags draw on."""
    named = {tag.wanted("name"): tag for tag in images}
    for tag in labelling:
        if not _target(tag, objects):
            tag.wanted("toName")
    targets = sorted({_target(tag, objects) for tag in labelling})
    if len(targets) > 1 or (targets[0] not in named and "," in targets[0]):
        raise LabelConfigError(
            f"The label tags draw on several objects ({', '.join(targets)}); "
            "one image a task is supported: let every toName be the same Image."
        )
    if targets[0] not in named:
        raise LabelConfigError(
            f"toName={targets[0]!r} names no Image tag; expected one of {sorted(named)}."
        )
    image = named[targets[0]]
    for tag in (image, *labelling):
        if tag.inside("repeater"):
            raise LabelConfigError(
                f"<{tag.written} name={tag.get('name')!r}> is in a <Repeater>, which makes an image"
                " of every entry of a list, and a rank is given to a task, not to a part of it;"
                ' use <Image value="$image"/> with one image a task.'
            )
    _check_image(image)
    return image


def _check_image(image: Tag) -> None:
    tag = f"<Image name={image.get('name')!r}>"
    if image.get("valueList"):
        raise LabelConfigError(
            f"{tag} shows a list of images (valueList), and a rank is given "
            'to a task, not to a page of it; use value="$image" with one image a task.'
        )
    value = image.wanted("value")
    if "{{" in value:
        raise LabelConfigError(
            f"{tag} has value={value!r}, whose {{{{...}}}} only a <Repeater> fills in; "
            'use value="$image" with one image a task.'
        )
    if not VARIABLE.search(value) and not (value.startswith("$") and len(value) > 1):
        raise LabelConfigError(
            f'{tag} has value={value!r}; expected a data key, such as value="$image".'
        )


# --- label tags and tools ---------------------------------------------------------------------


def _control(tag: Tag, image: Tag, tools: list[Tag]) -> ControlTag:
    name, to_name = _name(tag), image.get("name")
    labels, aliased = _labels(tag)
    refused = refusal(tag, image, labels)
    if tag.name in _KINDS:
        kind = _KINDS[tag.name]
        if kind == "vector":
            refused = "VectorLabels are read but not written; add <PolygonLabels .../>"
        return ControlTag(kind, name, to_name, labels, None, refused, aliased)
    order = list(_TOOLS)
    areas = sorted((tool for tool in tools if _has_area(tool)), key=lambda t: order.index(t.name))
    tool = next((each for each in areas if not _tool_refusal(each, image, areas)), areas[0])
    refused = refused or _tool_refusal(tool, image, areas)
    made = _tool(tool, to_name)
    return ControlTag(made.kind, name, to_name, labels, made, refused, aliased)


def _tool_refusal(tool: Tag, image: Tag, tools: list[Tag]) -> str:
    """Why pre-annotations beside `Labels` are not drawn with a tool; '' where they are."""
    if tool.name == "vector":
        return "regions of Vector are read but not written; add <Polygon .../>"
    wand = any(each.name == "magicwand" for each in tools)
    if tool.name not in LABELS_BESIDE or (wand and tool.name in ("ellipse", "rectangle")):
        # Beside a wand, rectangles are crops or prompts: masks are what people want corrected.
        return (
            "Label Studio takes no predictions of a MagicWand beside Labels; add"
            f' <Brush name="..." toName="{image.get("name")}"/>, or use BrushLabels'
        )
    return refusal(tool, image, ())


def _tool(tag: Tag, to_name: str) -> ToolTag:
    return ToolTag(_TOOLS[tag.name], tag.get("name"), to_name, tag.name)


def _name(tag: Tag) -> str:
    name = tag.wanted("name")
    if "@" in name:
        raise LabelConfigError(
            f"<{tag.written} name={name!r}>: Label Studio's editor cuts names off at @; rename it."
        )
    return name


def _labels(tag: Tag) -> tuple[tuple[str, ...], dict[str, str]]:
    """A tag's labels in their order, and the values of those that have an alias."""
    found = [_label(each, tag) for each in tag.below() if each.name == "label"]
    if not found:
        dynamic = tag.get("value").startswith("$")
        why = "takes its labels from the task data" if dynamic else "has no labels"
        raise LabelConfigError(
            f"<{tag.written} name={tag.get('name')!r}> {why}; write them out as "
            '<Label value="..."/>, since a model needs a fixed set of labels.'
        )
    names = [name for name, _ in found]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise LabelConfigError(
            f"<{tag.written} name={tag.get('name')!r}> repeats {twice}; keep one of each."
        )
    return tuple(names), {value: name for name, value in found if value and value not in names}


def _label(tag: Tag, control: Tag) -> tuple[str, str]:
    """A label's name and its value."""
    alias, value = tag.get("alias"), tag.value
    name = repr(control.get("name"))
    if not (alias or value).strip():
        raise LabelConfigError(f'A Label of {name} has no value; add value="..." to it.')
    if not alias and VARIABLE.fullmatch(value):
        raise LabelConfigError(
            f"Label {value!r} of {name} comes from the task data; write its name out."
        )
    return alias or value, value
