"""The pictures of the next images: made once, kept up to date, with the masks in place."""

import io

import numpy as np
import pytest
from PIL import Image

from backend.label_studio.label_config import parse_label_config
from backend.label_studio.regions.brush import encode_rle
from backend.store import predictions, queue_head
from backend.web.status.evidence import EVIDENCE
from backend.worker.thumbnails import COLOURS, SIDE, thumbnail
from tests.backend.local_loop import PASSWORD, USER, truth
from tests.backend.store import prediction_cases
from tests.backend.worker.round_cases import CONFIG


def test_a_mask_is_drawn_where_it_lies_in_the_colour_of_its_label():
    image = np.full((400, 800, 3), 200, np.uint8)
    mask = np.zeros((400, 800), bool)
    mask[100:300, 500:700] = True
    config = parse_label_config(CONFIG)
    label = config.label_map.names[1]
    control = config.control_for(label)
    region = {
        "id": "r", "type": "brushlabels", "from_name": control.name, "to_name": config.image.name,
        "original_width": 800, "original_height": 400, "image_rotation": 0,
        "value": {"format": "rle", "rle": encode_rle(mask), "brushlabels": [label]},
    }  # fmt: skip
    data, size, found = thumbnail(image, [region], config)
    drawn = np.asarray(Image.open(io.BytesIO(data))).astype(int)
    assert size == drawn.shape[:2] == (SIDE // 2, SIDE) and found == {label: 1}
    expected = 0.6 * 200 + 0.4 * COLOURS[1].astype(float)
    assert np.abs(drawn[60:100, 220:260] - expected).max() < 12  # JPEG
    assert np.abs(drawn[:, :150] - 200).max() < 12
    small = thumbnail(np.zeros((1, 30, 3), np.uint8), [], config)
    assert small[1:] == ((1, 30), {})


@pytest.fixture
def project(make_loop):
    """Sixteen pictures with a first order."""
    return make_loop().project(16)


def head(project):
    loop = project.loop
    loop.clean()
    return queue_head.read(loop.data, project.id, loop.store.project(project.id).state.serving)


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
    loop, old, new = project.loop, project.version(), "taudis-0002-65a1"
    tasks = {task["id"]: task for task in reversed(project.tasks())}
    path = predictions.path_of(loop.data, project.id, new)
    prediction_cases.write(path, {number: truth(task) for number, task in tasks.items()})
    made = loop.store.versions(project.id)[0].round
    loop.store.add_version(
        loop.lease, project.id, new, round_id=made, model=new, tasks=len(tasks), metrics={}
    )
    loop.store.update_project(project.id, serving=new)
    images = head(project).images
    assert [image.task for image in images] == list(tasks)
    assert all(image.found for image in images)
    folder = queue_head.folder_of(loop.data, project.id, new).parent
    assert [path.name for path in folder.iterdir()] == [new] != [old]
    page = get(project, f"/projects/{project.id}").text
    (label, number), *_ = images[0].found.items()
    assert f'">{label}</span>' in page and f"{number} {label}" in page


def test_an_image_that_cannot_be_read_says_why(project):
    order = project.order()
    broken = {task["id"]: task for task in project.tasks()}[order[0]]
    project.loop.studio.fault("GET", broken["data"]["image"], status=404, times=9)
    images = head(project).images
    assert "no picture" in images[0].note and images[0].size is None and images[1].size
    page = get(project, f"/projects/{project.id}").text
    assert page.count("<img") == queue_head.VISIBLE - 1 and "no picture: " in page
    assert get(project, f"/projects/{project.id}/queue/{order[0]}").status_code == 404
