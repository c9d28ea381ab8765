"""Small web servers and pictures for the tests of images.

The servers run on loopback: 127.0.0.1 plays Label Studio, 127.0.0.2 any other host.
"""

import io
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

TOKEN = "Token canary-3f9a"
MAX = 50_000_000


def picture(mode="RGB", size=(8, 6), format="PNG", color=None, **options):
    buffer = io.BytesIO()
    Image.new(mode, size, color if color is not None else 0).save(buffer, format, **options)
    return buffer.getvalue()


RED = picture(color=(255, 0, 0))


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append((self.path, dict(self.headers)))
        self.server.routes[self.path.partition("?")[0]](self)

    def log_message(self, *_):
        pass


def send(body, status=200, **headers):
    def answer(handler):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def redirect(location, status=302):
    return send(b"", status, Location=location)


@contextmanager
def serve(host="127.0.0.1", tls=None):
    server = ThreadingHTTPServer((host, 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.routes, server.seen = {"/health": send(b"", 503)}, []
    server.handle_error = lambda *_: None  # clients that hang up are part of the tests
    server.url = f"http://{host}:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


PUBLIC = "http://label-studio.invalid:8080"  # nothing answers there: it must not be asked


def is_red(pixels):
    return pixels.dtype == np.uint8 and pixels.shape == (6, 8, 3) and (pixels == [255, 0, 0]).all()
