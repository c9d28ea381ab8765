"""F8: hostile addresses in tasks. Servers on loopback record every request that reaches them."""

import ipaddress
import socket
from contextlib import ExitStack
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pytest

from backend.errors import ImageError, StudioError
from backend.images.fetch import STUDIO_PATHS, ImageLimits
from backend.images.source import ImageSource
from tests.backend.images.servers import RED, TOKEN, picture, redirect, send, serve
from tests.fuzz.hostile_addresses import (
    FRIEND,
    STRANGER_ADDRESS,
    STUDIO_ADDRESS,
    STUDIO_NAME,
    HostileAddresses,
    lookup,
)

GREEN, BLUE = picture(color=(0, 255, 0)), picture(color=(0, 0, 255))
RESERVED = ipaddress.ip_network("192.0.0.0/24")
SETTINGS = {
    "nothing allowed": {},
    "every public host": {"allowed_hosts": ("*",)},
    "a private host": {"allowed_hosts": (FRIEND,), "allow_private": True},
    "private hosts by a pattern": {"allowed_hosts": ("*.evil.example",), "allow_private": True},
}


class Answers(dict):
    """Routes of a server: a picture at every path, or the redirect that the query asks for."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def __missing__(self, path):
        def answer(handler):
            wanted = parse_qs(urlsplit(handler.path).query).get("to")
            location = wanted[0].encode("latin-1", "replace").decode("latin-1") if wanted else ""
            unsafe = not location or set("\r\n") & set(location)
            (send(self.body) if unsafe else redirect(location))(handler)

        return answer


@pytest.fixture
def servers(monkeypatch):
    """Label Studio and a stranger; and every address that a connection was tried to."""
    tried, real_connect = [], socket.create_connection

    def connect(address, *arguments, **more):
        tried.append(address)
        if not ipaddress.ip_address(address[0]).is_loopback:
            raise OSError("not in this test")
        return real_connect(address, *arguments, **more)

    monkeypatch.setattr("backend.images.fetch.socket.getaddrinfo", lookup(socket.getaddrinfo))
    monkeypatch.setattr("backend.images.fetch.socket.create_connection", connect)
    monkeypatch.setattr("backend.images.fetch.Fetcher._studio_answers", lambda _: True)
    with ExitStack() as stack:
        studio = stack.enter_context(serve(STUDIO_ADDRESS))
        stranger = stack.enter_context(serve(STRANGER_ADDRESS))
        studio.routes, stranger.routes = Answers(RED), Answers(GREEN)
        yield studio, stranger, tried


def wrong_at_studio(seen):
    """Requests to Label Studio that are not for an image."""
    paths = (path.partition("?")[0] for path, _ in seen)
    return [p for p in paths if not STUDIO_PATHS.match(p) or ".." in unquote(p).split("/")]


def may_be_tried(address, port, limits, studio_port):
    """Whether the settings allow a connection."""
    if address == STUDIO_ADDRESS:
        return port == studio_port
    if address == STRANGER_ADDRESS:
        return limits.allow_private
    found = ipaddress.ip_address(address)
    return "*" in limits.allowed_hosts and found.is_global and found not in RESERVED


@pytest.mark.slow
@pytest.mark.fault("F8")
@pytest.mark.parametrize("name", SETTINGS)
def test_hostile_addresses_reach_nothing_and_the_token_goes_home(
    servers, tmp_path, figures, full, name
):
    studio, stranger, tried = servers
    secret = tmp_path / "secret.png"
    secret.write_bytes(BLUE)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link.png").symlink_to(secret)
    limits = ImageLimits(timeout_s=0.5, local_root=tmp_path / "root", **SETTINGS[name])
    url = f"http://{STUDIO_NAME}:{studio.server_port}"
    images = ImageSource(
        url, lambda: {"Authorization": TOKEN}, tmp_path / "cache", limits, max_cache_bytes=0
    )
    corpus = HostileAddresses(
        sorted(SETTINGS).index(name), studio_port=studio.server_port,
        stranger_port=stranger.server_port, secret=str(secret),
    )  # fmt: skip
    number, read, outside = 25_000 if full else 2_500, 0, []
    for _ in range(number):
        address = corpus.one()
        try:
            pixels = images.load(address, task=7)
        except (ImageError, StudioError) as error:
            assert "canary" not in str(error)
            continue
        read += 1
        outside += [address] if (pixels == np.array([0, 0, 255])).all() else []
    leaks = [path for path, headers in stranger.seen if "canary" in str(headers)]
    allowed = limits.allow_private
    fetched = [*outside, *wrong_at_studio(studio.seen), *([] if allowed else stranger.seen)]
    fetched += [each for each in tried if not may_be_tried(*each, limits, studio.server_port)]
    hosts = {headers["Host"].partition(":")[0] for _, headers in stranger.seen}
    fetched += [host for host in hosts if not images.fetcher._listed(host.rstrip("."))]
    figures(
        addresses=number, read=read, leaks=len(leaks), fetched=len(fetched),
        with_token=sum("Authorization" in headers for _, headers in studio.seen),
    )  # fmt: skip
    assert not leaks and not fetched, (leaks[:3], fetched[:3])
    assert read > 0 and studio.seen
    assert bool(stranger.seen) == allowed
