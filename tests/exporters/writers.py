"""Real exporters write the scene as a COCO file: python writers.py NAME FOLDER.

It runs in the exporters' environment (`make exporters`), which has none of this project's
dependencies. Each function hands the four masks to one tool, as the tool's documentation does.
Tools that take no masks get outlines or boxes. It returns the file that the tool wrote.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from label_studio_writers import label_studio_brush, label_studio_coco
from scene import (
    CATEGORIES,
    CATEGORY,
    FILE,
    HEIGHT,
    HOLE,
    LINE,
    NAMES,
    PARTS,
    PLATE,
    SQUARE,
    WIDTH,
    masks,
    picture,
    ring,
)
from scene_inputs import box_of, save_picture


def supervision(folder: Path) -> Path:
    import supervision as sv

    every = masks()
    found = sv.Detections(
        xyxy=np.array([box_of(mask) for mask in every.values()], np.float32),
        mask=np.stack(list(every.values())),
        class_id=np.array([CATEGORY[name] for name in NAMES]),
    )
    path = str(save_picture(folder))
    data = sv.DetectionDataset(list(CATEGORIES), [path], {path: found})
    data.as_coco(annotations_path=str(folder / "coco.json"))
    return folder / "coco.json"


def _datumaro(folder: Path, mode: str) -> Path:
    from datumaro.components.annotation import Mask
    from datumaro.components.dataset import Dataset
    from datumaro.components.dataset_base import DatasetItem
    from datumaro.components.media import Image as Media

    shapes = [
        Mask(mask, label=CATEGORY[name], id=row + 1, group=row + 1)
        for row, (name, mask) in enumerate(masks().items())
    ]
    item = DatasetItem(
        "scene", media=Media.from_file(str(save_picture(folder))), annotations=shapes
    )
    data = Dataset.from_iterable([item], categories=list(CATEGORIES))
    options = {} if mode == "masks" else {"segmentation_mode": mode}
    data.export(str(folder / "out"), "coco_instances", **options)
    return next((folder / "out/annotations").glob("*.json"))


def datumaro_masks(folder: Path) -> Path:
    return _datumaro(folder, "masks")


def datumaro_polygons(folder: Path) -> Path:
    return _datumaro(folder, "polygons")


def labelme2coco(folder: Path) -> Path:
    import labelme2coco as tool

    drawn = folder / "labelme"
    drawn.mkdir()
    save_picture(drawn)
    x1, y1, x2, y2 = SQUARE
    x, top, _, bottom = LINE
    outlines = [
        ("a", "rectangle", [[x1, y1], [x2, y2]]),
        ("b", "polygon", ring(PLATE)),
        *[("c", "polygon", ring(part)) for part in PARTS],
        ("d", "line", [[x + 0.5, top], [x + 0.5, bottom]]),
    ]
    shapes = [
        {"label": CATEGORIES[CATEGORY[name]], "points": points, "shape_type": kind,
         "group_id": None, "flags": {}}
        for name, kind, points in outlines
    ]  # fmt: skip
    content = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": FILE,
               "imageData": None, "imageHeight": HEIGHT, "imageWidth": WIDTH}  # fmt: skip
    (drawn / "scene.json").write_text(json.dumps(content))
    tool.convert(str(drawn), str(folder / "out"))
    return folder / "out/dataset.json"


def _labelformat(folder: Path, shapes: dict) -> Path:
    from labelformat.formats.coco import COCOInstanceSegmentationOutput
    from labelformat.model.category import Category
    from labelformat.model.image import Image as Picture
    from labelformat.model.instance_segmentation import (
        ImageInstanceSegmentation,
        InstanceSegmentationInput,
        SingleInstanceSegmentation,
    )

    save_picture(folder)
    categories = [Category(row, name) for row, name in enumerate(CATEGORIES)]
    image = Picture(0, FILE, WIDTH, HEIGHT)
    objects = [
        SingleInstanceSegmentation(categories[CATEGORY[name]], shape)
        for name, shape in shapes.items()
    ]

    class Scene(InstanceSegmentationInput):
        @staticmethod
        def add_cli_arguments(parser: object) -> None: ...

        def get_categories(self) -> list:
            return categories

        def get_images(self) -> list:
            return [image]

        def get_labels(self) -> list:
            return [ImageInstanceSegmentation(image, objects)]

    COCOInstanceSegmentationOutput(folder / "coco.json").save(Scene())
    return folder / "coco.json"


def labelformat_masks(folder: Path) -> Path:
    from labelformat.model.binary_mask_segmentation import BinaryMaskSegmentation
    from labelformat.model.bounding_box import BoundingBox

    shapes = {
        name: BinaryMaskSegmentation.from_binary_mask(
            mask.astype(np.int_), BoundingBox(*map(float, box_of(mask)))
        )
        for name, mask in masks().items()
    }
    return _labelformat(folder, shapes)


def labelformat_polygons(folder: Path) -> Path:
    from labelformat.model.multipolygon import MultiPolygon

    outlines = {"a": [SQUARE], "b": [PLATE], "c": list(PARTS), "d": [LINE]}
    shapes = {
        name: MultiPolygon([[tuple(map(float, p)) for p in ring(box)] for box in boxes])
        for name, boxes in outlines.items()
    }
    return _labelformat(folder, shapes)


def sahi(folder: Path) -> Path:
    from sahi.utils.coco import Coco, CocoAnnotation, CocoCategory, CocoImage
    from sahi.utils.cv import get_coco_segmentation_from_bool_mask
    from sahi.utils.file import save_json

    save_picture(folder)
    data = Coco()
    for row, name in enumerate(CATEGORIES):
        data.add_category(CocoCategory(id=row, name=name))
    image = CocoImage(file_name=FILE, height=HEIGHT, width=WIDTH)
    for name, mask in masks().items():
        outline = get_coco_segmentation_from_bool_mask(mask)
        x1, y1, x2, y2 = box_of(mask)
        shape = {"segmentation": outline} if outline else {"bbox": [x1, y1, x2 - x1, y2 - y1]}
        row = CATEGORY[name]
        image.add_annotation(
            CocoAnnotation(category_id=row, category_name=CATEGORIES[row], **shape)
        )
    data.add_image(image)
    save_json(data.json, str(folder / "coco.json"))
    return folder / "coco.json"


def imantics(folder: Path) -> Path:
    from imantics import Annotation, Category, Dataset, Mask
    from imantics import Image as Picture

    image = Picture(image_array=picture(), path=str(save_picture(folder)), id=1)
    categories = [Category(name, id=row + 1) for row, name in enumerate(CATEGORIES)]
    for name, mask in masks().items():
        image.add(Annotation(image, categories[CATEGORY[name]], mask=Mask(mask)))
    data = Dataset("scene", images=[image])
    (folder / "coco.json").write_text(json.dumps(data.coco(), default=lambda value: value.item()))
    return folder / "coco.json"


def globox(folder: Path) -> Path:
    from globox import Annotation, AnnotationSet, BoundingBox

    save_picture(folder)
    boxes = [
        BoundingBox.create(label=CATEGORIES[CATEGORY[name]], coords=tuple(box_of(mask)))
        for name, mask in masks().items()
    ]
    data = AnnotationSet([Annotation(FILE, (WIDTH, HEIGHT), boxes)])
    data.save_coco(folder / "coco.json", auto_ids=True)
    return folder / "coco.json"


def _plain(folder: Path) -> Path:
    """A COCO file as input for tools that read one: polygons, and run lengths for b and c."""
    save_picture(folder)
    annotations = []
    for row, (name, mask) in enumerate(masks().items()):
        x1, y1, x2, y2 = box_of(mask)
        flat = mask.T.ravel()
        edges = np.flatnonzero(np.diff(flat.astype(int), prepend=0))
        counts = np.diff([0, *edges, flat.size]).tolist()
        runs = {"size": [HEIGHT, WIDTH], "counts": counts}
        outline = [[float(side) for point in ring((x1, y1, x2, y2)) for side in point]]
        annotations.append({
            "id": row + 1, "image_id": 1, "category_id": CATEGORY[name] + 1, "iscrowd": 0,
            "bbox": [x1, y1, x2 - x1, y2 - y1], "area": int(mask.sum()),
            "segmentation": runs if name in "bc" else outline,
        })  # fmt: skip
    content = {
        "images": [{"id": 1, "file_name": FILE, "width": WIDTH, "height": HEIGHT}],
        "annotations": annotations,
        "categories": [{"id": row + 1, "name": name} for row, name in enumerate(CATEGORIES)],
    }
    (folder / "plain.json").write_text(json.dumps(content))
    return folder / "plain.json"


def pylabel(folder: Path) -> Path:
    from pylabel import importer

    data = importer.ImportCoco(str(_plain(folder)), path_to_images=str(folder), name="scene")
    data.export.ExportToCoco(str(folder / "coco.json"))
    return folder / "coco.json"


def darwin(folder: Path) -> Path:
    from darwin import datatypes as dt
    from darwin.exporter.formats.coco import export

    path = save_picture(folder)
    outlines = {"a": [SQUARE], "b": [PLATE, HOLE], "c": list(PARTS), "d": [LINE]}
    shapes = [
        dt.make_polygon(
            CATEGORIES[CATEGORY[name]],
            [[{"x": float(x), "y": float(y)} for x, y in ring(box)] for box in boxes],
        )
        for name, boxes in outlines.items()
    ]
    classes = {shape.annotation_class for shape in shapes}
    drawn = dt.AnnotationFile(
        path, FILE, classes, shapes, image_width=WIDTH, image_height=HEIGHT, remote_path="/"
    )
    export([drawn], folder)
    return folder / "output.json"


WRITERS = {
    writer.__name__: writer
    for writer in (
        supervision, datumaro_masks, datumaro_polygons, label_studio_coco, label_studio_brush,
        labelme2coco, labelformat_masks, labelformat_polygons, sahi, imantics, globox, pylabel,
        darwin,
    )
}  # fmt: skip

if __name__ == "__main__":
    out = Path(sys.argv[2])
    out.mkdir(parents=True)
    sys.stdout.write("\n" + str(WRITERS[sys.argv[1]](out)) + "\n")
