"""Which task a user is served, and what Label Studio tells a backend, on both servers."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from backend.errors import StudioNotFound, StudioRejected
from backend.label_studio.client import Studio
from demo.studio import ADMIN

AUTH = "Basic " + base64.b64encode(b"user:word").decode()


@pytest.fixture(scope="module")
def second(studio):
    """The client of a second person."""
    return Studio(studio.url, studio.create_user("second@demo.example").token)


@pytest.fixture
def listener():
    """An ML backend that writes down what it is told: path, Authorization, body."""
    seen = []

    class Backend(BaseHTTPRequestHandler):
        def answer(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            seen.append((self.path, self.headers["Authorization"], body))
            back = {"status": "UP", "model_version": "live"}
            if self.path == "/predict":
                rows = [{"result": [], "score": 0.5, "model_version": "live"}]
                back = {"results": rows * len(body["tasks"])}
            data = json.dumps(back).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    server.url, server.seen = f"http://127.0.0.1:{server.server_port}", seen
    yield server
    server.shutdown()
    server.server_close()


def score(client, project, scores, version="v1"):
    """Predictions of a version without regions: task -> score."""
    rows = [
        {"task": task, "result": [], "score": value, "model_version": version}
        for task, value in scores.items()
    ]
    client.import_predictions(project, rows)


def by_score(client, project, scores, version="v1"):
    """Serve a project's tasks by these scores."""
    score(client, project, scores, version)
    client.patch_project(project, sampling="Uncertainty sampling", model_version=version)


# --- the queue ----------------------------------------------------------------------------------


def test_sequential_sampling_is_by_id(client, new_project, add_tasks):
    project = new_project()
    tasks = add_tasks(project, 3)
    served = []
    while task := client.next_task(project):
        served.append(task["id"])
        client.create_annotation(task["id"], [])
    assert served == tasks


def test_a_lock_keeps_a_task_for_its_holder_also_after_a_new_order(
    client, second, new_project, add_tasks
):
    project = new_project()
    a, b, c = add_tasks(project, 3)
    by_score(client, project, {a: 0.1, b: 0.2, c: 0.3})
    assert client.next_task(project)["id"] == a
    assert client.next_task(project)["id"] == a
    assert second.next_task(project)["id"] == b
    by_score(client, project, {a: 0.3, b: 0.2, c: 0.1}, "v2")
    assert client.next_task(project)["id"] == a
    client.create_annotation(a, [])
    assert client.next_task(project)["id"] == c
    second.create_annotation(b, [])
    assert second.next_task(project) is None  # the last one is locked


def test_a_skipped_task_goes_to_the_next_user(client, second, new_project, add_tasks):
    project = new_project()
    a, b = add_tasks(project, 2)
    by_score(client, project, {a: 0.1, b: 0.2})
    assert client.next_task(project)["id"] == a
    client.create_annotation(a, [], was_cancelled=True)
    assert client.next_task(project)["id"] == b
    assert second.next_task(project)["id"] == a


def test_tasks_without_a_prediction_of_the_version_come_last(client, new_project, add_tasks):
    project = new_project()
    a, b, c = add_tasks(project, 3)
    score(client, project, {a: 0.1, b: 0.1, c: 0.1}, "old")
    by_score(client, project, {c: 0.9})
    assert client.next_task(project)["id"] == c
    client.create_annotation(c, [])
    assert client.next_task(project)["id"] in (a, b)


def test_of_two_rows_of_one_version_the_lower_score_decides(client, new_project, add_tasks):
    project = new_project()
    a, b = add_tasks(project, 2)
    by_score(client, project, {a: 0.1, b: 0.2})
    score(client, project, {a: 0.9, b: 0.8})
    assert client.model_versions(project) == {"v1": 4}
    assert client.next_task(project)["id"] == a


def test_with_overlap_a_task_that_was_begun_comes_first(client, second, new_project, add_tasks):
    project = new_project(maximum_annotations=2)
    a, b = add_tasks(project, 2)
    by_score(client, project, {a: 0.1, b: 0.2})
    second.create_annotation(b, [])
    (_, row) = client.tasks(project)
    assert (row["id"], row["is_labeled"], row["total_annotations"]) == (b, False, 1)
    assert client.next_task(project)["id"] == b
    client.create_annotation(b, [])
    assert [task["is_labeled"] for task in client.tasks(project)] == [False, True]
    assert client.unlabelled(project) == 1


def test_deleting_the_current_version_leaves_the_project_without_one(
    client, new_project, add_tasks
):
    project = new_project()
    (a,) = add_tasks(project, 1)
    by_score(client, project, {a: 0.1})
    assert client.delete_version(project, "v1") == 1
    assert client.project(project)["model_version"] is None
    assert client.patch_project(project, model_version="")["model_version"] == ""


# --- tasks --------------------------------------------------------------------------------------


def test_single_predictions_touch_a_task_and_bulk_ones_do_not(client, new_project, add_tasks):
    project = new_project()
    (task,) = add_tasks(project, 1)
    moment = client.newest_change(project)
    assert moment == client.tasks(project)[0]["updated_at"]
    assert client.clock.stamp()[:16] >= moment[:16]  # to the minute: the same clock
    assert not client.clock.is_before(moment)
    score(client, project, {task: 0.1})
    assert client.newest_change(project) == moment
    (row,) = client.predictions_of(task)
    client.patch_prediction(row["id"], result=[])
    assert client.newest_change(project) > moment
    moment = client.newest_change(project)
    assert client.delete_predictions(project, "v1") == 1
    assert [task["id"] for task in client.tasks_touched_since(project, moment)] == [task]


def test_a_deleted_task_is_gone_with_all_that_it_had(studio, client, new_project, add_tasks):
    project = new_project()
    a, b = add_tasks(project, 2)
    score(client, project, {a: 0.1, b: 0.2})
    client.create_annotation(a, [])
    studio.api("DELETE", f"/api/tasks/{a}/")
    assert [task["id"] for task in client.tasks(project)] == [b]
    assert client.model_versions(project) == {"v1": 1}
    for call in (client.get_task, lambda task: client.create_annotation(task, [])):
        with pytest.raises(StudioNotFound):
            call(a)
    with pytest.raises(StudioRejected, match="valid choice"):
        client.predictions_of(a)  # 400, where others say 404


def test_uploaded_files_become_tasks_and_are_served_to_those_with_a_token(
    studio, client, new_project, tmp_path
):
    project = new_project()
    files = [tmp_path / "one.png", tmp_path / "two words.png"]
    for number, file in enumerate(files):
        file.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes([number]))
    assert studio.upload(project, files) == 2
    addresses = [task["data"]["image"] for task in client.tasks(project)]
    assert all(address.startswith(f"/data/upload/{project}/") for address in addresses)
    assert [address[-7:] for address in addresses] == ["one.png", "rds.png"]
    for address, file in zip(addresses, files, strict=True):
        answer = requests.get(studio.url + address, headers=client.auth_headers(), timeout=10)
        assert (answer.status_code, answer.content) == (200, file.read_bytes())
        assert requests.get(studio.url + address, timeout=10).status_code == 401


# --- what others are told -----------------------------------------------------------------------


def test_webhooks_by_action_with_headers_and_with_or_without_payload(
    studio, client, new_project, add_tasks, listener
):
    project = new_project()
    headers = {"Authorization": AUTH}
    fields = {"send_for_all_actions": False, "actions": ["ANNOTATION_CREATED"]}
    client.create_webhook(
        project, url=f"{listener.url}/a?project=1", send_payload=False, headers=headers, **fields
    )
    client.create_webhook(project, url=f"{listener.url}/b", send_payload=True)
    (task,) = add_tasks(project, 1)
    made = client.create_annotation(task, [])
    studio.api("PATCH", f"/api/annotations/{made['id']}/", json={"result": []})
    client.create_annotation(task, [], was_cancelled=True)
    studio.api("DELETE", f"/api/annotations/{made['id']}/")
    client.patch_project(project, sampling="Uniform sampling")
    score(client, project, {task: 0.1})
    client.delete_version(project, "v1")
    client.next_task(project)

    bare = [(auth, body) for path, auth, body in listener.seen if path == "/a?project=1"]
    assert bare == [(AUTH, {"action": "ANNOTATION_CREATED"})] * 2
    whole = [body for path, _, body in listener.seen if path == "/b"]
    assert [body["action"] for body in whole] == [
        "TASKS_CREATED",
        "ANNOTATION_CREATED",
        "ANNOTATION_UPDATED",
        "ANNOTATION_CREATED",
        "ANNOTATIONS_DELETED",
        "PROJECT_UPDATED",
    ]
    assert {body["project"]["id"] for body in whole} == {project}
    assert whole[1]["annotation"]["id"] == made["id"] and whole[1]["task"]["id"] == task
    assert whole[4]["annotations"] == [{"id": made["id"]}]


def test_a_changed_webhook_loses_the_actions_that_the_change_does_not_name(
    client, new_project, add_tasks, listener
):
    project = new_project()
    (task,) = add_tasks(project, 1)
    fields = {"send_for_all_actions": False, "actions": ["ANNOTATION_CREATED"]}
    hook = client.create_webhook(project, url=f"{listener.url}/a", **fields)
    client.create_annotation(task, [])
    assert [path for path, _, _ in listener.seen] == ["/a"]
    assert client.patch_webhook(hook["id"], headers={})["actions"] == []
    client.create_annotation(task, [])
    client.patch_webhook(hook["id"], is_active=False, actions=["ANNOTATION_CREATED"])
    client.create_annotation(task, [])
    assert [path for path, _, _ in listener.seen] == ["/a"]


def test_a_webhook_that_nobody_answers_stops_nobody(client, new_project, add_tasks):
    project = new_project()
    client.create_webhook(project, url="http://127.0.0.1:9/webhook")
    (task,) = add_tasks(project, 1)
    assert client.create_annotation(task, [])["task"] == task


def test_an_opened_task_without_a_prediction_is_asked_of_the_backend(
    studio, client, new_project, add_tasks, listener
):
    project = new_project()
    a, b = add_tasks(project, 2)
    score(client, project, {b: 0.1}, "ours")
    studio.connect_backend(project, listener.url, "Live", ("user", "word"))
    setup = next(body for path, _, body in listener.seen if path == "/setup")
    assert setup["project"].partition(".")[0] == str(project)
    assert setup["schema"] == client.project(project)["label_config"]
    assert setup["access_token"] == ADMIN.token and setup["hostname"].startswith("http://")
    client.patch_project(project, model_version="ours")
    listener.seen.clear()
    opened = client.get_task(b)
    assert [each["model_version"] for each in opened["predictions"]] == ["ours"]
    assert "/predict" not in [path for path, _, _ in listener.seen]
    opened = client.get_task(a)
    assert [each["model_version"] for each in opened["predictions"]] == ["live"]
    (asked,) = [body for path, _, body in listener.seen if path == "/predict"]
    assert [task["id"] for task in asked["tasks"]] == [a]
    assert asked["project"].partition(".")[0] == str(project)


def test_a_title_follows_the_version_and_a_second_connection_adds_no_webhook(
    studio, client, new_project, add_tasks, listener
):
    project = new_project()
    (task,) = add_tasks(project, 1)
    backend = studio.connect_backend(project, listener.url, "First", ("user", "word"))
    form = {"project": project, "url": listener.url, "title": "Renamed"}
    studio.api("PATCH", f"/api/ml/{backend}", json=form)
    assert client.project(project)["model_version"] == "Renamed"
    by_score(client, project, {task: 0.1})
    studio.connect_backend(project, listener.url, "Second", ("user", "word"))
    assert client.project(project)["model_version"] == "v1"
    (hook,) = client.webhooks(project)
    client.patch_webhook(hook["id"], url=f"{listener.url}/webhook?project={project}")
    studio.connect_backend(project, listener.url, "Third", ("user", "word"))
    assert len(client.webhooks(project)) == 2  # the check for doubles is by exact address
    titles = [row["title"] for row in client.ml_backends(project)]
    assert titles == ["Renamed", "Second", "Third"]


def test_start_training_is_one_webhook_whatever_comes_back(studio, new_project, listener):
    project = new_project()
    backend = studio.connect_backend(project, listener.url, "TAUDIS", ("user", "word"))
    listener.seen.clear()
    assert studio.start_training(backend) is None
    ((path, auth, body),) = listener.seen
    assert (path, auth) == ("/webhook", AUTH)
    assert (body["action"], body["project"]["id"]) == ("START_TRAINING", project)
