"""Malformed requests: each gets a 4xx with a reason, and changes nothing."""

import json

import pytest

from backend.settings import load_settings
from backend.web.app import create_app
from tests.backend.web.web_cases import (
    CANARY,
    publish,
    setup_body,
)  # fmt: skip

DEEP = "[" * 2_000 + "]" * 2_000
BODIES = [
    b"", b"{", b"nope", b"null", b"[]", b"7", b'"x"', b"\xff\xfe{}", b'{"project": "\xc3\x28"}',
    b'{"project": NaN}', b'{"project": 1e999}', b'{"project": ' + b"9" * 5000 + b"}",
    DEEP.encode(), b'{"project": ' + DEEP.encode() + b"}",
    b'{"tasks": ' + b'{"a":' * 90 + b"1" + b"}" * 90 + b', "project": 7}',
]  # fmt: skip
VALUES = [
    None, True, -1, 0, 1.5, 2**63, 2**70, "", "x", "../../etc/passwd", "7/../8", "7.x", "٧", "7\n",
    "7\x00", "\ud800", "7" * 400, [], [7], {}, {"id": None}, {"id": "../7"}, {"id": {"id": 7}},
]  # fmt: skip
ODD = [7, 1.5, True, [], {}, "\ud800", "\x00", "x" * 6_000_000]


def malformed():
    for path in ("/setup", "/predict", "/webhook", "/versions"):
        yield from ((path, "application/json", body) for body in BODIES)
        yield path, "text/plain", b"{}"
        yield path, "", b"{}"
        yield path, "application/x-www-form-urlencoded", b"project=7"
        for value in VALUES:
            body = {"project": value, "tasks": [], "action": "START_TRAINING", "schema": "<View/>"}
            yield path, "application/json", json.dumps(body).encode()
    for key in ("schema", "hostname", "access_token"):
        for value in ODD:
            yield "/setup", "application/json", json.dumps(setup_body(**{key: value})).encode()
    yield "/setup", "application/json", json.dumps(setup_body(access_token="a\r\nX: y")).encode()
    for tasks in (None, {}, "x", 7, [7], [None], [[]], [{"id": "7"}], [{"id": True}], [{"id": 1.5}],
                  [{}] * 10_001):  # fmt: skip
        body = {"project": 7, "tasks": tasks}
        yield "/predict", "application/json", json.dumps(body).encode()
    for params in ("x", [1], 7):
        body = {"project": 7, "tasks": [], "params": params}
        yield "/predict", "application/json", json.dumps(body).encode()
    for action in (None, 7, [], {}, "", "x" * 300):
        yield "/webhook?project=7", "application/json", json.dumps({"action": action}).encode()


@pytest.mark.fault("F11", "answers")
def test_malformed_requests_get_a_4xx_with_a_reason(client, settings, store, caplog, figures):
    publish_before = set(settings.model_dir.rglob("*"))
    corpus = list(malformed())
    assert len(corpus) > 200
    for path, content_type, body in corpus:
        answer = client.post(path, data=body, content_type=content_type)
        assert 400 <= answer.status_code < 500, (path, content_type, body[:80], answer.text[:300])
        reason = answer.json["error"]
        assert reason and len(reason) < 400, reason
        assert "Traceback" not in answer.text
        assert 'File "' not in answer.text
    assert store.projects() == []
    assert store.pending_events() == []
    assert set(settings.model_dir.rglob("*")) == publish_before
    assert not [record for record in caplog.records if record.exc_info]
    figures(requests=len(corpus), server_errors=0)


@pytest.mark.parametrize("project", ["..", "7/../8", "%2e%2e", "7%00", "", "a" * 5000, "-1", "٧"])
@pytest.mark.parametrize("path", ["/versions", "/is_training"])
def test_odd_projects_in_queries(client, path, project):
    assert client.get(path, query_string={"project": project}).status_code == 400
    event = {"action": "ANNOTATION_CREATED"}
    assert client.post("/webhook", query_string={"project": project}, json=event).status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "//health//x",
        "/static/x",
        "/setup/../x",
        "/%00",
        "/\ud7ff",
        "/delete",
        "/train",
    ],  # Label Studio before 1.4.1 called /train
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "BREW"])
def test_other_routes_and_methods(client, path, method):
    answer = client.open(path, method=method)
    assert 400 <= answer.status_code < 500
    assert "error" in answer.json


def test_wrong_methods_name_the_right_ones(client):
    answer = client.get("/setup")
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]


def test_large_bodies(tmp_path):
    app = create_app(load_settings(model_dir=tmp_path, max_request_bytes=10_000))
    for path in ("/setup", "/predict", "/webhook", "/versions"):
        answer = app.test_client().post(path, json={"project": 7, "x": "y" * 10_000})
        assert answer.status_code == 413
        assert "at most 10000 bytes" in answer.json["error"]
    app.extensions["taudis"].store.close()


def test_extra_numbers_and_odd_tasks_are_taken(client, settings, store):
    client.post("/setup", json=setup_body())
    publish(settings, store)
    tasks = [
        {},
        {"id": 2**80},
        {"id": -5},
        {"id": 1, "data": None},
        {"id": 4, "data": {"image": 7}},
    ]
    answer = client.post("/predict", json={"project": 7, "tasks": tasks})
    assert answer.status_code == 200
    assert [bool(r["result"]) for r in answer.json["results"]] == [False, False, False, True, False]


def test_an_unexpected_error_gives_an_incident_and_no_detail(app, store, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError(f"secret detail {CANARY}")

    monkeypatch.setattr(store, "open_rounds", broken)
    answer = app.test_client().get("/is_training")
    assert answer.status_code == 500
    assert "secret detail" not in answer.text
    incident = answer.json["error"].split()[-1].rstrip(".")
    assert incident in caplog.text
