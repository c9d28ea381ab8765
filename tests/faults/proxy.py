"""An HTTP proxy in front of a Label Studio that records every request with its begin and end."""

import contextlib
import http.client
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.fake_label_studio.server import Exchange

KEPT_OUT = {"connection", "transfer-encoding", "content-length", "server", "date", "keep-alive"}


ANSWERS = {
    "401": (401, {}), "403": (403, {}), "404": (404, {}), "429": (429, {"Retry-After": "1"}),
    "500": (500, {}), "502": (502, {}),
}  # fmt: skip
FAULTS = (*ANSWERS, "down", "half", "silent")
"""What can become of a request: an answer of such a status that Label Studio never gave, no
connection, half of Label Studio's answer, or none at all for SILENT_SECONDS."""
SILENT_SECONDS = 120.0


class RecordingProxy:
    """Hands requests on to `target`. A context manager.

    observers: called with each answered request, an `Exchange` with times in seconds since 1970.
    A request whose sender is killed goes on to Label Studio if all of it has come.
    fault_of: called with method, path and Authorization header of each request; one of FAULTS, or
        "" for none.
    silent_s: seconds of a silence.
    faults: (fault, method, path) of every fault that happened. asked: when each request came,
    monotonic seconds.
    """

    def __init__(self, target):
        self.target, self.observers = urlsplit(target), []
        self.fault_of, self.silent_s = lambda method, path, token: "", SILENT_SECONDS
        self.faults, self.asked = [], []
        self._under_way, self._change = 0, threading.Condition()
        self._server = ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": self})
        )
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wait_until_quiet(self):
        """Wait until no request is under way, also of a sender that is gone."""
        with self._change:
            assert self._change.wait_for(lambda: not self._under_way, 120)

    @contextlib.contextmanager
    def _counted(self):
        with self._change:
            self._under_way += 1
        try:
            yield
        finally:
            with self._change:
                self._under_way -= 1
                self._change.notify_all()

    def answer(self, method, path, headers, body):
        """Label Studio's answer: status, headers, bytes. Observed."""
        with self._counted():
            return self._answered(method, path, headers, body)

    def _answered(self, method, path, headers, body):
        began = time.time()
        connection = http.client.HTTPConnection(self.target.hostname, self.target.port, timeout=120)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            data = response.read()
        finally:
            connection.close()
        exchange = Exchange(
            method, urlsplit(path).path, headers.get("Authorization", ""), _json(body),
            response.status, _json(data), began, time.time(),
        )  # fmt: skip
        for observer in self.observers:
            observer(exchange)
        return response.status, response.getheaders(), data


def _json(data):
    """Decoded JSON, or None for anything else."""
    try:
        return json.loads(data) if data else None
    except ValueError:
        return None


class _Handler(BaseHTTPRequestHandler):
    """Answers the requests of one `proxy`, which a class of its own names."""

    proxy = None
    protocol_version = "HTTP/1.1"

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except OSError:  # the sender was killed
            self.close_connection = True

    def _hand_on(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        self.proxy.asked.append(time.monotonic())
        token = self.headers.get("Authorization", "")
        fault = self.proxy.fault_of(self.command, self.path, token)
        if fault:
            self.proxy.faults.append((fault, self.command, self.path))
        if fault in ANSWERS:
            status, named = ANSWERS[fault]
            self._send(status, named.items(), b"<html>an error</html>")
            return
        if fault in ("down", "silent"):
            if fault == "silent":  # the fault itself: no answer for longer than the client waits
                time.sleep(self.proxy.silent_s)  # the fault itself: an answer that does not come
            self._break_off()
            return
        headers = {k: v for k, v in self.headers.items() if k.lower() not in KEPT_OUT}
        status, given, data = self.proxy.answer(self.command, self.path, headers, body or None)
        self._send(status, given, data, half=fault == "half")

    def _send(self, status, headers, data, half=False):
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in KEPT_OUT:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if half else data)
        if half:
            self._break_off()

    def _break_off(self):
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def __getattr__(self, name):
        if name.startswith("do_"):  # of every method
            return self._hand_on
        raise AttributeError(name)

    def log_message(self, *_):
        pass
