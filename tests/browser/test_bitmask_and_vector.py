"""Bitmask and vector regions through the real editor, and out again as COCO.

A bitmask that the backend predicted is submitted unchanged and another one is painted; a closed
vector is drawn corner by corner. What is read from the stored regions and what `export --coco`
writes are the same pixels.
"""

import cv2
import numpy as np
import pytest

from backend.label_studio.label_config import parse_label_config
from backend.label_studio.regions import decode_annotation
from backend.label_studio.regions.bitmask import encode_bitmask
from demo.studio import ADMIN
from taudis.data.coco import load_coco
from tests.browser.pages import IMAGE
from tests.studio.loop import Loop

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
SIZE = (120, 160)
CONFIG = """<View><Image name="image" value="$image"/>
<{tag} name="tag" toName="image"{more}><Label value="leaf"/><Label value="stem"/></{tag}></View>"""


def make(studio, pages, folder, title, config):
    """A project with one grey picture, opened for labelling; the project and its pages."""
    project = studio.create_project(title, config)
    cv2.imwrite(str(folder / "grey.png"), np.full((*SIZE, 3), 200, np.uint8))
    studio.upload(project, [folder / "grey.png"])
    return project, pages(project)


def exported(studio, folder, project):
    """What `export --coco` writes of a project: names of the labels, and the masks with them."""
    loop = Loop(studio, folder / "data", LABEL_STUDIO_API_KEY=ADMIN.token)
    try:
        loop.cli("export", "--project", str(project), "--coco", str(folder / "coco"))
    finally:
        loop.close()
    label_map, samples = load_coco(folder / "coco/instances.json", folder / "coco/images")
    target = samples.target(0)
    return [label_map.name(int(label)) for label in target.labels], target.masks


def odd_mask():
    """Two parts, one of them with a hole, and a part of one pixel at the edge of the picture."""
    mask = np.zeros(SIZE, np.uint8)
    cv2.circle(mask, (40, 50), 25, 1, -1)
    cv2.circle(mask, (40, 50), 10, 0, -1)
    cv2.rectangle(mask, (100, 80), (130, 110), 1, -1)
    mask[0, -1] = 1
    return mask > 0


# long: one region through editor and export, step by step
def test_bitmasks_predicted_and_painted_are_the_pixels_of_the_export(studio, pages, tmp_path):
    source = CONFIG.format(tag="BitmaskLabels", more="")
    config, mask = parse_label_config(source), odd_mask()
    project, pages = make(studio, pages, tmp_path, "Bitmask", source)
    task = studio.api("GET", "/api/tasks", params={"project": project})["tasks"][0]["id"]
    region = {
        "id": "predicted0", "type": "bitmasklabels", "from_name": "tag", "to_name": "image",
        "original_height": SIZE[0], "original_width": SIZE[1], "image_rotation": 0, "score": 0.9,
        "value": {"bitmasklabels": ["leaf"], "imageDataURL": encode_bitmask(mask)},
    }  # fmt: skip
    body = [{"task": task, "result": [region], "score": 0.5, "model_version": "taudis-bits"}]
    studio.api("POST", f"/api/projects/{project}/import/predictions", json=body)
    fields = {"model_version": "taudis-bits", "show_collab_predictions": True}
    studio.api("PATCH", f"/api/projects/{project}/", json=fields)

    pages.log_in(ADMIN)
    pages.label_all_tasks()
    page = pages.page
    page.locator(".lsf-label", has_text="stem").first.click()
    box = page.locator(IMAGE).bounding_box()
    start, end = (20, 100), (70, 105)
    scale = box["width"] / SIZE[1], box["height"] / SIZE[0]
    page.mouse.move(box["x"] + start[0] * scale[0], box["y"] + start[1] * scale[1])
    page.mouse.down()
    page.mouse.move(box["x"] + end[0] * scale[0], box["y"] + end[1] * scale[1], steps=8)
    page.mouse.up()
    page.wait_for_function("() => Htx.annotationStore.selected.regions.length === 2")
    pages.keep("15-bitmask")
    annotation = pages.submit_last()
    stored = studio.api("GET", f"/api/annotations/{annotation['id']}/")["result"]

    found = decode_annotation(stored, config, size=SIZE)
    assert found.problems == () and found.target is not None
    by_label = dict(zip(found.target.labels.tolist(), found.target.masks, strict=True))
    assert (by_label[1] == mask).all()
    assert by_label[2][102, 45] and not by_label[2][:80].any()
    print(f"painted: {int(by_label[2].sum())} px; predicted: {int(mask.sum())} px")

    names, masks = exported(studio, tmp_path, project)
    assert sorted(names) == ["leaf", "stem"]
    for name, out in zip(names, masks, strict=True):
        assert (out == by_label[config.label_map.names.index(name) + 1]).all()
    assert pages.faults == []


def test_a_closed_vector_drawn_in_the_editor_is_its_polygon(studio, pages, tmp_path):
    source = CONFIG.format(tag="VectorLabels", more=' closable="true"')
    config = parse_label_config(source)
    project, pages = make(studio, pages, tmp_path, "Vector", source)
    pages.log_in(ADMIN)
    pages.label_all_tasks()
    page = pages.page
    page.locator(".lsf-label", has_text="leaf").first.click()
    box = page.locator(IMAGE).bounding_box()
    scale = box["width"] / SIZE[1], box["height"] / SIZE[0]
    corners = [(30, 20), (130, 30), (110, 100), (70, 60), (40, 95)]
    for x, y in [*corners, corners[0]]:  # the last press, on the first corner, closes it
        page.mouse.move(box["x"] + x * scale[0], box["y"] + y * scale[1], steps=8)
        page.wait_for_timeout(400)  # the editor has to see the mouse there before it is pressed
        page.mouse.down()
        page.wait_for_timeout(120)  # a press without duration adds a corner, but closes nothing
        page.mouse.up()
        page.wait_for_timeout(400)
    page.wait_for_function("() => Htx.annotationStore.selected.regions[0]?.closed === true")
    pages.keep("16-vector")
    annotation = pages.submit_last()
    stored = studio.api("GET", f"/api/annotations/{annotation['id']}/")["result"]

    found = decode_annotation(stored, config, size=SIZE)
    assert found.problems == () and found.target is not None
    drawn = np.zeros(SIZE, np.uint8)
    cv2.fillPoly(drawn, [np.array(corners, np.int32)], 1)
    mask = found.target.masks[0]
    edge = cv2.morphologyEx(drawn, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    assert not ((mask != (drawn > 0)) & ~edge).any()
    names, masks = exported(studio, tmp_path, project)
    assert names == ["leaf"] and (masks[0] == mask).all()
    assert pages.faults == []
