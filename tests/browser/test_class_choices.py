"""A class by a choice, in the real editor: a prediction shows it, and a person chooses another."""

import cv2
import numpy as np
import pytest

from backend.label_studio.label_config import parse_label_config
from backend.label_studio.regions import decode_annotation, encode_prediction
from demo.studio import ADMIN
from taudis.types import Target
from tests.browser.pages import REGION
from tests.browser.test_bitmask_and_vector import SIZE, exported, make
from tests.browser.test_edit import detected

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
CONFIG = """<View><Image name="image" value="$image"/>{}
<Choices name="kind" toName="image" perRegion="true" visibleWhen="region-selected"{}>
<Choice value="leaf"/><Choice value="stem" alias="s"/></Choices></View>"""
CONFIGS = {
    "brush": CONFIG.format('<Brush name="draw" toName="image"/>', ""),
    "magicwand": CONFIG.format('<MagicWand name="draw" toName="image"/>', ""),
    "brushlabels": CONFIG.format(
        '<BrushLabels name="draw" toName="image"><Label value="Object"/></BrushLabels>',
        ' taudis="class"',
    ),
}
TICKED = "() => [...document.querySelectorAll('input[name=leaf], input[name=stem]')]"
TICKED += ".map(input => input.checked)"


@pytest.mark.parametrize("drawn", CONFIGS)
def test_a_predicted_choice_is_shown_corrected_and_read_back(studio, pages, tmp_path, drawn):
    config = parse_label_config(CONFIGS[drawn])
    masks = np.zeros((2, *SIZE), np.uint8)
    cv2.circle(masks[0], (40, 50), 25, 1, -1)
    cv2.rectangle(masks[1], (100, 70), (140, 100), 1, -1)
    target = Target.from_masks(masks > 0, np.array([2, 2]))
    predicted = encode_prediction(detected(target, SIZE, 2), config, threshold=0.5)
    assert [row["type"] for row in predicted] == [drawn, "choices"] * 2
    before = decode_annotation(predicted, config, size=SIZE).target

    project, pages = make(studio, pages, tmp_path, f"Choice {drawn}", CONFIGS[drawn])
    task = studio.api("GET", "/api/tasks", params={"project": project})["tasks"][0]["id"]
    body = [{"task": task, "result": predicted, "score": 0.5, "model_version": "taudis-kind"}]
    studio.api("POST", f"/api/projects/{project}/import/predictions", json=body)
    fields = {"model_version": "taudis-kind", "show_collab_predictions": True}
    studio.api("PATCH", f"/api/projects/{project}/", json=fields)
    pages.log_in(ADMIN)
    pages.label_all_tasks()
    pages.page.locator(REGION).first.click()
    pages.page.wait_for_function(f"() => ({TICKED})().join() === 'false,true'")
    pages.page.locator("input[name=leaf]").check()
    pages.page.wait_for_function(f"() => ({TICKED})().join() === 'true,false'")
    pages.keep(f"17-choice-{drawn}")
    annotation = pages.submit_last()

    stored = studio.api("GET", f"/api/annotations/{annotation['id']}/")["result"]
    assert [row["id"] for row in stored] == [row["id"] for row in predicted]
    assert [row["score"] for row in stored] == [row["score"] for row in predicted]
    assert {row["origin"] for row in stored[2:]} == {"prediction"}
    after = decode_annotation(stored, config, size=SIZE)
    assert after.problems == () and after.target.labels.tolist() == [1, 2]
    assert (after.target.masks == before.masks).all()
    names, out = exported(studio, tmp_path, project)
    assert names == ["leaf", "s"] and (out == before.masks).all()
    assert pages.faults == []
