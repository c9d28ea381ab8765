"""A small web server on loopback that answers in JSON, for the tests of Label Studio's client."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LEGACY = "5ecre7" + "a" * 34
"""A legacy access token as Label Studio makes them."""


def send(handler, status, body=b"", headers=None):
    """Answer a request. `body` is sent as JSON unless it is bytes."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


class JsonServer:
    """A server whose subclass answers with `respond(handler)`, one thread a connection."""

    protocol = "HTTP/1.1"

    def __init__(self):
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = server.protocol

            def answer(self):
                server.respond(self)

            do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
