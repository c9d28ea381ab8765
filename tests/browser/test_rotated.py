"""A region that is drawn on a turned picture: `image_rotation` turns the view, not the region.

The test drags a rectangle along a red block of the turned page. The stored region, read without
`image_rotation`, lies on the block of the unturned picture.
"""

import cv2
import numpy as np
import pytest

from backend.label_studio.label_config import parse_label_config
from backend.label_studio.regions import decode_annotation
from demo.studio import ADMIN

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
CONFIG = """<View><Image name="image" value="$image" rotateControl="true"/>
<RectangleLabels name="tag" toName="image"><Label value="block"/></RectangleLabels></View>"""
SIZE = (300, 500)
BLOCK = np.zeros(SIZE, bool)
BLOCK[90:150, 190:290] = True  # off the middle, and in sight however it is turned


def red_box(page):
    """The place of the red block on the page: left, top, right, bottom in px."""
    shot = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    ys, xs = np.nonzero((shot[..., 2] > 230) & (shot[..., 1] < 30) & (shot[..., 0] < 30))
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_region_drawn_on_a_turned_picture_lies_where_it_was_drawn(studio, pages, tmp_path, turn):
    picture = np.zeros((*SIZE, 3), np.uint8)
    picture[BLOCK] = 0, 0, 255
    cv2.imwrite(str(tmp_path / "block.png"), picture)
    project = studio.create_project(f"Turned {turn}", CONFIG)
    studio.upload(project, [tmp_path / "block.png"])
    pages = pages(project)
    pages.log_in(ADMIN)
    pages.label_all_tasks()
    page = pages.page
    page.locator(".lsf-label", has_text="block").first.click()
    page.evaluate("turn => Htx.annotationStore.selected.objects[0].rotate(turn)", turn)
    page.wait_for_timeout(1000)
    left, top, right, bottom = red_box(page)
    assert (right - left > bottom - top) == (turn == 180)  # it is turned
    page.mouse.move(left, top)
    page.mouse.down()
    page.mouse.move(right, bottom, steps=8)
    page.mouse.up()
    page.wait_for_timeout(500)
    pages.keep(f"13-turned-{turn}")
    annotation = pages.submit_last()
    stored = studio.api("GET", f"/api/annotations/{annotation['id']}/")["result"]
    assert [row["image_rotation"] for row in stored] == [turn]
    assert (stored[0]["original_height"], stored[0]["original_width"]) == SIZE
    decoded = decode_annotation(stored, parse_label_config(CONFIG), size=SIZE)
    assert decoded.problems == () and decoded.target is not None
    mask = decoded.target.masks[0]
    assert (mask & BLOCK).sum() / (mask | BLOCK).sum() > 0.95
