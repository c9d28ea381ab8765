"""The client against a scripted server: every bad answer that Label Studio or a proxy can give."""

import base64
import json
import logging
import socket
import threading
import time

import pytest

from backend.errors import (
    SettingsError,
    StudioAuthError,
    StudioNotFound,
    StudioRejected,
    StudioUnreachable,
)
from backend.label_studio import repetition
from backend.label_studio.client import Studio
from backend.label_studio.queue import bulk_post
from tests.backend.label_studio.json_server import LEGACY, JsonServer, send


def jwt(kind: str, life: float) -> str:
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    now = 1_000_000  # far from this machine's clock: only the span may count
    return f"{part({})}.{part({'token_type': kind, 'iat': now, 'exp': now + life})}.{kind}signature"


class Script(JsonServer):
    """Answers in order (the last one again and again): status, body, headers, or a deed."""

    protocol = "HTTP/1.0"

    def __init__(self, *steps):
        self.steps, self.requests = list(steps), []
        super().__init__()

    def respond(self, handler):
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        self.requests.append((handler.command, handler.path, dict(handler.headers), body))
        step = self.steps[0] if len(self.steps) == 1 else self.steps.pop(0)
        if callable(step):
            step(handler)
        else:
            send(handler, *step)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(repetition, "FIRST_PAUSE", 0.02)


def client(server, token=LEGACY, timeout=1.0, patience=3.0):
    return Studio(server.url, token, timeout=timeout, patience=patience)


OK = (200, {"id": 1})


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, StudioAuthError), (403, StudioAuthError), (404, StudioNotFound), (400, StudioRejected),
     (409, StudioRejected), (413, StudioRejected)],
)  # fmt: skip
def test_refusals_are_named_once_and_not_repeated(status, error):
    with Script((status, {"detail": "because so"})) as server:
        with pytest.raises(error, match="because so") as caught:
            client(server).project(3)
        assert len(server.requests) == 1
        assert LEGACY not in str(caught.value)
        assert "Reading project 3" in str(caught.value)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize("method", ["project", "patch_project"])
@pytest.mark.fault("F5", "client")
def test_passing_trouble_is_repeated_where_that_is_safe(status, method):
    with Script((status, {}), (status, b"<html>"), OK) as server:
        assert getattr(client(server), method)(1) == {"id": 1}
        assert len(server.requests) == 3


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.fault("F5", "client")
def test_a_post_is_not_sent_twice(status):
    with Script((status, {}), OK) as server:
        with pytest.raises(StudioUnreachable, match="not known whether") as caught:
            client(server).create_annotation(1, [])
        assert len(server.requests) == 1
    # A proxy answers 502 or 504 while Label Studio still acts on the request.
    assert caught.value.settled is (status in (500, 503))


@pytest.mark.fault("F5", "client")
def test_a_post_that_was_turned_away_is_sent_again():
    with Script((429, {}, {"Retry-After": "0"}), (201, {"created": 2})) as server:
        assert client(server).import_predictions(1, [{"task": 1}, {"task": 2}]) == 2


@pytest.mark.slow
@pytest.mark.fault("F5", "client")
def test_retry_after_is_obeyed_but_not_beyond_patience():
    with Script((429, {}, {"Retry-After": "1"}), OK) as server:
        began = time.monotonic()
        client(server).project(1)
        assert 1.0 <= time.monotonic() - began < 10
    with Script((503, {}, {"Retry-After": "3600"})) as server:
        began = time.monotonic()
        with pytest.raises(StudioUnreachable, match=r"503.* It asked to wait for 3600 s") as raised:
            client(server).project(1)
        assert time.monotonic() - began < 10 and raised.value.wait == 3600
    with Script((503, {}, {"Retry-After": "soon"}), OK) as server:
        assert client(server).project(1) == {"id": 1}


def half_a_body(handler):
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    handler.wfile.write(b'{"id"')
    handler.close_connection = True


def half_without_length(handler):
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    handler.wfile.write(b'{"id"')
    handler.close_connection = True


def no_answer(handler):
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


@pytest.mark.parametrize("deed", [half_a_body, half_without_length, no_answer])
@pytest.mark.fault("F5", "client")
def test_a_broken_answer_is_asked_for_again_but_a_broken_post_is_not(deed):
    with Script(deed, deed, OK) as server:
        assert client(server).project(1) == {"id": 1}
    with Script(deed, (201, {"created": 1})) as server:
        with pytest.raises(StudioUnreachable, match="not known whether") as caught:
            client(server).import_predictions(1, [{"task": 1}])
        assert len(server.requests) == 1 and not caught.value.settled


@pytest.mark.slow
@pytest.mark.fault("F5", "client")
def test_silence_and_dripping_end_in_time():
    stop = threading.Event()

    def drip(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", "10000")
        handler.end_headers()
        while not stop.wait(0.05):
            try:
                handler.wfile.write(b" ")
            except OSError:
                return

    for deed in (lambda handler: stop.wait(20) and None, drip):
        with Script(deed) as server:
            began = time.monotonic()
            with pytest.raises(StudioUnreachable):
                client(server, timeout=0.5, patience=1.2).project(1)
            assert time.monotonic() - began < 10
            stop.set()
        stop.clear()


def test_nobody_there_is_said_and_a_post_may_be_tried_again():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(StudioUnreachable, match=r"no connection.*\d attempts") as caught:
        Studio(url, LEGACY, timeout=0.3, patience=0.3).create_annotation(1, [])
    assert "(1 attempts)" not in str(caught.value)
    assert caught.value.settled


def test_another_server_and_a_redirect_are_told_and_the_token_stays():
    page = (200, b"<html>hello", {"Content-Type": "text/html"})
    with Script(page) as server, pytest.raises(StudioUnreachable, match="expected JSON"):
        client(server).project(1)
    with Script(OK) as thief:
        away = (302, b"", {"Location": f"{thief.url}/x?token=1"})
        refused = pytest.raises(StudioRejected, match=r"redirect to .*/x")
        with Script(away) as server, refused as caught:
            client(server).project(1)
        assert thief.requests == []
        assert "token=1" not in str(caught.value)


def test_an_answer_of_another_shape_is_refused():
    with (
        Script((200, [1])) as server,
        pytest.raises(StudioRejected, match="expected a JSON object"),
    ):
        client(server).project(1)
    with Script((200, {})) as server, pytest.raises(StudioRejected, match="expected a JSON list"):
        client(server).webhooks(1)


def test_legacy_token_is_sent_and_cookies_are_not():
    with Script((200, {}, {"Set-Cookie": "sessionid=x; Path=/"})) as server:
        studio = client(server)
        studio.project(1)
        studio.project(1)
        for _, _, headers, _ in server.requests:
            assert headers["Authorization"] == f"Token {LEGACY}"
            assert "Cookie" not in headers


def test_a_netrc_file_does_not_take_the_header_over(tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with Script(OK) as server:
        client(server).project(1)
        assert server.requests[0][2]["Authorization"] == f"Token {LEGACY}"


def test_personal_token_fetches_access_renews_it_and_survives_a_401():
    short, long = jwt("access", 0.25), jwt("access", 300)
    steps = [(200, {"access": short}), OK, (200, {"access": long}), OK, (401, {}),
             (200, {"access": long}), OK]  # fmt: skip
    personal = jwt("refresh", 1e9)
    with Script(*steps) as server:
        studio = client(server, personal)
        studio.project(1)
        time.sleep(0.25)
        studio.project(1)  # due: renewed before it is refused
        studio.create_annotation(1, [])  # refused (server restarted): renewed, sent again
        paths = [path.rpartition("/api")[2] for _, path, _, _ in server.requests]
        assert [p == "/token/refresh/" for p in paths] == [True, False] * 2 + [False, True, False]
        assert json.loads(server.requests[0][3]) == {"refresh": personal}
        assert "Authorization" not in server.requests[0][2]
        assert server.requests[1][2]["Authorization"] == f"Bearer {short}"
        assert studio.auth_headers() == {"Authorization": f"Bearer {long}"}


def test_revoked_personal_token_is_told_without_a_loop():
    with Script((401, {"detail": "Token is invalid"})) as server:
        with pytest.raises(StudioAuthError, match="make a new one"):
            client(server, jwt("refresh", 1e9)).project(1)
        assert len(server.requests) == 1


def test_threads_share_one_renewal():
    with Script((200, {"access": jwt("access", 300)}), OK) as server:
        # A busy machine may take over a second for eight threads; a retry would count as a request.
        studio = client(server, jwt("refresh", 1e9), timeout=20, patience=60)
        gate = threading.Barrier(8)

        def ask():
            gate.wait()
            studio.project(1)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        assert sum("refresh" in path for _, path, _, _ in server.requests) == 1
        assert len(server.requests) == 9


def test_no_token_in_errors_logs_or_repr(caplog):
    caplog.set_level(logging.DEBUG)
    echo = {"detail": f"you sent {LEGACY}"}
    with Script((503, echo), (400, echo)) as server:
        studio = client(server)
        with pytest.raises(StudioRejected) as caught:
            studio.project(1)
    assert "you sent ***" in str(caught.value)
    assert LEGACY not in caplog.text + repr(studio) + repr(studio._http) + str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "localhost:8080", "ftp://x", "http://", "http://u:pw@host", "http://h/?a=1", "http://[x"]
)  # fmt: skip
def test_addresses_that_cannot_be_meant(url):
    with pytest.raises(SettingsError, match="expected an address") as caught:
        Studio(url, LEGACY)
    assert "pw" not in str(caught.value).split("expected")[0]


def test_an_empty_token_is_told():
    with pytest.raises(SettingsError, match="expected an access token"):
        Studio("http://localhost:8080", " ")


def test_dropped_predictions_are_noticed():
    with Script((201, {"created": 1})) as server, pytest.raises(StudioRejected, match="dropped"):
        client(server).import_predictions(1, [{"task": 1}, {"task": 2}])


def test_nothing_to_import_asks_nothing():
    with Script(OK) as server:
        assert client(server).import_predictions(1, []) == 0
        assert client(server).import_predictions(1, bulk_post("v", [])) == 0
        assert server.requests == []


def test_a_bulk_post_is_the_same_request_as_its_rows():
    rows = [
        {"task": 3, "result": [{"id": "é"}], "score": 0.5, "model_version": 'v"1'},
        {"task": 4, "result": [], "score": 1.0, "model_version": 'v"1'},
    ]
    post = bulk_post('v"1', [(3, 0.5, json.dumps([{"id": "é"}]).encode()), (4, 1.0, b"[]")])
    with Script((201, {"created": 2})) as server:
        assert client(server).import_predictions(1, rows) == 2
        assert client(server).import_predictions(1, post) == 2
        one, other = server.requests
        assert one[0] == other[0] and one[1] == other[1] and one[3] == other[3]
        kinds = {
            name: (one[2][name], other[2][name]) for name in ("Content-Type", "Content-Length")
        }
        assert all(each == same for each, same in kinds.values()), kinds


def test_no_next_task_is_none_but_a_missing_project_is_an_error():
    with Script((404, {"detail": "There are no tasks"}), OK) as server:
        assert client(server).next_task(1) is None
    with Script((404, {"detail": "No Project"})) as server, pytest.raises(StudioNotFound):
        client(server).next_task(1)


def test_deleting_what_is_gone_is_fine():
    with Script((404, {"detail": "No Webhook"})) as server:
        client(server).delete_webhook(1)
