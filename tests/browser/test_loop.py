"""The whole loop on Label Studio's own pages, in a browser."""

import json
import re
from functools import reduce
from pathlib import Path

import numpy as np
import pytest

from backend.label_studio.label_config import parse_label_config
from backend.label_studio.new_project import label_config
from backend.label_studio.regions import decode_annotation
from backend.label_studio.regions.brush import decode_rle
from backend.label_studio.regions.decode import INSTANCE_KEY, PART_KEY
from backend.store import predictions
from backend.store.database import Store
from demo.annotator import UPLOADED, Annotator, Truth
from demo.backend_process import BACKEND_USER
from demo.studio import ADMIN, model_form
from demo.waiting import wait_for
from taudis.types import LabelMap
from tests.browser.conftest import BUDGET

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
ROUND = 240.0
PATIENCE = 5
"""Pictures, best-ranked first, of which the first model must find something in one."""
DRAWN = 0.85
"""Least IoU of the drawn and the published masks; below 1 because the page smooths masks."""


def current(site):
    return site.studio.api("GET", f"/api/projects/{site.project}")


def version_after(site, old, within):
    """Wait until Label Studio serves another version of this backend; returns it."""

    def flipped():
        return str(current(site)["model_version"]).startswith("taudis-") and (
            current(site)["model_version"] != old
        )

    wait_for(flipped, within, f"a version after {old or 'none'}")
    return current(site)["model_version"]


def free_in_order(site, version):
    """Unlabelled tasks, best-ranked first, by the predictions that Label Studio holds."""
    rows = site.studio.api("GET", "/api/predictions/", params={"project": site.project})
    order = {row["task"]: row["score"] for row in rows if row["model_version"] == version}
    assert len(set(order.values())) == len(order) > 0
    params = {"project": site.project, "page_size": 100, "fields": "all"}
    tasks = site.studio.api("GET", "/api/tasks", params=params)["tasks"]
    free = [task["id"] for task in tasks if not task["is_labeled"]]
    return sorted(free, key=order.__getitem__)


def name_of(task):
    return UPLOADED.sub("", Path(task["data"]["image"]).name)


def nearest_picture(site, seen):
    """File name of the project's picture that is most similar to the screenshot."""
    difference = {
        Path(site.dataset.samples.file_names[row]).name: float(
            np.abs(site.dataset.samples.image(row).astype(float) - seen).mean()
        )
        for row in site.dataset.pool
    }
    return min(difference, key=difference.get)


def masks(result):
    """Masks [192,192] of brush regions by their id."""
    return {
        region["id"]: decode_rle(
            region["value"]["rle"], region["original_height"], region["original_width"]
        )
        for region in result
    }


def drawn_on(pages):
    """The pixels [192,192] that hiding all regions changes, and the picture without regions."""
    with_regions = pages.picture(192, 192)
    pages.toggle_regions()
    bare = pages.picture(192, 192)
    pages.toggle_regions()
    return (with_regions != bare).any(axis=2), bare


def label(site, number):
    """Label more tasks with their truth, by the API."""
    config = parse_label_config(current(site)["label_config"])
    truth = Truth(site.dataset.samples, site.dataset.label_map, config)
    person = Annotator(site.studio.url, ADMIN.token, site.project, truth, "ada", pause=0)
    for _ in range(number):
        assert person.label_one()


def check_pre_annotation(pages, site, task, version):
    """Check that the page draws exactly the task's published regions; returns both."""
    (prediction,) = task["predictions"]
    assert prediction["model_version"] == version
    published = masks(prediction["result"])
    assert pages.regions() == list(published)
    labels = [region["value"]["brushlabels"][0] for region in prediction["result"]]
    listed = pages.listed_labels()
    assert bool(listed) == bool(labels) and listed == labels[: len(listed)]
    drawn, bare = drawn_on(pages) if published else (None, pages.picture(192, 192))
    assert nearest_picture(site, bare) == name_of(task)
    if published:
        wanted = reduce(np.logical_or, published.values())
        overlap = (drawn & wanted).sum() / (drawn | wanted).sum()
        print(f"task {task['id']}: {len(published)} regions, drawn by IoU {overlap:.3f}")
        assert overlap >= DRAWN
    return prediction, published


def why(site, version, task):
    """The sentence why a task's image comes, as the backend keeps it."""
    path = predictions.path_of(site.backend.data, site.project, version)
    (place,) = [each for each in predictions.order(path) if each.task == task]
    return predictions.WHY + place.reason


def to_first_with_regions(pages, site, order, version):
    """Open tasks in `order` until one has regions; what has none is submitted as empty.

    So short a training may find nothing in some pictures. Checks the page of each.
    """
    task = pages.label_all_tasks()
    for place in range(PATIENCE):
        assert task["id"] == order[place]
        prediction, published = check_pre_annotation(pages, site, task, version)
        if published:
            return task, prediction, published, order[place + 1]
        _, task = pages.submit()
    raise AssertionError(f"the {PATIENCE} first-ranked pictures have no region at all")


# long: one visit to the pages, from connecting to the new order; each step needs those before it
def test_a_person_connects_labels_trains_and_gets_the_new_order(site, pages):
    pages = pages(site.project)
    pages.log_in(ADMIN)

    # Connect: the form alone connects the project and leads to the first order.
    password = site.backend.password
    sent = pages.connect_model("TAUDIS", site.backend.url, BACKEND_USER, password)
    auth = (BACKEND_USER, password)
    assert sent == model_form(site.project, site.backend.url, "TAUDIS", auth)
    first = version_after(site, "", 60)
    order = free_in_order(site, first)
    assert len(order) == len(site.dataset.pool)

    # Before a model: the first-ranked picture, empty; a person draws on it.
    task = pages.label_all_tasks()
    assert task["id"] == order[0] and pages.regions() == []
    assert nearest_picture(site, pages.picture(192, 192)) == name_of(task)
    name = site.dataset.label_map.names[0]
    pages.draw_stroke(name, (0.3, 0.3), (0.6, 0.5))
    pages.keep("04-first-task-drawn")
    annotation, task = pages.submit()
    drawn = site.studio.api("GET", f"/api/annotations/{annotation['id']}/")
    assert drawn["parent_prediction"]  # the editor names a prediction without regions, too
    (region,) = drawn["result"]
    assert region["value"]["brushlabels"] == [name]
    assert masks([region])[region["id"]][58:96, 58:115].any()
    assert task["id"] == order[1]

    # TRAIN_AFTER labels start a round by themselves.
    label(site, BUDGET - 1)
    trained = version_after(site, first, ROUND)
    order = free_in_order(site, trained)
    assert len(order) == len(site.dataset.pool) - BUDGET

    # The new first, as published, with its pre-annotation drawn; a person takes one region out.
    task, prediction, published, following = to_first_with_regions(pages, site, order, trained)
    pages.keep("05-pre-annotated")
    assert pages.why() == why(site, trained, task["id"])
    pages.keep("12-why-this-image")
    gone = pages.delete_first_region()
    pages.keep("06-corrected")
    annotation, held = pages.submit()
    stored = site.studio.api("GET", f"/api/annotations/{annotation['id']}/")
    assert stored["task"] == task["id"] and stored["parent_prediction"] == prediction["id"]
    kept = masks(stored["result"])
    assert kept.keys() == published.keys() - {gone}
    assert all((kept[each] == published[each]).all() for each in kept)
    assert held["id"] == following
    pages.keep("07-next-task")

    # Start Training in another tab, while the next task stays open.
    dialog = pages.start_training()
    dialog.get_by_text("Request Sent!").wait_for()
    pages.keep("08-training-requested", dialog)
    store = Store(site.backend.data)
    wait_for(lambda: bool(store.open_rounds()), 30, "the round of Start Training")
    (round_,) = store.open_rounds()
    assert (round_.project, round_.kind) == (site.project, "train")
    dialog.close()
    status = pages.status_page(site.backend.url, BACKEND_USER, password)
    status.get_by_text(f"Round {round_.number}", exact=True).wait_for()
    status.get_by_text(re.compile(r"\btraining\s+\d+ of")).wait_for()  # it keeps up to date
    pages.keep("09-status-while-training", status)
    status.close()

    # The open task is submitted after the flip; what follows it is the first of the new order.
    newest = version_after(site, trained, ROUND)
    order = [each for each in free_in_order(site, newest) if each != held["id"]]
    _, task = pages.submit()
    live = {row.annotation: row for row in store.live_rows(site.project)}
    assert live[drawn["id"]].kind == "no_model"
    assert (live[stored["id"]].kind, live[stored["id"]].version) == ("visible", trained)
    counts = live[stored["id"]].counts.values()
    assert sum(each.get("removed", 0) for each in counts) == 1
    assert sum(each.get("unchanged", 0) for each in counts) == len(kept)
    assert task["id"] == order[0]
    pages.keep("10-first-of-the-new-order")
    check_pre_annotation(pages, site, task, newest)
    assert pages.label_all_tasks()["id"] == order[0]
    assert pages.faults == []


def test_the_sentence_and_what_ties_the_parts_of_a_polygon_survive_a_submit(studio, site, pages):
    names = LabelMap(("disc", "ring"))
    project = studio.create_project("Parts", label_config(names, "polygon"))
    row = site.dataset.pool[0]
    studio.upload(project, [site.dataset.folder / site.dataset.samples.file_names[row]])
    task = studio.api("GET", "/api/tasks", params={"project": project})["tasks"][0]["id"]
    result = [
        {
            "id": f"part{part}", "type": "polygonlabels", "from_name": "tag", "to_name": "image",
            "original_width": 192, "original_height": 192, "image_rotation": 0,
            "value": {"points": [[x, 20], [x + 20, 20], [x + 20, 40]], "closed": True,
                      "polygonlabels": ["ring"]},
            "meta": {INSTANCE_KEY: "one", PART_KEY: part},
        }
        for part, x in enumerate((10, 60))
    ]  # fmt: skip
    sentence = "2.0 votes: 2 of its 3 uncertain instances were chosen; they cover 17 others"
    plain = json.dumps(result).encode()
    result = json.loads(predictions.with_reason(plain, sentence))
    body = [{"task": task, "result": result, "score": 0.5, "model_version": "parts-1"}]
    studio.api("POST", f"/api/projects/{project}/import/predictions", json=body)
    fields = {"model_version": "parts-1", "show_collab_predictions": True}
    studio.api("PATCH", f"/api/projects/{project}/", json=fields)
    pages = pages(project)
    pages.log_in(ADMIN)
    pages.label_all_tasks()
    assert pages.why() == predictions.WHY + sentence
    pages.keep("11-polygon-parts")
    annotation = pages.submit_last()
    stored = studio.api("GET", f"/api/annotations/{annotation['id']}/")["result"]
    assert [region.get("meta") for region in stored] == [region["meta"] for region in result]
    config = parse_label_config(label_config(names, "polygon"))
    read, expected = (
        decode_annotation(each, config, size=(192, 192)) for each in (stored, json.loads(plain))
    )
    assert read.problems == expected.problems == ()
    assert len(read.target) == 1 and (read.target.masks == expected.target.masks).all()
