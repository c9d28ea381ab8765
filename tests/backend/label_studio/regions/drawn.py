"""Regions as Label Studio writes them when a person draws, for the tests of reading and writing."""

import numpy as np

from backend.label_studio.label_config import parse_label_config
from backend.label_studio.regions.brush import encode_rle

XML = """<View><Image name="img" value="$image"/>
<BrushLabels name="brush" toName="img"><Label value="cat"/><Label value="dog"/></BrushLabels>
<PolygonLabels name="poly" toName="img"><Label value="tree"/><Label value="cat"/></PolygonLabels>
<RectangleLabels name="box" toName="img"><Label value="car"/></RectangleLabels></View>"""
CONFIG = parse_label_config(XML)
SIZE = (60, 80)


def only(tag, *labels):
    inside = "".join(f'<Label value="{label}"/>' for label in labels)
    control = f'<{tag} name="t" toName="img">{inside}</{tag}>'
    return parse_label_config(f'<View><Image name="img" value="$image"/>{control}</View>')


def region(kind, name, value, labels, size=SIZE, **extra):
    key = f"{kind}labels"
    return {
        "id": f"{kind}-{labels}",
        "from_name": name,
        "to_name": "img",
        "type": key,
        "original_height": size[0],
        "original_width": size[1],
        "image_rotation": 0,
        "value": {**value, key: labels},
    } | extra


def brush(mask, label="cat", **extra):
    value = {"format": "rle", "rle": encode_rle(mask)}
    return region("brush", "brush", value, [label], size=mask.shape, **extra)


def square(top=10, left=20, side=15, size=SIZE):
    mask = np.zeros(size, bool)
    mask[top : top + side, left : left + side] = True
    return mask


BOX = {"x": 25, "y": 50, "width": 25, "height": 25, "rotation": 0}
TRIANGLE = {"points": [[0, 0], [50, 0], [0, 50]], "closed": True}


TOOLS = parse_label_config(
    """<View><Image name="img" value="$image"/>
<MagicWand name="wand" toName="img"/><Brush name="brush" toName="img"/>
<Polygon name="poly" toName="img"/><Rectangle name="box" toName="img"/>
<Ellipse name="ell" toName="img"/>
<Labels name="labels" toName="img"><Label value="cat"/><Label value="dog"/></Labels></View>"""
)
OVAL = {"x": 50, "y": 50, "radiusX": 20, "radiusY": 20, "rotation": 0}


def drawn_with(tool, name, value, labels, id_="r1"):
    """What the editor writes for a tool beside Labels: a result of each, both with the shape."""
    common = {
        "id": id_, "to_name": "img", "original_height": SIZE[0], "original_width": SIZE[1],
        "image_rotation": 0, "origin": "manual",
    }  # fmt: skip
    first = common | {"from_name": name, "type": tool, "value": value}
    second = {"from_name": "labels", "type": "labels", "value": value | {"labels": labels}}
    return [first, common | second] if labels else [first]
