"""A pre-annotated mask is corrected in the real editor: erased in part, enlarged, relabelled.

The backend then reads the same pixels that the editor shows, and only the strokes changed them.
"""

import re
from functools import reduce

import cv2
import numpy as np
import pytest
from playwright.sync_api import expect

from backend.label_studio.label_config import parse_label_config
from backend.label_studio.new_project import label_config
from backend.label_studio.regions import decode_annotation, encode_prediction
from demo.dataset import load_dataset
from demo.options import Options
from demo.studio import ADMIN
from taudis.types import Detection, Instances
from tests.browser.pages import REGION

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
REACH = 5  # px of the image around a stroke's line that it may change; strokes are 3 and 4 px wide

CANVAS = """id => {
    const image = Htx.annotationStore.selected.objects[0], size = image.currentImageEntity;
    const layer = image.stageRef.findOne('#' + id), outline = layer.findOne('.highlight');
    outline.hide();
    const canvas = layer.toCanvas({
        x: 0, y: 0, width: size.stageWidth, height: size.stageHeight,
        pixelRatio: size.naturalWidth / size.stageWidth,
    });
    outline.show();
    const pixels = canvas.getContext('2d').getImageData(
        0, 0, size.naturalWidth, size.naturalHeight);
    return Array.from(pixels.data).filter((_, i) => i % 4 === 3);
}"""
"""The alpha of each pixel of the canvas on which the editor draws a region, row by row."""


def detected(target, size, labels):
    """A detection that equals the truth: 28 x 28 probabilities, scores by row."""
    probs = []
    for mask, box in zip(target.masks, target.boxes.astype(int), strict=True):
        x1, y1, x2, y2 = box
        crop = mask[y1:y2, x1:x2].astype(np.float32)
        probs.append(cv2.resize(crop, (28, 28), interpolation=cv2.INTER_AREA) * 0.9)
    n = len(target)
    instances = Instances(
        np.zeros(n, np.int64),
        target.boxes,
        np.linspace(0.9, 0.6, n, dtype=np.float32),
        target.labels,
        np.full((n, labels + 1), 1 / (labels + 1), np.float32),
        np.zeros((n, 1), np.float32),
        np.array(probs, np.float32),
    )
    return Detection(instances, np.zeros(1, np.float32), size)


def pre_annotated(studio, dataset):
    """A project with one picture; its prediction is posted and served as the backend does."""
    source = label_config(dataset.label_map, "brush")
    config, project = parse_label_config(source), studio.create_project("Edit", source)
    row = max(dataset.pool, key=lambda row: np.asarray(dataset.samples.target(row).masks).sum())
    studio.upload(project, [dataset.folder / dataset.samples.file_names[row]])
    task = studio.api("GET", "/api/tasks", params={"project": project})["tasks"][0]["id"]
    found = detected(
        dataset.samples.target(row), dataset.samples.sizes[row], len(dataset.label_map)
    )
    result = encode_prediction(found, config, threshold=0.5)
    body = [{"task": task, "result": result, "score": 0.5, "model_version": "taudis-edit"}]
    studio.api("POST", f"/api/projects/{project}/import/predictions", json=body)
    fields = {"model_version": "taudis-edit", "show_collab_predictions": True}
    studio.api("PATCH", f"/api/projects/{project}/", json=fields)
    return project, config, result


def strokes_for(mask):
    """The strokes: erase through the middle, add beyond the side with more room."""
    ys, xs = np.nonzero(mask)
    y, left, right = int(np.median(ys)), int(xs.min()), int(xs.max())
    erase = ((left, y), ((left + right) // 2, y))
    outward = 1 if left < mask.shape[1] - right else -1
    side, low = (right if outward > 0 else left), min(y + 8, int(ys.max()))
    return erase, ((side - 3 * outward, low), (side + 14 * outward, low))


def near(stroke, size):
    """The pixels that a stroke may change."""
    canvas = np.zeros(size, np.uint8)
    cv2.line(canvas, *stroke, 1, 2 * REACH + 1)
    return canvas > 0


def mask_on_page(pages, size):
    """The mask of all regions as the page draws it, sampled at pixel centres.

    The page enlarges the picture and smooths the masks: at edges a pixel may differ.
    """
    pages.page.keyboard.press("Escape")  # a selected region has an outline
    with_regions = pages.picture(*size)
    pages.toggle_regions()
    bare = pages.picture(*size)
    pages.toggle_regions()
    return (with_regions != bare).any(axis=2)


# long: one visit to the editor; each check needs the page as the steps before left it
def test_a_mask_erased_enlarged_and_relabelled_is_read_back_as_the_editor_shows_it(
    studio, pages, tmp_path
):
    dataset = load_dataset(Options(False, tmp_path, None, None, pool_size=8, held_out_size=0))
    project, config, predicted = pre_annotated(studio, dataset)
    before = decode_annotation(predicted, config).target
    size = before.masks.shape[1:]
    other = int(before.labels[0]) % len(config.label_map) + 1
    name = config.label_map.name(other)
    erase, add = strokes_for(before.masks[0])
    pages = pages(project)
    pages.log_in(ADMIN)
    pages.label_all_tasks()

    # Regions come with score and label.
    listed = pages.page.locator(REGION).all_inner_texts()
    labels = [region["value"]["brushlabels"][0] for region in predicted]
    for text, label, region in zip(listed, labels, predicted, strict=False):
        assert label in text and f"{region['score']:.2f}" in text
    assert len(listed) > 0

    # Correct the first one.
    pages.page.locator(REGION).first.click()
    pages.use_tool("eraser", size, *erase)
    pages.use_tool("brush-tool", size, *add)
    pages.page.locator(".lsf-label", has_text=re.compile(f"^{name}")).first.click()
    expect(pages.page.locator(REGION).first).to_contain_text(name)
    ids = pages.regions()
    assert ids == [region["id"] for region in predicted]
    pages.keep("12-edited")
    drawn = [
        np.array(pages.page.evaluate(CANVAS, id_), np.uint8).reshape(size) >= 128 for id_ in ids
    ]
    seen = mask_on_page(pages, size)
    annotation = pages.submit_last()

    # Read back: what is stored, through the code that training reads labels with.
    stored = studio.api("GET", f"/api/annotations/{annotation['id']}/")["result"]
    after = decode_annotation(stored, config)
    assert after.problems == () and after.target is not None
    masks = after.target.masks
    differences = [int((mask != canvas).sum()) for mask, canvas in zip(masks, drawn, strict=True)]
    union = reduce(np.logical_or, masks)
    edge = cv2.morphologyEx(union.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3))) > 0
    on_page = seen != union
    print(
        f"read back and the editor's canvas differ in {differences[0]} of {int(masks[0].sum())} px"
        f" (all regions: {sum(differences)}); the screenshot differs in {int(on_page.sum())} of"
        f" {int(union.sum())} px, {int((on_page & ~edge).sum())} of them not at an edge"
    )
    assert sum(differences) == 0, f"px by region: {differences}"
    assert not (on_page & ~edge).any(), f"{(on_page & ~edge).sum()} px on the page differ"

    # The edit, and only the edit.
    old, new = before.masks[0], masks[0]
    erased, added = old & ~new, new & ~old
    assert erased.any() and added.any()
    assert not (erased & ~near(erase, size)).any() and not (added & ~near(add, size)).any()
    line = np.linspace(*np.array(erase), 20).round().astype(int)[2:-2]
    assert not new[line[:, 1], line[:, 0]].any(), "the eraser's line is not all erased"
    assert after.target.labels.tolist() == [other, *before.labels[1:]]
    assert (masks[1:] == before.masks[1:]).all()
    assert [region["score"] for region in stored] == [region["score"] for region in predicted]
    assert stored[0]["origin"] == "prediction-changed"
    assert {region["origin"] for region in stored[1:]} <= {"prediction"}
    assert pages.faults == []
