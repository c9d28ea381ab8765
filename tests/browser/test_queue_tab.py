"""The tab "TAUDIS queue" in the Data Manager, as a person sees it."""

import pytest

from backend.label_studio.client import Studio
from backend.label_studio.new_project import label_config
from backend.label_studio.tabs import DEFAULT, QUEUE, TITLE
from demo.dataset import load_dataset
from demo.options import Options
from demo.studio import ADMIN

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


def test_the_tab_lists_the_queue_and_label_all_tasks_follows_the_queue(studio, pages, tmp_path):
    dataset = load_dataset(Options(False, tmp_path, None, None, pool_size=5, held_out_size=0))
    project = studio.create_project("Queue", label_config(dataset.label_map, "brush"))
    names = [dataset.samples.file_names[row] for row in dataset.pool]
    studio.upload(project, [dataset.folder / name for name in names])
    client = Studio(studio.url, ADMIN.token)
    one, two, three, four, five = (task["id"] for task in client.tasks(project))
    order = [three, five, one, four, two]
    rows = [
        {"task": task, "result": [], "score": rank / 5, "model_version": "taudis-1"}
        for rank, task in enumerate(order, start=1)
    ]
    client.import_predictions(project, rows)
    sampling = "Uncertainty sampling"
    client.patch_project(project, model_version="taudis-1", sampling=sampling)
    client.create_annotation(three, [])
    for data in (DEFAULT, QUEUE):
        client.tabs.add(project, data)

    pages = pages(project)
    pages.log_in(ADMIN)
    assert pages.listed_tasks("Default") == sorted(order)
    assert pages.listed_tasks(TITLE) == order[1:]
    pages.keep("13-queue-tab")
    # The button asks for the queue, with other people's locks, and not for the table.
    assert pages.label_all_tasks(TITLE)["id"] == order[1]
    assert pages.faults == []
