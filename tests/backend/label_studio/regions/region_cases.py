"""Regions as Label Studio and other tools write them, one field each: data for tests and docs.

Every region is the same square of the same picture in its own format, so that the right mask is
known without any code of ours: rows 15..44 and columns 20..59 of 60 x 80 px.
"""

# ruff: noqa: E501  one case a line, as in the table that is made of them

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from tests.backend.label_studio.config_cases import IMAGE, choices, tag, view
from tests.backend.sdk import sdk_brush

mask2rle = sdk_brush().mask2rle
HEIGHT, WIDTH = 60, 80
SQUARE = np.zeros((HEIGHT, WIDTH), bool)
SQUARE[15:45, 20:60] = True
AB = '<Label value="A"/><Label value="B" alias="b"/>'
XML = view(
    IMAGE,
    '<Text name="txt" value="$text"/>',
    tag("BrushLabels", AB, called="brush"),
    tag("BitmaskLabels", AB, called="bitmask"),
    tag("PolygonLabels", AB, called="polygon"),
    tag("EllipseLabels", AB, called="ellipse"),
    tag("RectangleLabels", AB, called="rectangle"),
    tag("VectorLabels", AB, 'closable="true"', called="vector"),
    '<MagicWand name="wand" toName="img"/><Rectangle name="frame" toName="img"/>',
    tag("Labels", AB, called="labels"),
)

BY_CHOICE = view(
    IMAGE,
    *(
        f'<{tool} name="{tool.lower()}" toName="img"/>'
        for tool in ("Brush", "Rectangle", "KeyPoint")
    ),
    choices(inner='<Choice value="A"/><Choice value="B" alias="b"/>'),
)
"""Tools without labels; the class of a region is its choice."""
GENERIC = view(
    IMAGE,
    tag("BrushLabels", '<Label value="Object"/>', called="brush"),
    '<Rectangle name="frame" toName="img"/>',
    choices('taudis="class"', '<Choice value="A"/><Choice value="B" alias="b"/>'),
)
"""Label tags of one label; the class of a region is its choice."""

Result = dict[str, Any]


def png(mask: Any, mode: str = "RGBA") -> str:
    """A mask as Label Studio's editor keeps it: black on nothing."""
    grey = np.zeros((*mask.shape, 4), np.uint8)
    grey[..., 3] = np.where(mask, 255, 0)
    file = io.BytesIO()
    Image.fromarray(grey, "RGBA").convert(mode).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def rle(mask: Any) -> list[int]:
    """A mask as the SDK packs it."""
    return [int(byte) for byte in mask2rle(mask.astype(np.uint8) * 255)]


def corners(*points: tuple[float, float], **more: Any) -> list[Result]:
    """Vertices of a vector, each after the one before, the first after the last."""
    count = len(points)
    return [
        {"id": f"v{i}", "x": x, "y": y, "prevPointId": f"v{(i - 1) % count}", "isBezier": False}
        | more
        for i, (x, y) in enumerate(points)
    ]


RING = [(25.0, 25.0), (75.0, 25.0), (75.0, 75.0), (25.0, 75.0)]
BRUSH = {"format": "rle", "rle": rle(SQUARE)}
BITMASK = {"imageDataURL": png(SQUARE)}
POLYGON = {"points": [list(point) for point in RING], "closed": True}
RECTANGLE = {"x": 25, "y": 25, "width": 50, "height": 50, "rotation": 0}
VECTOR = {"vertices": corners(*RING), "closed": True}
VALUES: dict[str, Result] = {
    "brush": BRUSH, "bitmask": BITMASK, "polygon": POLYGON, "rectangle": RECTANGLE,
    "vector": VECTOR,
}  # fmt: skip


def row(kind: str, value: Result | None = None, label: Any = "A", /, **changes: Any) -> Result:
    """A result as the editor writes it; a change to ... takes the key away."""
    key = f"{kind}labels"
    value = VALUES[kind] if value is None else value
    made = {
        "id": "r1", "type": key, "from_name": kind, "to_name": "img", "origin": "manual",
        "original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0,
        "value": value | ({} if label is None else {key: [label]}),
    } | changes  # fmt: skip
    return {key: value for key, value in made.items() if value is not ...}


@dataclass(frozen=True)
class RegionCase:
    """One region and what becomes of it. `same`: whether its pixels are SQUARE."""

    type: str
    field: str
    rows: tuple[Result, ...]
    becomes: str = "read"  # read, ignored, used, painted_out or dropped
    kind: str = ""  # of the problem
    label: int = 1
    same: bool = True
    xml: str = XML


def _each(field: str, **changes: Any) -> list[RegionCase]:
    """A field of every result, which changes nothing."""
    return [RegionCase(kind, field, (row(kind, **changes),)) for kind in VALUES]


def _case(kind: str, field: str, value: Result | None = None, /, **more: Any) -> RegionCase:
    keys = ("becomes", "kind", "label", "same")
    expected = {key: more.pop(key) for key in keys if key in more}
    return RegionCase(kind, field, (row(kind, value, **more),), **expected)


def _lost(kind: str, field: str, value: Result | None = None, /, **more: Any) -> RegionCase:
    expected = {"becomes": "dropped", "kind": "unreadable_shape"} | more
    return _case(kind, field, value, **expected)


def _unlabelled(kind: str, field: str, why: str, /, **more: Any) -> RegionCase:
    return _case(kind, field, more.pop("value", None), becomes="painted_out", kind=why, **more)


COMMON = [
    *_each("type in other letters (BrushLabels)", type="BrushLabels "),
    *_each("type missing", type=...),
    *_each("to_name missing", to_name=...),
    *_each("id missing", id=...),
    *_each("original_width, original_height missing", original_width=..., original_height=...),
    *_each("original_width as 80.0", original_width=80.0, original_height=60.0),
    *_each("original_width as text", original_width="80", original_height="60"),
    *_each("original_width of another scale", original_width=160, original_height=120),
    *_each("original_width that is none (0, null, -1)", original_width=0, original_height=None),
    *_each("image_rotation (the view was turned; places are not)", image_rotation=90),
    *_each("hidden, locked, readonly, score, parentID, origin, meta", hidden=True, locked=True,
           readonly=True, score=0.3, parentID="r0", origin="prediction", meta={"text": ["x"]}),
    *_each("item_index 0", item_index=0),
    _lost("rectangle", "item_index above 0 (another page)", kind="other_image", item_index=1),
    _lost("rectangle", "original_width of another aspect", kind="other_image", original_width=200),
    _unlabelled("rectangle", "to_name of no tag", "unknown_tag", to_name="gone"),
    _lost("rectangle", "to_name of another object", kind="unknown_tag", to_name="txt"),
    _unlabelled("rectangle", "from_name of no tag", "unknown_tag", from_name="gone"),
    _unlabelled("rectangle", "from_name and type missing", "no_label", from_name=..., type=...),
    _unlabelled("rectangle", "from_name of a tag of another kind", "unknown_tag", from_name="brush"),
    RegionCase("any", "a label by its alias", (row("rectangle", RECTANGLE, "b"),), label=2),
    RegionCase("any", "a label by its value beside an alias", (row("rectangle", None, "B"),), label=2),
    RegionCase("any", "an unknown label", (row("rectangle", RECTANGLE, "fox"),), "painted_out",
               "unknown_label"),
    RegionCase("any", "a label with a blank that the config does not have",
               (row("rectangle", None, "A "),), "painted_out", "unknown_label"),
    RegionCase("any", "no label", (row("rectangle", RECTANGLE, None),), "painted_out", "no_label"),
    RegionCase("any", "several labels", (row("rectangle", RECTANGLE | {"rectanglelabels": ["A", "b"]},
               None),), "used", "several_labels"),
    _lost("rectangle", "value missing", value=...),
]  # fmt: skip

SHAPES = [
    RegionCase("brush", "value.format missing", (row("brush", {"rle": BRUSH["rle"]}),)),
    RegionCase("brush", "value.rle in another scale of the picture",
               (row("brush", {"rle": rle(SQUARE.repeat(2, 0).repeat(2, 1))}, original_width=160,
                    original_height=120),)),
    RegionCase("brush", "value.rle of the picture's size, original_width of another scale",
               (row("brush", original_width=160, original_height=120),)),
    _lost("brush", "value.rle of another image", {"rle": rle(SQUARE[:50])}, kind="other_image"),
    _lost("brush", "value.rle as text", {"rle": "AAEC"}),
    _lost("brush", "value.rle cut short", {"rle": BRUSH["rle"][:-9]}),
    _lost("brush", "value.touches or value.maskDataURL alone (drafts)", {"touches": [{"points": []}]}),
    RegionCase("brush", "value.rle without a pixel", (row("brush", {"rle": rle(SQUARE & False)}),),
               "painted_out", "no_pixel", same=False),
    RegionCase("bitmask", "value.imageDataURL: painted where alpha is above 0", (row("bitmask"),)),
    RegionCase("bitmask", "value.imageDataURL with grey and alpha, in another scale",
               (row("bitmask", {"imageDataURL": png(SQUARE.repeat(2, 0).repeat(2, 1), "LA")}),)),
    RegionCase("bitmask", "value.imageDataURL without alpha: all of the image",
               (row("bitmask", {"imageDataURL": png(SQUARE, "L")}),), same=False),
    _lost("bitmask", "value.imageDataURL of another image", {"imageDataURL": png(SQUARE[:, :60])},
          kind="other_image"),
    _lost("bitmask", "value.imageDataURL as an address", {"imageDataURL": "https://example.org/a.png"}),
    _lost("bitmask", "value.imageDataURL cut short", {"imageDataURL": BITMASK["imageDataURL"][:90]}),
    RegionCase("polygon", "value.points: filled where the winding number is not 0", (row("polygon"),)),
    RegionCase("polygon", "value.closed missing", (row("polygon", {"points": POLYGON["points"]}),)),
    RegionCase("polygon", "value.closed false", (row("polygon", POLYGON | {"closed": False}),), "used",
               "open_outline"),
    RegionCase("polygon", "value.points as text or {x, y}",
               (row("polygon", {"points": [{"x": str(x), "y": y} for x, y in RING]}),)),
    RegionCase("polygon", "value.points beyond the image: cut off",
               (row("polygon", {"points": [[-50, -50], [150, -50], [150, 150], [-50, 150]]}),), same=False),
    RegionCase("polygon", "value.points of two corners", (row("polygon", {"points": [[1, 1], [9, 9]]}),),
               "painted_out", "no_pixel", same=False),
    _lost("polygon", "value.points with NaN, null or words", {"points": [[1, 2], [3, None], ["x", 4]]}),
    RegionCase("ellipse", "value.x, y, radiusX, radiusY, rotation",
               (row("ellipse", {"x": 50, "y": 50, "radiusX": 25, "radiusY": 25, "rotation": 0}),),
               same=False),
    RegionCase("ellipse", "value.rotation missing",
               (row("ellipse", {"x": 50, "y": 50, "radiusX": 25, "radiusY": 25}),), same=False),
    _lost("ellipse", "value.radiusX below 0", {"x": 50, "y": 50, "radiusX": -2, "radiusY": 9}),
    RegionCase("rectangle", "value.x, y, width, height", (row("rectangle"),)),
    RegionCase("rectangle", "value.rotation about the corner, clockwise",
               (row("rectangle", {"x": 75, "y": 25, "width": 37.5, "height": 200 / 3, "rotation": 90}),)),
    RegionCase("rectangle", "numbers as text", (row("rectangle", {k: str(v) for k, v in RECTANGLE.items()}),)),
    RegionCase("rectangle", "value.width below 0: to the other side",
               (row("rectangle", RECTANGLE | {"x": 75, "width": -50}),)),
    RegionCase("rectangle", "value.x beyond the image", (row("rectangle", RECTANGLE | {"x": 130}),),
               "painted_out", "no_pixel", same=False),
    _lost("rectangle", "value.x missing", {"y": 1, "width": 1, "height": 1}),
    RegionCase("vector", "value.vertices in the order of prevPointId",
               (row("vector", {"vertices": [corners(*RING)[i] for i in (0, 2, 1, 3)], "closed": True}),)),
    RegionCase("vector", "value.vertices without prevPointId: as listed",
               (row("vector", {"vertices": corners(*RING, prevPointId=None), "closed": True}),)),
    RegionCase("vector", "value.vertices with isBezier: along the curve",
               (row("vector", {"vertices": [
                   vertex | {"isBezier": True, "controlPoint1": {"x": vertex["x"], "y": vertex["y"]},
                             "controlPoint2": {"x": vertex["x"], "y": vertex["y"]}}
                   for vertex in corners(*RING)], "closed": True}),)),
    _lost("vector", "value.closed false: a line has no area", VECTOR | {"closed": False}),
    _lost("vector", "value.vertices that branch",
          {"vertices": [v | {"prevPointId": "v0"} for v in corners(*RING)], "closed": True}),
]  # fmt: skip


def beside(tool: str, value: Result, label: str | None = "A") -> tuple[Result, ...]:
    """What the editor writes for a tool beside `Labels`: two results of one id."""
    name = {"magicwand": "wand", "rectangle": "frame"}[tool]
    drawn = row("rectangle", value, None, type=tool, from_name=name)
    labelled = row("rectangle", value, None, type="labels", from_name="labels")
    return (drawn, labelled | {"value": value | {"labels": [label]}}) if label else (drawn,)


TOOLS = [
    RegionCase("magicwand beside Labels", "two results of one id", beside("magicwand", BRUSH)),
    RegionCase("rectangle beside Labels", "two results of one id", beside("rectangle", RECTANGLE)),
    RegionCase("rectangle beside Labels", "one result: type rectanglelabels of the Labels tag",
               (row("rectangle", from_name="labels"),)),
    RegionCase("magicwand beside Labels", "without its label", beside("magicwand", BRUSH, None),
               "painted_out", "no_label"),
    RegionCase("magicwand beside BrushLabels", "two results of one id",
               (row("brush", None, None, type="magicwand", from_name="wand"), row("brush"))),
    RegionCase("textarea, choices (perRegion)", "beside their region",
               (row("rectangle"), row("rectangle", RECTANGLE | {"text": ["x"]}, None, type="textarea",
                                      from_name="note"))),
    RegionCase("textarea, choices (perRegion)", "whose region has no result",
               (row("rectangle", RECTANGLE | {"choices": ["x"]}, None, type="choices", from_name="c"),),
               "painted_out", "no_label"),
    RegionCase("any other", "with a shape (ocrlabels, ...)",
               (row("rectangle", RECTANGLE | {"ocrlabels": ["x"]}, None, type="ocrlabels", from_name="o"),),
               "painted_out", "no_label"),
]  # fmt: skip


def chosen(kind: str, *names: Any, drawn: str = "", **more: Any) -> tuple[Result, ...]:
    """What the editor writes for a region with a choice: two results of one id with the shape."""
    shape = VALUES[kind]
    first = row(kind, shape, None, type=drawn or kind)
    if drawn:
        first["value"] = shape | {drawn: ["Object"]}
    value = more.pop("value", shape | {"choices": [*names]})
    second = row(kind, value, None, **{"type": "choices", "from_name": "kind"} | more)
    return (first, second) if names else (first,)


def _choice(of: str, field: str, *rows: Result, xml: str = BY_CHOICE, **more: Any) -> RegionCase:
    return RegionCase(f"{of} and choices", field, rows, xml=xml, **more)


NO_SHAPE: Result = {"choices": ["b"]}
GENERIC_BRUSH = chosen("brush", "b", drawn="brushlabels")
BY_CHOICES = [
    _choice("brush", "two results of one id, the class by its alias", *chosen("brush", "b"), label=2),
    _choice("rectangle", "two results of one id, the class by its value", *chosen("rectangle", "B"), label=2),
    _choice("brush", "choices without a shape, as in a prediction",
            *chosen("brush", "b", value=NO_SHAPE), label=2),
    _choice("brush", "choices first", *chosen("brush", "b", value=NO_SHAPE)[::-1], label=2),
    _choice("brush", "without a choice", *chosen("brush"), becomes="painted_out", kind="no_label"),
    _choice("brush", "a choice that the config does not have", *chosen("brush", "fox"),
            becomes="painted_out", kind="unknown_label"),
    _choice("brush", "several choices", *chosen("brush", "b", "A"), becomes="used",
            kind="several_labels", label=2),
    _choice("brush", "nested choices", *chosen("brush", ["A", "b"]), becomes="painted_out",
            kind="unknown_label"),
    _choice("brush", "choices of another tag", *chosen("brush", "A", from_name="shade"),
            becomes="painted_out", kind="no_label"),
    _choice("brushlabels", "a generic label and a choice", *GENERIC_BRUSH, xml=GENERIC, label=2),
    _choice("brushlabels", "a generic label without a choice", GENERIC_BRUSH[0], xml=GENERIC,
            becomes="painted_out", kind="no_label"),
    _choice("rectangle", "a bare tool beside label tags, with a choice", *chosen("rectangle", "A"),
            xml=GENERIC),
]  # fmt: skip
_NOTHING = {"same": False, "becomes": "ignored"}
IGNORED = [
    RegionCase("choices, textarea, rating, number", "of the whole task",
               ({"type": "choices", "from_name": "c", "to_name": "img", "value": {"choices": ["x"]}},),
               **_NOTHING),
    RegionCase("relation", "from_id, to_id", ({"type": "relation", "from_id": "a", "to_id": "b"},),
               **_NOTHING),
    RegionCase("keypoint, keypointlabels", "x, y, width: a point has no area",
               (row("rectangle", {"x": 5, "y": 5, "width": 1, "keypointlabels": ["A"]}, None,
                    type="keypointlabels", from_name="kp"),), **_NOTHING),
    RegionCase("vectorlabels", "of a tag without closable: a line has no area",
               (row("vector", VECTOR | {"closed": False}, from_name="lines"),), **_NOTHING),
    RegionCase("labels, hypertextlabels, timeserieslabels, ...", "of another object (to_name)",
               ({"type": "labels", "from_name": "ner", "to_name": "txt",
                 "value": {"start": 1, "end": 2, "text": "x", "labels": ["A"]}},), **_NOTHING),
]  # fmt: skip

IGNORED += [
    _choice("rectangle", "a bare tool beside label tags, without a choice",
            *chosen("rectangle"), xml=GENERIC, **_NOTHING),
    _choice("keypoint", "a point has no area",
            row("rectangle", {"x": 5, "y": 5, "width": 1}, None, type="keypoint", from_name="keypoint"),
            row("rectangle", {"x": 5, "y": 5, "width": 1, "choices": ["A"]}, None, type="choices",
                from_name="kind"), **_NOTHING),
    _choice("no shape", "choices of the whole task",
            {"id": "r1", "type": "choices", "from_name": "kind", "to_name": "img", "value": NO_SHAPE},
            **_NOTHING),
]  # fmt: skip

CASES = [*SHAPES, *TOOLS, *BY_CHOICES, *COMMON, *IGNORED]
