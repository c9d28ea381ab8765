"""The client's calls, against the in-memory Label Studio and against a real one."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from backend.errors import StudioAuthError, StudioNotFound, StudioRejected
from backend.label_studio import tabs
from backend.label_studio.client import Studio
from backend.label_studio.listings import PAGE
from demo.errors import DemoError
from demo.studio import ADMIN


def region(label="disc", control="tag"):
    value = {"format": "rle", "rle": [0, 0, 0, 8], "brushlabels": [label]}
    return {"id": "r1", "type": "brushlabels", "from_name": control, "to_name": "image",
            "original_width": 8, "original_height": 8, "value": value}  # fmt: skip


def rows(tasks, version, scores=None):
    scores = scores or [i / 100 for i in range(len(tasks))]
    return [
        {"task": t, "result": [region()], "score": s, "model_version": version}
        for t, s in zip(tasks, scores, strict=True)
    ]


def test_both_kinds_of_token(studio, client):
    personal = Studio(studio.url, studio.personal_token(ADMIN))
    assert personal.whoami()["email"] == client.whoami()["email"] == ADMIN.email
    assert personal.auth_headers()["Authorization"].startswith("Bearer ")
    assert client.version().startswith("1.")


def test_wrong_tokens_are_refused(studio):
    for token in ("0" * 40, "e30.e30.x"):
        with pytest.raises(StudioAuthError):
            Studio(studio.url, token).whoami()


def test_switching_legacy_tokens_off_is_named_and_leaves_personal_ones(studio, client):
    personal = Studio(studio.url, studio.personal_token(studio.create_user("jwt@demo.example")))
    studio.allow_legacy_tokens(False)
    try:
        with pytest.raises(StudioAuthError, match="Legacy tokens may be off"):
            client.whoami()
        assert personal.whoami()["email"] == "jwt@demo.example"
    finally:
        studio.allow_legacy_tokens(True)


def test_projects(client, new_project):
    project = new_project()
    assert project in [row["id"] for row in client.projects()]
    assert client.patch_project(project, sampling="Uncertainty sampling")["id"] == project
    assert client.project(project)["sampling"] == "Uncertainty sampling"
    with pytest.raises(StudioRejected, match="model_version"):
        client.patch_project(project, model_version="nobody-made-this")
    for call in (client.project, client.tasks, client.webhooks, client.next_task):
        with pytest.raises(StudioNotFound):
            call(999_999)


def test_listing_in_pages_gives_every_task_once(client, new_project, add_tasks, monkeypatch):
    project = new_project()
    added = add_tasks(project, 23)
    monkeypatch.setitem(PAGE, "tasks", 5)
    listed = client.tasks(project)
    assert [task["id"] for task in listed] == added
    fields = {"id", "data", "is_labeled", "updated_at"}
    assert fields | {"total_annotations", "cancelled_annotations"} <= set(listed[0])
    assert client.tasks(new_project()) == []


def test_labels_and_what_changed(client, new_project, add_tasks):
    project = new_project()
    tasks = add_tasks(project, 6)
    client.import_predictions(project, rows(tasks, "v1"))
    start = max(task["updated_at"] for task in client.tasks(project))
    assert client.tasks_changed_since(project, start) == []  # predictions do not move it
    made = client.create_annotation(tasks[0], [region()], lead_time=2.5)
    client.create_annotation(tasks[1], [])
    client.create_annotation(tasks[2], [region()], was_cancelled=True)
    open_ = [task for task in client.tasks(project) if not task["is_labeled"]]
    assert client.unlabelled(project) == len(open_) == 4

    labelled = {task["id"]: task for task in client.export_annotated(project)}
    assert list(labelled) == tasks[:3]
    first = labelled[tasks[0]]["annotations"][0]
    assert first["result"][0]["value"] == region()["value"]
    assert (first["id"], first["lead_time"]) == (made["id"], 2.5)
    keys = {"was_cancelled", "ground_truth", "completed_by", "created_at", "updated_at"}
    assert keys <= set(first)
    assert isinstance(first["completed_by"], int)
    assert "predictions" not in labelled[tasks[0]]
    assert labelled[tasks[1]]["is_labeled"]
    assert not labelled[tasks[2]]["is_labeled"]
    assert labelled[tasks[2]]["annotations"][0]["was_cancelled"]

    changed = client.tasks_changed_since(project, start)
    assert [task["id"] for task in changed] == tasks[:2]  # a skip alone is no label
    touched = client.tasks_touched_since(project, start)
    assert [task["id"] for task in touched] == tasks[:3]
    newest = max(task["updated_at"] for task in touched)
    assert client.tasks_changed_since(project, newest) == []
    client._http.call("DELETE", f"/api/annotations/{made['id']}/", what="test")
    assert client.tasks_changed_since(project, newest) == []
    (gone,) = client.tasks_touched_since(project, newest)
    assert (gone["id"], gone["total_annotations"]) == (tasks[0], 0)


def test_the_order_follows_the_version_and_back(client, new_project, add_tasks):
    project = new_project()
    tasks = add_tasks(project, 4)
    for version, scores in (("v1", [0.4, 0.3, 0.2, 0.1]), ("v2", [0.1, 0.2, 0.3, 0.4])):
        assert client.import_predictions(project, rows(tasks, version, scores)) == 4
    assert client.model_versions(project) == {"v1": 4, "v2": 4}
    client.patch_project(project, sampling="Uncertainty sampling", model_version="v1")
    served = client.next_task(project)
    assert served["id"] == tasks[3]
    client.create_annotation(served["id"], [])
    client.patch_project(project, model_version="v2")
    served = client.next_task(project)
    assert (served["id"], served["predictions"][0]["model_version"]) == (tasks[0], "v2")
    for task in tasks[:3]:
        client.create_annotation(task, [])
    assert client.next_task(project) is None


def test_predictions_are_filled_in_place_and_deleted_in_parts(client, new_project, add_tasks):
    project = new_project()
    tasks = add_tasks(project, 5)
    for version in ("old", "new"):
        client.import_predictions(project, rows(tasks, version))
    some = next(p for p in client.predictions_of(tasks[0]) if p["model_version"] == "old")
    client.patch_prediction(some["id"], result=[])
    after = {p["model_version"]: p["result"] for p in client.predictions_of(tasks[0])}
    assert after["old"] == []
    assert len(after["new"]) == 1
    assert client.delete_predictions(project, "old", at_most=2) == 2
    assert client.model_versions(project) == {"old": 3, "new": 5}
    assert client.delete_predictions(project, "old") == 3
    assert client.delete_predictions(project, "old") == 0
    assert client.delete_version(project, "new") == 5
    assert client.model_versions(project) == {}


def test_a_version_goes_in_parts_until_nothing_is_left(client, new_project, add_tasks):
    """A version whose name begins with the deleted one's, and another with the same tasks, stay."""
    project = new_project()
    tasks = add_tasks(project, 7)
    for version in ("taudis-0001-a", "taudis-0001-a-2", "taudis-0002-a"):
        client.import_predictions(project, rows(tasks, version))
    deleted = []
    while not deleted or deleted[-1]:
        deleted.append(client.delete_predictions(project, "taudis-0001-a", at_most=2))
    assert deleted == [2, 2, 2, 1, 0]
    assert client.model_versions(project) == {"taudis-0001-a-2": 7, "taudis-0002-a": 7}


def test_the_first_ranks_of_a_version_stay(client, new_project, add_tasks):
    project = new_project()
    tasks = add_tasks(project, 4)
    client.import_predictions(project, rows(tasks, "v1", [1.0, 0.5, 0.25, 0.75]))
    deleted = [client.delete_predictions(project, "v1", at_most=1, above=0.5) for _ in range(3)]
    assert deleted == [1, 1, 0]
    left = {task for task in tasks if client.predictions_of(task)}
    assert left == {tasks[1], tasks[2]}


def test_an_annotation_that_names_a_deleted_prediction_is_refused(client, new_project, add_tasks):
    """A Submit, an Update and a Skip of an editor that began with it."""
    project = new_project()
    (task,) = add_tasks(project, 1)
    client.import_predictions(project, rows([task], "v1"))
    (row,) = client.predictions_of(task)
    made = client.create_annotation(task, [], parent_prediction=row["id"])
    assert client.delete_version(project, "v1") == 1
    for skipped in (False, True):
        with pytest.raises(StudioRejected, match=r"parent_prediction.*object does not exist"):
            client.create_annotation(task, [], was_cancelled=skipped, parent_prediction=row["id"])
    body = {"result": [], "parent_prediction": row["id"]}
    path, what = f"/api/annotations/{made['id']}/", "Changing an annotation"
    with pytest.raises(StudioRejected, match=r"parent_prediction.*object does not exist"):
        client._http.call("PATCH", path, what=what, body=body)


def test_a_bad_region_is_noticed_though_label_studio_says_nothing(client, new_project, add_tasks):
    project = new_project()
    batch = rows(add_tasks(project, 3), "v1")
    batch[1]["result"] = [region(control="nobody")]
    with pytest.raises(StudioRejected, match="took 2"):
        client.import_predictions(project, batch)


def test_a_missing_task_refuses_the_whole_import(client, new_project, add_tasks):
    project = new_project()
    batch = rows([*add_tasks(project, 2), 999_999], "v1")
    with pytest.raises(StudioRejected, match="task"):
        client.import_predictions(project, batch)
    assert client.model_versions(project) == {}


def test_webhooks(client, new_project):
    project = new_project()
    made = client.create_webhook(
        project,
        url="http://127.0.0.1:9/webhook",
        send_payload=False,
        send_for_all_actions=False,
        actions=["ANNOTATION_CREATED"],
        headers={"Authorization": "Basic eA=="},
    )
    changed = client.patch_webhook(made["id"], actions=["PROJECT_UPDATED"], is_active=False)
    assert changed["actions"] == ["PROJECT_UPDATED"]
    assert [row["id"] for row in client.webhooks(project)] == [made["id"]]
    client.delete_webhook(made["id"])
    client.delete_webhook(made["id"])
    assert client.webhooks(project) == []


@pytest.fixture
def recorder():
    """A server that answers as a backend; its address, and (path, Authorization, body) requests."""
    seen = []

    class Backend(BaseHTTPRequestHandler):
        def answer(self):
            length = int(self.headers.get("Content-Length") or 0)
            seen.append((self.path, self.headers["Authorization"], self.rfile.read(length)))
            body = b'{"status": "UP", "model_version": "m1"}'
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    server.server_close()


def test_what_connecting_a_backend_does(studio, client, new_project, recorder):
    """The behaviour of Label Studio that `backend.worker.connection` relies on."""
    url, seen = recorder
    project = new_project()
    backend = studio.connect_backend(project, url, "Segmenter", ("user", "word"))
    assert [path for path, _, _ in seen] == ["/health", "/setup"] * 2
    assert {auth for _, auth, _ in seen} == {"Basic dXNlcjp3b3Jk"}
    assert ADMIN.token.encode() in seen[1][2]
    assert [row["title"] for row in client.ml_backends(project)] == ["Segmenter"]
    hook = client.webhooks(project)[0]
    assert hook["url"] == f"{url}/webhook"
    assert (hook["send_payload"], hook["send_for_all_actions"]) == (True, True)
    assert (hook["headers"], hook["actions"], hook["is_active"]) == ({}, [], True)
    assert client.project(project)["model_version"] == "Segmenter"
    studio.start_training(backend)
    assert b'"action": "START_TRAINING"' in seen[-1][2]
    seen.clear()
    studio.api("DELETE", f"/api/ml/{backend}")
    assert [path for path, _, _ in seen] == ["/health", "/setup"]  # even now
    assert client.project(project)["model_version"] == ""
    assert len(client.webhooks(project)) == 1  # it outlives the backend
    with pytest.raises(DemoError, match="health check failed"):
        studio.connect_backend(project, "http://127.0.0.1:9", "Nobody")


def test_tabs_of_the_data_manager(client, new_project):
    project, other = new_project(), new_project()
    assert client.tabs.of(project) == []
    first = client.tabs.add(project, tabs.DEFAULT)
    second = client.tabs.add(project, tabs.QUEUE)
    found = client.tabs.of(project)
    assert [row["id"] for row in found] == [first, second]
    assert found[1]["data"] == tabs.QUEUE
    assert client.tabs.of(other) == []
    client.tabs.remove(first)
    client.tabs.remove(first)
    assert [row["id"] for row in client.tabs.of(project)] == [second]
