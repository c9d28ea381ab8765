"""The tab "TAUDIS review" in the Data Manager, as a person sees it."""

import pytest
from playwright.sync_api import expect

from backend.label_studio.client import Studio
from backend.label_studio.new_project import label_config
from backend.label_studio.tabs import DEFAULT, REVIEW, REVIEW_TITLE
from backend.worker.dataset import fingerprint
from demo.dataset import load_dataset
from demo.options import Options
from demo.studio import ADMIN

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

REASON = "the model sees ring (93 %), 41 px from the left, 20 px from the top; 2 more"


def test_the_tab_lists_marked_tasks_with_their_reasons(studio, pages, tmp_path):
    dataset = load_dataset(Options(False, tmp_path, None, None, pool_size=4, held_out_size=0))
    project = studio.create_project("Review", label_config(dataset.label_map, "brush"))
    names = [dataset.samples.file_names[row] for row in dataset.pool]
    studio.upload(project, [dataset.folder / name for name in names])
    client = Studio(studio.url, ADMIN.token)
    tasks = [task["id"] for task in client.tasks(project)]
    for task in tasks:
        client.create_annotation(task, [])
    one, two, three, _ = tasks
    marks = {
        two: "0.051 nothing: the model sees nothing here",
        one: f"0.930 label: labelled disc, and {REASON}",
        three: "1.000 double: lies on another disc (IoU 1.00)",
    }
    columns = client.tabs.marks.columns(project)
    for row in client.tabs.marks.tasks(project, list(marks)):
        client.tabs.marks.write(row, marks[row["id"]], columns)
    for data in (DEFAULT, REVIEW):
        client.tabs.add(project, data)

    pages = pages(project)
    pages.log_in(ADMIN)
    assert pages.listed_tasks("Default") == tasks
    assert pages.listed_tasks(REVIEW_TITLE) == [three, one, two]
    page = pages.page
    for text in marks.values():
        expect(page.get_by_text(text, exact=True)).to_be_visible()
    expect(page.get_by_text("taudis_review", exact=True).first).to_be_visible()
    pages.keep("15-review-tab")

    # A label that is right is opened from the table: nothing to save, so it stays as it is.
    before = {row["id"]: fingerprint(row) for row in client.export_annotated(project)}
    page.get_by_text(marks[one], exact=True).click()
    expect(page.locator(".lsf-annotation-button")).to_be_visible()
    expect(page.get_by_text("Update", exact=True)).to_be_disabled()
    pages.keep("16-review-task")
    assert {row["id"]: fingerprint(row) for row in client.export_annotated(project)} == before
    assert pages.faults == []
