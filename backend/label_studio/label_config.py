"""Reads a project's labelling config: its image, its labels, and the tags that draw regions.

Only the tags for instance segmentation are read: one `Image` tag, the tags that draw labelled
regions with an area on it (KINDS), and tools that draw without labels (TOOLS). The labels for tools
come from a `Labels` tag, or from the `Choices` tag whose choices are the classes of regions
(`class_choices`). All other tags (other choices, text, headers, views) are ignored.

The config is read like in Label Studio's editor (`config_xml`, docs/label_configs.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backend.errors import LabelConfigError
from backend.label_studio.addresses import VARIABLE, ImageTag
from backend.label_studio.class_choices import ImageChoices
from backend.label_studio.config_labels import labels_of, name_of, quoted
from backend.label_studio.config_xml import EXAMPLE, OBJECTS, Tag, read_tags
from backend.label_studio.config_xml import target_of as _target
from backend.label_studio.controls import KINDS, TOOLS, ControlTag, Kind, ToolTag
from backend.label_studio.import_rules import CHOICES_BESIDE, LABELS_BESIDE, refusal
from taudis.types import LabelMap

__all__ = ["ControlTag", "ImageTag", "Kind", "LabelConfig", "ToolTag", "parse_label_config"]

_KINDS: dict[str, Kind] = {tag.lower(): kind for tag, kind in KINDS.items()}
_TOOLS: dict[str, Kind] = {tag.lower(): kind for tag, kind in TOOLS.items()}
_NO_AREA = {
    "keypointlabels": "KeyPointLabels",
    "vectorlabels": 'VectorLabels without closable="true"',
}


@dataclass(frozen=True)
class LabelConfig:
    """The parts of a labelling config that matter for instance segmentation."""

    image: ImageTag
    controls: tuple[ControlTag, ...]
    label_map: LabelMap
    tools: tuple[ToolTag, ...] = ()  # all tools that draw on the image, with or without labels
    areas: tuple[ToolTag, ...] = ()  # the tools whose regions have an area
    other_objects: frozenset[str] = frozenset()  # names of a task's objects besides the image
    generic: frozenset[str] = frozenset()  # names of label tags whose labels are not the classes
    ignored: str = ""  # a notice about ignored choices that may be meant as classes

    @property
    def pre_annotation(self) -> ControlTag:
        """The preferred control for pre-annotations: first in the order of KINDS."""
        return self._preferred(self.controls)

    @property
    def scores_only(self) -> str:
        """A sentence that says why labels get no pre-annotations; '' if all labels get them."""
        why = {name: self.control_for(name).scores_only for name in self.label_map.names}
        missing = [name for name, reason in why.items() if reason]
        if not missing:
            return ""
        of = "" if len(missing) == len(why) else f" of {', '.join(missing)}"
        reasons = dict.fromkeys(why[name] for name in missing)
        return f"No pre-annotations{of}, only scores: {'; '.join(reasons)}."

    def in_words(self) -> str:
        """The first labels and the tag that they come from, in words."""
        every = self.label_map.names
        names = f"labels {', '.join(every[:10])}"
        if len(every) > 10:
            names += f" and {len(every) - 10} more"
        given = [control.name for control in self.controls if control.choices]
        if given:
            names += f", the choices of <Choices name={given[0]!r}>"
        return f"{names}. {self.ignored}" if self.ignored else names

    def control_for(self, label: str) -> ControlTag:
        """The preferred control with this label.

        Raises LabelConfigError if no control has it.
        """
        having = tuple(control for control in self.controls if label in control.labels)
        if not having:
            raise LabelConfigError(
                f"Label {label!r}: expected one of {self.label_map.names}. "
                "Train again with the present labelling config."
            )
        return self._preferred(having)

    def control(self, name: str) -> ControlTag | None:
        """The control with this name, or None."""
        return next((control for control in self.controls if control.name == name), None)

    @staticmethod
    def _preferred(controls: tuple[ControlTag, ...]) -> ControlTag:
        order = list(KINDS.values())
        return min(controls, key=lambda each: (bool(each.scores_only), order.index(each.kind)))


def parse_label_config(xml: str) -> LabelConfig:
    """Read a labelling config.

    Raises LabelConfigError, with the remedy, for: invalid or hostile XML, no image tag or several,
    a list of images, a Repeater, no supported label tag, no labels, dynamic labels, a repeated
    label, or choices that may or may not be the classes.
    """
    tags = read_tags(xml)
    objects = [tag for tag in tags if tag.name in OBJECTS and tag.get("name")]
    images = [tag for tag in tags if tag.name == "image"]
    if not images:
        raise LabelConfigError(f"No Image tag: expected one, as in {EXAMPLE}")
    drawn = {tag.get("name"): tag for tag in images}
    tools = [tag for tag in tags if tag.name in _TOOLS and _target(tag, objects) in drawn]
    labelling = [tag for tag in tags if _is_labelling(tag, tools, objects)]
    choices = ImageChoices(
        tuple(tag for tag in tags if tag.name == "choices" and _target(tag, objects) in drawn)
    )
    classes = choices.marked()
    if classes is None and not labelling and any(map(_has_area, tools)):
        classes = choices.only()
    if classes is None and not labelling:
        raise LabelConfigError(_no_control(tags, tools, choices.missing()))
    image = _image(images, labelling if classes is None else [classes, *labelling], objects)
    name = image.get("name")
    tools = [tag for tag in tools if _target(tag, objects) == name and tag.get("name")]
    others = frozenset(tag.get("name") for tag in objects) - {name}
    if classes is not None:
        return _config_of_choices(classes, image, labelling, tools, others)
    return _config_of_labels(labelling, image, tools, others, choices)


def _config_of_labels(
    labelling: list[Tag],
    image: Tag,
    tools: list[Tag],
    others: frozenset[str],
    choices: ImageChoices,
) -> LabelConfig:
    """The config whose classes are the labels of the label tags."""
    controls = tuple(_control(tag, image, tools) for tag in labelling)
    if len({control.name for control in controls}) != len(controls):
        raise LabelConfigError("Two label tags have one name; give each a name of its own.")
    name = image.get("name")
    names = dict.fromkeys(label for control in controls for label in control.labels)
    return LabelConfig(
        ImageTag(name, image.value),
        controls,
        LabelMap(tuple(names)),
        tuple(_tool(tag, name) for tag in tools),
        tuple(_tool(tag, name) for tag in tools if _has_area(tag)),
        others,
        ignored=choices.ignored(*names) if len(names) == 1 else "",
    )


def _config_of_choices(
    classes: Tag, image: Tag, labelling: list[Tag], tools: list[Tag], others: frozenset[str]
) -> LabelConfig:
    """The config whose classes are the choices of a tag. Its label tags only draw."""
    name = image.get("name")
    drawing = [tag for tag in labelling if tag.name in _KINDS]
    with_area = [*drawing, *(tag for tag in tools if _has_area(tag))]
    if not with_area:
        raise LabelConfigError(
            f"{quoted(classes)} gives regions their class, and no tag draws regions with an area; "
            f'add one, such as <Brush name="brush" toName="{name}"/>.'
        )
    labels, aliased = labels_of(classes)
    tool, refused = _drawing_tool(drawing or with_area, image, "Choices")
    refused = refusal(classes, image, labels) or refused
    control = ControlTag(
        tool.kind, name_of(classes), name, labels, tool, refused, aliased, choices=True
    )
    return LabelConfig(
        ImageTag(name, image.value),
        (control,),
        LabelMap(labels),
        tuple(_tool(tag, name) for tag in tools),
        tuple(_tool(tag, name) for tag in with_area),
        others,
        frozenset(tag.get("name") for tag in labelling),
    )


def _is_labelling(tag: Tag, tools: list[Tag], objects: list[Tag]) -> bool:
    """Whether a tag gives labels to regions that have an area."""
    if tag.name == "labels":
        target = _target(tag, objects)
        return any(_has_area(tool) and _target(tool, objects) == target for tool in tools)
    return tag.name in _KINDS and _has_area(tag)


def _has_area(tag: Tag) -> bool:
    return tag.name not in ("vector", "vectorlabels") or tag.get("closable") == "true"


def _no_control(tags: list[Tag], tools: list[Tag], missing: str) -> str:
    near = dict.fromkeys(_NO_AREA[tag.name] for tag in tags if tag.name in _NO_AREA)
    seen = f" (found {', '.join(near)}, which cannot be trained from)" if near else ""
    if tools:
        drawing = sorted({tool.written for tool in tools})
        seen += (
            f" (found {', '.join(drawing)} without a Labels tag of the same toName, and without"
            f' <Choices perRegion="true"> that give the class{missing})'
        )
    return f"No supported label tag{seen}: expected one of {', '.join(KINDS)}, as in {EXAMPLE}"


# --- the image --------------------------------------------------------------------------------


def _image(images: list[Tag], labelling: list[Tag], objects: list[Tag]) -> Tag:
    """The image that all label tags draw on."""
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
    name, to_name = name_of(tag), image.get("name")
    labels, aliased = labels_of(tag)
    refused = refusal(tag, image, labels)
    if tag.name in _KINDS:
        kind = _KINDS[tag.name]
        if kind == "vector":
            refused = "VectorLabels are read but not written; add <PolygonLabels .../>"
        return ControlTag(kind, name, to_name, labels, None, refused, aliased)
    areas = [each for each in tools if _has_area(each)]
    tool, unwritten = _drawing_tool(areas, image, "Labels")
    return ControlTag(tool.kind, name, to_name, labels, tool, refused or unwritten, aliased)


def _drawing_tool(areas: Sequence[Tag], image: Tag, giving: str) -> tuple[ToolTag, str]:
    """The tag to draw pre-annotations with, and why there can be none ('' if there can).

    `giving`: the tag that gives the labels, Labels or Choices.
    """
    order = [*_KINDS, *_TOOLS]
    by_kind = sorted(areas, key=lambda tag: order.index(tag.name))
    refused = {tag: _tool_refusal(tag, image, by_kind, giving) for tag in by_kind}
    used = next((tag for tag in by_kind if not refused[tag]), by_kind[0])
    return _tool(used, image.get("name")), refused[used]


def _tool_refusal(tool: Tag, image: Tag, tools: list[Tag], giving: str) -> str:
    """Why pre-annotations cannot be drawn with a tool or a label tag; '' if they can."""
    if tool.name in ("vector", "vectorlabels"):
        other = "Polygon" + tool.written[len("Vector") :]
        return f"regions of {tool.written} are read but not written; add <{other} .../>"
    if tool.name in _KINDS:
        labels, _ = labels_of(tool)
        if len(labels) > 1:
            return (
                f"{quoted(tool)} has several labels, and none says which of them a region of a"
                " choice gets; draw with a tag of one label"
            )
        return refusal(tool, image, labels)
    wand = any(each.name == "magicwand" for each in tools)
    drawn = LABELS_BESIDE if giving == "Labels" else CHOICES_BESIDE
    if tool.name not in drawn or (wand and tool.name in ("ellipse", "rectangle")):
        # With a wand, rectangles are crops or prompts. People want to correct masks.
        return (
            "Label Studio takes no predictions of a MagicWand beside Labels; add"
            f' <Brush name="..." toName="{image.get("name")}"/>, or use BrushLabels'
        )
    return refusal(tool, image, ())


def _tool(tag: Tag, to_name: str) -> ToolTag:
    """A drawing tag as a ToolTag. Its label is the only label of a label tag, '' for several."""
    if tag.name in _TOOLS:
        return ToolTag(_TOOLS[tag.name], tag.get("name"), to_name, tag.name)
    labels, _ = labels_of(tag)
    label = labels[0] if len(labels) == 1 else ""
    return ToolTag(_KINDS[tag.name], tag.get("name"), to_name, tag.name, label)
