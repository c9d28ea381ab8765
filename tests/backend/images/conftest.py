"""Fixtures: Label Studio, another host, and a source of images."""

import pytest

from backend.images.fetch import ImageLimits
from backend.images.source import ImageSource
from tests.backend.images.servers import (
    RED,
    TOKEN,
    send,
    serve,
)  # fmt: skip


@pytest.fixture
def studio():
    with serve() as server:
        server.routes["/data/upload/1/red.png"] = send(RED)
        yield server


@pytest.fixture
def stranger():
    with serve("127.0.0.2") as server:
        server.routes["/red.png"] = send(RED)
        yield server


@pytest.fixture
def source(studio, tmp_path):
    def make(url=None, **limits):
        limits = {"timeout_s": 5.0} | limits
        auth = {"Authorization": TOKEN}
        return ImageSource(
            url or studio.url, lambda: auth, tmp_path / "cache", ImageLimits(**limits)
        )

    return make
