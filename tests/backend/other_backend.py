"""Another ML backend, which people connect beside ours or in its place."""

from tests.backend.label_studio.json_server import JsonServer, send


class OtherBackend(JsonServer):
    """An ML backend that is not ours. It keeps the Authorization headers it gets ('' for none)."""

    def __init__(self):
        super().__init__()
        self.credentials = set()

    def respond(self, handler):
        self.credentials.add(handler.headers.get("Authorization", ""))
        handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        send(handler, 200, {"status": "UP", "model_version": "other-1", "results": []})
