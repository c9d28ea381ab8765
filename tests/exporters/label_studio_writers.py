"""Label Studio's own COCO exports of the scene, by the converter of its SDK."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scene import CATEGORIES, CATEGORY, FILE, HEIGHT, LINE, PLATE, SQUARE, WIDTH, masks, ring
from scene_inputs import save_picture

LABELS = "".join(f'<Label value="{name}"/>' for name in CATEGORIES)
BRUSH = f'<BrushLabels name="brush" toName="image">{LABELS}</BrushLabels>'
IMAGE = '<Image name="image" value="$image"/>'
BRUSH_CONFIG = f"<View>{IMAGE}{BRUSH}</View>"
STUDIO_CONFIG = f"""<View>{IMAGE}
<RectangleLabels name="box" toName="image">{LABELS}</RectangleLabels>
<PolygonLabels name="line" toName="image">{LABELS}</PolygonLabels>{BRUSH}</View>"""
PERCENT = np.array([100 / WIDTH, 100 / HEIGHT])


def _region(name: str, control: str, kind: str, value: dict) -> dict:
    return {
        "id": name, "from_name": control, "to_name": "image", "type": kind,
        "original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0,
        "value": {**value, kind: [CATEGORIES[CATEGORY[name]]]},
    }  # fmt: skip


def _rectangle(name: str, box: tuple[int, int, int, int]) -> dict:
    x1, y1, x2, y2 = box
    (x, y), (width, height) = PERCENT * (x1, y1), PERCENT * (x2 - x1, y2 - y1)
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": 0}
    return _region(name, "box", "rectanglelabels", value)


def _polygon(name: str, box: tuple[int, int, int, int]) -> dict:
    points = (np.array(ring(box)) * PERCENT).tolist()
    return _region(name, "line", "polygonlabels", {"points": points, "closed": True})


def _brush(name: str, mask: np.ndarray) -> dict:
    from label_studio_sdk.converter.brush import mask2rle

    value = {"format": "rle", "rle": mask2rle(mask.astype(np.uint8) * 255)}
    return _region(name, "brush", "brushlabels", value)


def _studio(folder: Path, config: str, regions: list[dict], form: str) -> Path:
    """What Label Studio itself calls for an export, on a task of an uploaded picture."""
    from label_studio_sdk.converter import Converter

    upload = folder / "media/upload/1"
    upload.mkdir(parents=True)
    save_picture(upload)
    task = {
        "id": 1,
        "data": {"image": f"/data/upload/1/{FILE}"},
        "annotations": [{"id": 1, "result": regions, "was_cancelled": False}],
    }
    (folder / "tasks.json").write_text(json.dumps([task]))
    converter = Converter(
        config, str(folder), upload_dir=str(folder / "media"), download_resources=False
    )
    converter.convert(str(folder / "tasks.json"), str(folder / "out"), form, is_dir=False)
    return next((folder / "out").glob("*.json"))


def label_studio_coco(folder: Path) -> Path:
    every = masks()
    regions = [
        _rectangle("a", SQUARE), _polygon("b", PLATE), _brush("c", every["c"]), _polygon("d", LINE),
    ]  # fmt: skip
    return _studio(folder, STUDIO_CONFIG, regions, "COCO")


def label_studio_brush(folder: Path) -> Path:
    regions = [_brush(name, mask) for name, mask in masks().items()]
    return _studio(folder, BRUSH_CONFIG, regions, "BRUSH_TO_COCO")
