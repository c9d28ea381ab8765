"""Groups the results of an annotation into regions with an area, and finds their labels.

Label Studio writes one result for each tag of a region. All results of a region have the same id,
and each has the whole shape. For example, a region of a magic wand has a result of type `magicwand`
and a result of type `labels` or `brushlabels`. Texts and choices of a region (perRegion) also
repeat its shape; without a shape, they belong to the region with their id. The label therefore
comes from the result of a label tag, or of the `Choices` tag that gives the classes. The shape is
recognised by the keys of the value, not by the type.

These results are ignored: choices, texts and ratings of the whole task, relations, key points (a
point has no area), lines (VectorLabels that cannot be closed), and results of the task's other
objects. Every other result with a shape or with the name of a label tag counts as a region, so that
no region is left out uncounted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.errors import RegionError
from backend.label_studio.controls import KINDS, ControlTag, Kind
from backend.label_studio.label_config import LabelConfig

Result = Mapping[str, Any]
"""One entry of an annotation's `result` list in Label Studio's format."""

SHAPES: dict[str, Kind] = {
    "rle": "brush",
    "touches": "brush",
    "maskDataURL": "brush",
    "imageDataURL": "bitmask",
    "points": "polygon",
    "vertices": "vector",
    "radiusX": "ellipse",
    "height": "rectangle",
}
"""Kind -> a key that only its value has, in the order of the editor (`detectByValue`).

A rectangle is recognised by its height, because a key point also has a width, that of its dot.
"""

_LABEL_TYPES = frozenset(tag.lower() for tag in KINDS)
_PLAIN = frozenset({"ellipse", "polygon", "rectangle"})
"""Types of bare tools that may be crops or prompts. A brush or a wand always paints an object."""


@dataclass(frozen=True, eq=False)
class Region:
    """One region: all results with one id. At least one of them has a shape or a label."""

    rows: tuple[Result, ...]

    @property
    def id(self) -> str:
        """Label Studio's id; '?' if there is none."""
        return str(self.rows[0].get("id") or "?")

    @property
    def first(self) -> Result:
        """The result that gives the region's pixels: as in the editor, the first with a shape."""
        return next((row for row in self.rows if shape_of(row) is not None), self.rows[0])

    def label(self, config: LabelConfig) -> tuple[str, RegionError | None]:
        """The region's first known label, and an error about its other labels if it has several.

        Raises RegionError if no label is known.
        """
        known: list[str] = []
        given: list[Any] = []
        wrong: list[RegionError] = []
        for row in self.rows:
            try:
                names = _labels(row, config)
            except RegionError as error:
                wrong.append(error)
                continue
            for name, label in names:
                given.append(name)
                known += [label] if label is not None else []
        if known:
            return known[0], _several(given, known[0]) if len(given) > 1 else None
        if wrong:
            raise wrong[0]
        kind = next(
            (f"choice of {each.name!r}" for each in config.controls if each.choices), "label"
        )
        raise RegionError(
            f"it has no {kind}; select it in Label Studio and choose one.", "no_label"
        )


def regions_of(result: Sequence[Any], config: LabelConfig) -> list[Region]:
    """The regions of an annotation, in the order of their first results.

    Results with the same id form a region. A second result of the same tag, or a result without id,
    is another region. Choices whose id has no shape belong to the whole task and are no region.
    """
    regions: dict[object, list[Result]] = {}
    seen: Counter[tuple[str, str]] = Counter()
    for index, row in enumerate(result):
        if not isinstance(row, Mapping) or not _belongs(row, config):
            continue
        name = (str(row.get("id")), str(row.get("from_name")))
        key = index if row.get("id") is None else (name[0], seen[name])
        seen[name] += 1
        regions.setdefault(key, []).append(row)
    return [Region(tuple(rows)) for rows in regions.values() if not _of_task(rows, config)]


def type_of(row: Result) -> str:
    """A result's type in lower case; '' if it has none."""
    kind = row.get("type")
    return kind.strip().lower() if isinstance(kind, str) else ""


def shape_of(row: Result) -> Kind | None:
    """The kind of shape in a result's value; None without a shape."""
    value = row.get("value")
    if not isinstance(value, Mapping):
        return None
    return next((kind for key, kind in SHAPES.items() if value.get(key) is not None), None)


def _belongs(row: Result, config: LabelConfig) -> bool:
    """Whether a result is part of a region with an area."""
    kind, shape = type_of(row), shape_of(row)
    control = config.control(str(row.get("from_name")))
    if control is not None:
        return not (control.tool and _has_no_area(row, config))
    if kind == "relation" or str(row.get("to_name")) in config.other_objects:
        return False
    tools = [each.tool for each in config.controls if each.tool]
    if kind in _PLAIN and all(tool.result_type in _LABEL_TYPES for tool in tools):
        return False  # a crop or a prompt: if label tags draw, a bare tool outlines no object
    if shape == "vector":
        return is_closed(row)
    return shape is not None or kind in _LABEL_TYPES - {"vectorlabels"}


def _of_task(rows: Sequence[Result], config: LabelConfig) -> bool:
    """Whether all results of one id are choices without a shape, of the whole task."""
    controls = [config.control(str(row.get("from_name"))) for row in rows]
    choices = all(control is not None and control.choices for control in controls)
    return choices and all(shape_of(row) is None for row in rows)


def _has_no_area(row: Result, config: LabelConfig) -> bool:
    """Whether a result belongs to a point, or to a line that no tool can close."""
    value, shape = row.get("value"), shape_of(row)
    if shape == "vector":
        return not is_closed(row) and all(each.kind != "vector" for each in config.areas)
    return shape is None and isinstance(value, Mapping) and {"x", "y"} <= value.keys()


def is_closed(row: Result) -> bool:
    """Whether a vector's outline is closed, so that it has an area."""
    value = row.get("value")
    return isinstance(value, Mapping) and value.get("closed") is True


def _labels(row: Result, config: LabelConfig) -> list[tuple[Any, str | None]]:
    """A result's labels, each with the config's name for it or None; [] for a tool's result, which
    has no labels.

    Raises RegionError if a label tag's result has no known label, or if the config lacks the tag.
    """
    control = config.control(str(row.get("from_name")))
    kind = type_of(row)
    if control is None:
        if str(row.get("from_name")) not in config.generic and kind in {*_LABEL_TYPES, "labels"}:
            raise _unknown_tag(row, config)
        return []
    if row.get("to_name") not in (None, control.to_name):
        raise _unknown_tag(row, config)
    given = _given(row, control)
    if given is None and kind not in ("", control.result_type):
        raise _unknown_tag(row, config)
    names = given if isinstance(given, list) else []
    found = [(name, control.label(name)) for name in names]
    if any(label is not None for _, label in found):
        return found
    word = "choice" if control.choices else "label"
    raise RegionError(
        f"expected a {word} of {control.name!r}, got {given!s:.80}; label it again, "
        f"or put the {word} back into the labelling config.",
        "unknown_label" if given else "no_label",
    )


def _given(row: Result, control: ControlTag) -> Any:
    """A result's labels: under the key of its tag, or of its tool's label tag (polygonlabels)."""
    value = row.get("value")
    if not isinstance(value, Mapping):
        raise RegionError(f"expected a value with the shape, got {type(value).__name__}.")
    merged = value.get(type_of(row)) if control.tool else None
    return value.get(control.result_type, merged)


def _unknown_tag(row: Result, config: LabelConfig) -> RegionError:
    known = ", ".join(f"{each.name} ({each.result_type})" for each in config.controls)
    return RegionError(
        f"from_name {row.get('from_name')!r:.60} ({row.get('type')!s:.40}) with to_name "
        f"{row.get('to_name')!r:.60} is not in the labelling config; known are {known} on "
        f"{config.image.name!r}.",
        "unknown_tag",
    )


def _several(given: list[Any], used: str) -> RegionError:
    return RegionError(
        f"it has several labels {given!s:.80}; an instance has one, so {used!r} is used.",
        "several_labels",
    )
