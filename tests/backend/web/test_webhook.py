"""/webhook: which events are recorded, and what each caller is answered."""

import logging
import threading

import pytest


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("ANNOTATION_CREATED", "changed"),
        ("ANNOTATIONS_CREATED", "changed"),
        ("ANNOTATION_UPDATED", "changed"),
        ("ANNOTATION_DELETED", "changed"),
        ("ANNOTATIONS_DELETED", "changed"),
        ("PROJECT_UPDATED", "config"),
        ("START_TRAINING", "train"),
    ],
)
@pytest.mark.parametrize("where", ["query", "object", "uid", "number"])
def test_events_ring(client, store, action, kind, where):
    store.update_project(7)
    project = {"query": None, "object": {"id": 7, "title": "x"}, "uid": "7.170", "number": 7}[where]
    address = "/webhook?project=7" if where == "query" else "/webhook"
    body = {"action": action} | ({} if project is None else {"project": project})
    answer = client.post(address, json=body)
    assert (answer.status_code, answer.json) == (200, {"status": "recorded"})
    assert store.event_counts(7) == {kind: 1}


def test_other_events_are_ignored(client, store):
    store.update_project(7)
    answer = client.post("/webhook?project=7", json={"action": "TASKS_CREATED"})
    assert (answer.status_code, answer.json) == (200, {"status": "ignored"})
    assert store.pending_events() == []


@pytest.mark.fault("F4", "unknown")
def test_an_unknown_project_costs_one_log_line_and_no_row(client, store, caplog, figures):
    caplog.set_level(logging.INFO)
    answer = client.post("/webhook?project=99", json={"action": "ANNOTATION_CREATED"})
    assert (answer.status_code, answer.json) == (200, {"status": "unknown project"})
    assert store.pending_events() == []
    assert len([record for record in caplog.records if "99" in record.message]) == 1
    figures(log_lines=1)


def test_a_store_that_is_busy_is_no_5xx_for_labels_but_one_for_start_training(
    client, store, monkeypatch
):
    from sqlalchemy.exc import OperationalError

    store.update_project(7)

    def busy(*_):
        raise OperationalError("BEGIN", {}, Exception("database is locked"))

    monkeypatch.setattr(store, "record_event", busy)
    assert (
        client.post("/webhook?project=7", json={"action": "ANNOTATION_CREATED"}).status_code == 202
    )
    assert client.post("/webhook?project=7", json={"action": "START_TRAINING"}).status_code == 503


def test_bursts_from_many_threads_are_all_recorded(app, store):
    store.update_project(7)
    start, answers = threading.Barrier(8), []

    def burst():
        client = app.test_client()
        start.wait()
        for _ in range(25):
            body = {"action": "ANNOTATION_CREATED"}
            answers.append(client.post("/webhook?project=7", json=body).status_code)

    threads = [threading.Thread(target=burst) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count(200) == 200
    assert store.event_counts(7) == {"changed": 200}
