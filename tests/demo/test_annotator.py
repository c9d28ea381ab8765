"""What a simulated annotator draws, without a server."""

from dataclasses import replace

import numpy as np
import pytest

from backend.label_studio.label_config import parse_label_config
from backend.label_studio.regions.decode import decode_annotation
from demo.annotator import Annotator, Truth
from demo.errors import DemoError
from demo.pictures import KINDS, generate
from demo.pre_annotations import PreAnnotation
from taudis.data.coco import load_coco
from taudis.data.coco.masks import box_polygon


def config_of(tag):
    labels = "".join(f'<Label value="{kind.name}"/>' for kind in KINDS)
    return (
        f'<View><Image name="image" value="$image"/><{tag} name="t" toName="image">{labels}</{tag}>'
        "</View>"
    )


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    return load_coco(generate(folder, 12, seed=2), folder / "images")


@pytest.mark.parametrize("tag", ["BrushLabels", "PolygonLabels", "RectangleLabels"])
def test_truth_drawn_and_read_back_is_the_truth(samples, tag):
    label_map, pictures = samples
    config = parse_label_config(config_of(tag))
    truth = Truth(pictures, label_map, config)
    for row, name in enumerate(pictures.file_names):
        regions = truth.regions({"image": f"/data/upload/7/0123abcd-{name}"})
        assert regions == truth.regions({"image": f"https://bucket/{name}"})
        target = pictures.target(row)
        read = decode_annotation(regions, config, size=(192, 192))
        assert not read.problems
        assert sorted(read.target.labels.tolist()) == sorted(target.labels.tolist())
        if tag == "BrushLabels":
            assert (read.target.masks == target.masks).all()
        elif tag == "PolygonLabels":
            overlap = (read.target.masks & target.masks).sum((1, 2))
            assert (overlap / (read.target.masks | target.masks).sum((1, 2)) > 0.97).all()
        else:
            assert np.allclose(read.target.boxes, target.boxes)
    with pytest.raises(DemoError, match="No truth"):
        truth.regions({"image": "/data/upload/7/unknown.jpg"})


@pytest.mark.parametrize("tag", ["BrushLabels", "PolygonLabels", "RectangleLabels"])
def test_the_truth_as_pre_annotation_matches_every_object(samples, tag):
    label_map, pictures = samples
    truth = Truth(pictures, label_map, parse_label_config(config_of(tag)))
    for row, name in enumerate(pictures.file_names):
        data, objects = {"image": f"/data/upload/7/0123abcd-{name}"}, len(pictures.target(row))
        prediction = {"model_version": "v1", "result": truth.regions(data)}
        older = {"model_version": "v0", "result": []}
        task = {"id": row, "data": data, "predictions": [prediction, older]}
        every = PreAnnotation(row, "v1", objects, 0, objects, objects)
        assert truth.compare(task, "v1") == every
        assert truth.compare({"id": row, "data": data}, "v2") == PreAnnotation(
            row, "v2", 0, 0, 0, objects
        )


def test_a_region_of_any_label_takes_regions_of_every_label(samples):
    label_map, pictures = samples
    box = [0, 0, 192, 192]
    ignored = {"category_id": None, "iscrowd": 1, "segmentation": box_polygon(box), "bbox": box}
    alone = replace(pictures, annotations=((ignored,),) * len(pictures))
    config = parse_label_config(config_of("RectangleLabels"))
    data = {"image": f"/data/upload/7/0123abcd-{pictures.file_names[0]}"}
    regions = Truth(pictures, label_map, config).regions(data)
    task = {"id": 1, "data": data, "predictions": [{"model_version": "v1", "result": regions}]}
    found = Truth(alone, label_map, config).compare(task, "v1")
    assert found == PreAnnotation(1, "v1", 0, len(regions), 0, 0)


def test_skips_follow_from_seed_name_and_task():
    def skipped(name, seed, part=0.2):
        person = Annotator("http://localhost:1", "x" * 40, 1, None, name, skip_part=part, seed=seed)
        return [person._skips(task) for task in range(400)]

    assert skipped("ann", 1) == skipped("ann", 1)
    assert skipped("ann", 1) != skipped("ben", 1)
    assert skipped("ann", 1) != skipped("ann", 2)
    assert 0.1 < np.mean(skipped("ann", 1)) < 0.3
    assert not any(skipped("ann", 1, part=0.0))
