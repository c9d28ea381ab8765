"""The pictures of the next images: made once, kept up to date, with the masks in place."""

import io
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from backend.label_studio.label_config import parse_label_config
from backend.label_studio.new_project import label_config
from backend.label_studio.regions.objects import encode_objects
from backend.store import predictions, queue_head
from backend.web.status.evidence import EVIDENCE
from backend.worker.queue_head import AGAIN_SECONDS
from backend.worker.thumbnails import SIDE, thumbnail
from taudis.types import LabelMap, Target
from tests.backend.local_loop import PASSWORD, USER, truth
from tests.backend.store import prediction_cases
from tests.backend.worker.round_cases import CONFIG


@pytest.mark.parametrize("draw", ["brush", "bitmask", "polygon"])
@pytest.mark.parametrize("size", [(400, 800), (1050, 1400)])
def test_a_mask_is_drawn_where_it_lies_in_the_colour_of_its_label(draw, size):
    """A bitmask has the size of its image, which is over four times that of the picture."""
    height, width = size
    image = np.full((height, width, 3), 200, np.uint8)
    x1, y1, x2, y2 = width * 5 // 8, height // 4, width * 7 // 8, height * 3 // 4
    masks = np.zeros((1, height, width), bool)
    masks[:, y1:y2, x1:x2] = True
    box = np.array([[x1, y1, x2, y2]], np.float32)
    label_map = LabelMap(("square", "bar"))
    config = parse_label_config(label_config(label_map, draw))
    target = Target(box, np.array([2]), masks, np.zeros(1, bool))
    regions = encode_objects(target, label_map, config)
    data, (high, wide), found = thumbnail(image, regions, config, [(255, 255, 255), (90, 9, 160)])
    drawn = np.asarray(Image.open(io.BytesIO(data))).astype(int)
    assert (high, wide) == drawn.shape[:2] == (SIDE * height // width, SIDE)
    assert found == {"bar": 1}
    expected = 0.6 * 200 + 0.4 * np.array([90, 9, 160])
    inside = drawn[high // 4 + 9 : high * 3 // 4 - 9, 209:271]
    assert np.abs(inside - expected).max() < 12  # JPEG
    assert np.abs(drawn[:, :190] - 200).max() < 12


def test_a_picture_of_one_line():
    small = thumbnail(np.zeros((1, 30, 3), np.uint8), [], parse_label_config(CONFIG), [])
    assert small[1:] == ((1, 30), {})


@pytest.fixture
def project(make_loop):
    """Sixteen pictures with a first order."""
    return make_loop().project(16)


def head(project):
    loop = project.loop
    loop.clean()
    return queue_head.read(loop.data, project.id, loop.store.project(project.id).state.serving)


def serve(project, regions):
    """Serve a new order of these tasks with their regions. Returns its version."""
    loop, new = project.loop, "taudis-0002-65a1"
    prediction_cases.write(predictions.path_of(loop.data, project.id, new), regions)
    made = loop.store.versions(project.id)[0].round
    loop.store.add_version(
        loop.lease, project.id, new, round_id=made, model=new, tasks=len(regions), metrics={}
    )
    loop.store.update_project(project.id, serving=new)
    return new


def get(project, path):
    return project.loop.app.test_client().get(path, auth=(USER, PASSWORD))


def fetched(project):
    """Pictures that Label Studio was asked for."""
    return sum("/data/upload/" in path for _, path in project.loop.studio.requests)


def test_the_next_images_follow_the_labels(project):
    order = project.order()
    page = get(project, f"/projects/{project.id}").text
    assert "Next images" in page and "within half a minute" in page and "<img" not in page
    assert EVIDENCE in page
    images = head(project).images
    assert [image.task for image in images] == order
    assert {image.note for image in images} == {"no model yet"} and all(i.size for i in images)
    page = get(project, f"/projects/{project.id}").text
    assert page.count("<img") == queue_head.VISIBLE and "within half a minute" not in page
    picture = get(project, f"/projects/{project.id}/queue/{order[0]}")
    assert picture.mimetype == "image/jpeg" and "private" in picture.headers["Cache-Control"]
    assert Image.open(io.BytesIO(picture.data)).size == tuple(images[0].size[::-1])

    before, asked = fetched(project), len(project.loop.studio.requests)
    head(project)
    assert fetched(project) == before
    tasks = {task["id"]: task for task in project.tasks()}
    for task in order[:2]:
        project.label(tasks[task])
    assert [image.task for image in head(project).images] == order[2:]
    assert fetched(project) == before and len(project.loop.studio.requests) > asked
    assert get(project, f"/projects/{project.id}/queue/{order[0]}").status_code == 404


def test_a_new_order_brings_its_masks_and_the_old_pictures_go(project):
    head(project)
    loop, old = project.loop, project.version()
    tasks = {task["id"]: task for task in reversed(project.tasks())}
    new = serve(project, {number: truth(task) for number, task in tasks.items()})
    images = head(project).images
    assert [image.task for image in images] == list(tasks)
    assert all(image.found for image in images)
    folder = queue_head.folder_of(loop.data, project.id, new).parent
    assert [path.name for path in folder.iterdir()] == [new] != [old]
    page = get(project, f"/projects/{project.id}").text
    (label, number), *_ = images[0].found.items()
    assert f"</svg> {label}</span>" in page and f"{number} {label}" in page


def test_an_image_that_cannot_be_read_says_why(project):
    order = project.order()
    broken = {task["id"]: task for task in project.tasks()}[order[0]]
    project.loop.studio.fault("GET", broken["data"]["image"], status=404, times=9)
    images = head(project).images
    assert "no picture" in images[0].note and images[0].size is None and images[1].size
    page = get(project, f"/projects/{project.id}").text
    assert page.count("<img") == queue_head.VISIBLE - 1 and "no picture: " in page
    assert get(project, f"/projects/{project.id}/queue/{order[0]}").status_code == 404


def test_an_image_that_could_not_be_read_is_tried_again(project, monkeypatch):
    order = project.order()
    broken = {task["id"]: task for task in project.tasks()}[order[0]]["data"]["image"]
    project.loop.studio.fault("GET", broken, status=503, times=3)
    before = head(project).images
    assert "answered 503" in before[0].note and project.loop.studio.asked("GET", broken) == 3
    assert head(project).images == before
    assert project.loop.studio.asked("GET", broken) == 3  # not at each turn
    version = project.loop.store.project(project.id).state.serving
    read = queue_head.read(project.loop.data, project.id, version)
    assert 0 <= time.time() + AGAIN_SECONDS - read.images[0].again < 60
    due = [replace(read.images[0], again=time.time()), *read.images[1:]]
    queue_head.write(project.loop.data, project.id, version, replace(read, images=due))
    after = head(project).images
    assert after[0].size and after[0].note == "no model yet" and after[1:] == before[1:]
    assert project.loop.studio.asked("GET", broken) == 4


def test_pre_annotations_that_cannot_be_drawn_are_not_called_none(project):
    tasks = project.tasks()
    speck = truth(tasks[0])[0] | {"type": "polygonlabels"}
    speck["value"] = {"points": [[0, 0], [0.1, 0], [0.1, 0.1]], "closed": True}
    serve(project, {task["id"]: [speck] for task in tasks})
    notes = {image.note for image in head(project).images}
    assert notes == {"its pre-annotations cannot be drawn at this size"}
