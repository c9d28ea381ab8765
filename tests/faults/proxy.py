"""An HTTP proxy in front of a Label Studio that records every request with its begin and end."""

import http.client
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.fake_label_studio.server import Exchange

KEPT_OUT = {"connection", "transfer-encoding", "content-length", "server", "date", "keep-alive"}


class RecordingProxy:
    """Hands requests on to `target`. A context manager.

    observers: called with each answered request, an `Exchange` with times in seconds since 1970.
    A request whose sender is killed goes on to Label Studio if all of it has come.
    """

    def __init__(self, target):
        self.target, self.observers = urlsplit(target), []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
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

    def answer(self, method, path, headers, body):
        """Label Studio's answer: status, headers, bytes. Observed."""
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


def _handler(proxy):
    class Handler(BaseHTTPRequestHandler):
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
            headers = {k: v for k, v in self.headers.items() if k.lower() not in KEPT_OUT}
            status, given, data = proxy.answer(self.command, self.path, headers, body or None)
            self.send_response(status)
            for name, value in given:
                if name.lower() not in KEPT_OUT:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def __getattr__(self, name):
            if name.startswith("do_"):  # of every method
                return self._hand_on
            raise AttributeError(name)

        def log_message(self, *_):
            pass

    return Handler
