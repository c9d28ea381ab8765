"""Marks of tasks, on the in-memory Label Studio and on a real one: what they change."""

from itertools import pairwise

import pytest

from backend.errors import StudioNotFound
from backend.label_studio import tabs
from backend.label_studio.marks import MARK
from tests.studio.conftest import BRUSH


def write(client, project, marks):
    """Write marks: task -> text."""
    calls = client.tabs.marks
    columns = calls.columns(project)
    for task in calls.tasks(project, list(marks)):
        calls.write(task, marks[task["id"]], columns)


def marks(client, project, since=""):
    return {row["id"]: row["data"][MARK] for row in client.tabs.marks.marked(project, since)}


def test_a_mark_changes_the_data_of_its_task_alone(client, new_project, add_tasks):
    project = new_project()
    one, two, three = add_tasks(project, 3)
    client.create_annotation(two, [])
    rows = [
        {"task": task, "result": [], "score": rank / 3, "model_version": "v1"}
        for rank, task in enumerate((three, one, two), start=1)
    ]
    client.import_predictions(project, rows)
    client.patch_project(project, model_version="v1", sampling="Uncertainty sampling")
    before = client.export_annotated(project), client.predictions_of(two)
    write(client, project, {two: "0.930 label: é", one: "1.000 missed"})
    assert marks(client, project) == {one: "1.000 missed", two: "0.930 label: é"}

    after = client.export_annotated(project), client.predictions_of(two)
    assert after[0][0]["data"].pop(MARK) == "0.930 label: é"
    assert after[0][0].pop("updated_at") > before[0][0].pop("updated_at")
    assert after == before
    assert client.next_task(project)["id"] == three

    write(client, project, {two: "0.100 outline"})
    assert marks(client, project)[two] == "0.100 outline"
    write(client, project, {one: "", two: ""})
    assert marks(client, project) == {} and "data" in client.get_task(one)
    assert client.get_task(one)["data"] == {"image": "/data/upload/none/0.jpg"}
    assert MARK not in client.tabs.marks.columns(project)


def test_a_column_that_is_counted_too_often_goes(client, new_project, add_tasks):
    project = new_project()
    one, _ = add_tasks(project, 2)
    write(client, project, {one: "0.500"})
    client.create_annotation(one, [])
    write(client, project, {one: ""})
    assert marks(client, project) == {} and MARK in client.tabs.marks.columns(project)
    client.tabs.marks.recount(project)
    assert client.tabs.marks.columns(project) == {"image": 2}


def test_marked_tasks_that_were_touched_since(client, new_project, add_tasks):
    project = new_project()
    tasks = add_tasks(project, 3)
    for task in tasks:
        client.create_annotation(task, [])
    write(client, project, dict.fromkeys(tasks[:2], "0.500"))
    since = client.newest_change(project)
    assert marks(client, project, since) == {}
    client.create_annotation(tasks[1], [])
    client.create_annotation(tasks[2], [])
    (row,) = client.tabs.marks.marked(project, since)
    assert row["id"] == tasks[1] and len(row["annotations"]) == 2
    assert not any("result" in each for each in row["annotations"])
    assert all(one["updated_at"] < two["updated_at"] for one, two in pairwise(row["annotations"]))


def test_a_task_that_is_gone(client, studio, new_project, add_tasks):
    project = new_project()
    one, two = add_tasks(project, 2)
    calls = client.tabs.marks
    gone, _ = calls.tasks(project, [one, two])
    studio.api("DELETE", f"/api/tasks/{one}/")
    assert [row["id"] for row in calls.tasks(project, [one, two])] == [two]
    with pytest.raises(StudioNotFound):
        calls.write(gone, "0.500", calls.columns(project))


def test_files_that_were_uploaded_before_the_config_keep_their_key(
    client, studio, new_project, tmp_path
):
    """Label Studio answers with another key than it keeps; its columns stay as they were."""
    project = new_project("<View></View>")
    files = []
    for name in ("a.png", "b.png"):
        files.append(tmp_path / name)
        files[-1].write_bytes(b"\x89PNG\r\n\x1a\n")
    studio.upload(project, files)
    client.patch_project(project, label_config=BRUSH)
    one, two = client.tasks(project)
    before = client.tabs.marks.columns(project)
    assert list(one["data"]) == ["image"] and list(before) == ["$undefined$"]
    write(client, project, {one["id"]: "0.500", two["id"]: "0.400"})
    assert set(client.tabs.marks.columns(project)) == {"$undefined$", MARK}
    assert marks(client, project) == {one["id"]: "0.500", two["id"]: "0.400"}
    write(client, project, {one["id"]: "", two["id"]: ""})
    assert client.tabs.marks.columns(project) == before
    assert [task["data"] for task in client.tasks(project)] == [one["data"], two["data"]]


def test_the_tab_of_the_review(client, new_project):
    project = new_project()
    client.tabs.add(project, tabs.REVIEW)
    (row,) = client.tabs.of(project)
    assert row["data"] == tabs.REVIEW
