"""The HTTP server, what people do on Label Studio's pages, and faults on demand."""

import json
import logging
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

import requests
from werkzeug.exceptions import HTTPException
from werkzeug.http import http_date
from werkzeug.routing import Map, Rule
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from demo.studio import ADMIN, DemoError, Login, model_form
from tests.fake_label_studio import callbacks, labelling, projects, tabs
from tests.fake_label_studio.access import SESSION, Access
from tests.fake_label_studio.answers import VERSION, Refused
from tests.fake_label_studio.faults import Fault, Faults, pause
from tests.fake_label_studio.records import Records, User

OPEN = {"/health", "/api/version", "/api/token/refresh/"}
"""Paths that need no token."""


@dataclass(frozen=True)
class Call:
    """One request as the functions that answer it see it."""

    studio: "FakeLabelStudio"
    user: User | None
    query: dict
    body: Any
    files: tuple

    @property
    def records(self) -> Records:
        return self.studio.records


@dataclass(frozen=True)
class Exchange:
    """One request and its answer, with the times when it began and ended, monotonic seconds.

    token: the Authorization header. body, answer: decoded JSON, or None.
    """

    method: str
    path: str
    token: str
    body: Any
    status: int
    answer: Any
    began: float
    ended: float

    @classmethod
    def of(cls, request, began, response):
        sent = request.get_data() if request.is_json else b""
        given = response.get_data() if response.is_json else b""
        return cls(
            request.method, request.path, request.headers.get("Authorization", ""),
            json.loads(sent) if sent else None, response.status_code,
            json.loads(given) if given else None, began, time.monotonic(),
        )  # fmt: skip


class _Quiet(WSGIRequestHandler):
    """Writes no log line for a request, and answers with Label Studio's clock."""

    def log(self, *_):
        pass

    def date_time_string(self, timestamp=None):
        return http_date(self.server.app.__self__.records.now.now())


class FakeLabelStudio:
    """A running server; a context manager. Its methods are those of `demo.studio.LabelStudio`.

    `requests` lists method and path of every request so far. `observers` are called with each
    answered request: an `Exchange`. `hostname` is the address that it gives to backends; '' for its
    own.
    """

    def __init__(self):
        self.records = Records()
        self.access = Access(self.records)
        self.faults, self.requests, self.observers = Faults(), [], []
        self.refuses_private_addresses = False
        self.hostname, self.deletion_seconds = "", 0.0
        self.admin = self.access.add_user(ADMIN.email, ADMIN.token)
        self._routes = _routes()
        self._server = make_server(
            "127.0.0.1", 0, self._wsgi, threaded=True, request_handler=_Quiet
        )
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Stop serving: later connections are refused."""
        self._server.shutdown()
        self._server.server_close()

    # --- faults and what was asked ----------------------------------------------------------

    def fault(self, method, path, **how):
        """Let something happen to coming requests; see `Fault`."""
        return self.faults.add(Fault(method, path, **how))

    def asked(self, method, path):
        """How many requests came with this method and path."""
        return self.requests.count((method, path))

    # --- what people do ---------------------------------------------------------------------

    def api(self, method, path, **kwargs):
        """One request as the administrator; its JSON answer, or None. DemoError from 400 on."""
        headers = {"Authorization": f"{SESSION} {self.access.session}"}
        answer = requests.request(method, self.url + path, headers=headers, **kwargs)
        if answer.status_code >= 400:
            raise DemoError(f"{method} {path} gave {answer.status_code}: {answer.text[:800]}")
        return answer.json() if answer.content else None

    def create_project(self, title, label_config, **fields):
        body = {"title": title, "label_config": label_config, **fields}
        return self.api("POST", "/api/projects/", json=body)["id"]

    def upload(self, project, files):
        parts = [(path.name, (path.name, path.read_bytes())) for path in files]
        return self.api("POST", f"/api/projects/{project}/import", files=parts)["task_count"]

    def connect_backend(self, project, url, title, auth=None):
        return self.api("POST", "/api/ml", json=model_form(project, url, title, auth))["id"]

    def start_training(self, backend):
        return self.api("POST", f"/api/ml/{backend}/train")

    def create_user(self, email):
        with self.records.lock:
            user = self.access.add_user(email)
        return Login(email, "", user.token)

    def personal_token(self, login):
        with self.records.lock:
            users = self.records.users.values()
            return self.access.personal_token(next(u for u in users if u.email == login.email))

    def allow_legacy_tokens(self, allowed):
        self.access.legacy = allowed

    # --- one request ------------------------------------------------------------------------

    def _wsgi(self, environ, start_response):
        request, began = Request(environ), time.monotonic()
        self.requests.append((request.method, request.path))
        fault = self.faults.take(request)
        if fault is not None and fault.before is not None:
            fault.before()
        pause(fault)
        if fault is not None and fault.status is not None:
            response = _json(fault.status, {"detail": fault.detail})
        else:
            response = self._answer(request)
        for observer in self.observers:
            observer(Exchange.of(request, began, response))
        if fault is not None and fault.after is not None:
            fault.after()
        if fault is not None and fault.cut:
            request.get_data()
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        request.close()  # the files of a form
        return response(environ, start_response)

    def _answer(self, request):
        """The real answer."""
        try:
            function, values = self._routes.bind_to_environ(request.environ).match()
            open_ = request.path in OPEN
            header = request.headers.get("Authorization", "")
            user = None if open_ else self.access.user_of(header)
            status, body = function(self._call(request, user), **values)
        except Refused as refused:
            return _json(refused.status, refused.body)
        except HTTPException as error:
            return Response("<!doctype html>", error.code, content_type="text/html")
        except Exception:
            logging.getLogger(__name__).exception("%s %s", request.method, request.path)
            raise
        if isinstance(body, bytes):
            return Response(body, status, content_type="image/png")
        return _json(status, body)

    def _call(self, request, user):
        files = [(f.filename, f.read()) for part in request.files.listvalues() for f in part]
        data = b"" if files else request.get_data()
        body = json.loads(data) if data else {}
        return Call(self, user, request.args.to_dict(), body, tuple(files))


def _json(status, body):
    data = b"" if body is None else json.dumps(body).encode()
    return Response(data, status, content_type="application/json")


def _routes():
    """All calls that are known."""
    rules = []

    def route(method, path, function):
        rules.append(Rule(path, methods=[method], endpoint=function))

    route("GET", "/health/", lambda call: (200, {"status": "UP"}))
    route("GET", "/api/version/", lambda call: (200, {"release": VERSION}))
    route("GET", "/api/current-user/whoami/", lambda call: (200, call.user.row()))
    route("POST", "/api/token/refresh/", _refresh)
    for module in (projects, labelling, callbacks, tabs):
        module.add_routes(route)
    return Map(rules, strict_slashes=False)


def _refresh(call):
    """POST /api/token/refresh/: an access token for a personal one."""
    with call.records.lock:
        return 200, {"access": call.studio.access.refresh(call.body.get("refresh", ""))}
