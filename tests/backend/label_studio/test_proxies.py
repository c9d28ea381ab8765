"""The environment's proxies, and tokens and bodies that no request can carry."""

import pytest

from backend.errors import SettingsError, StudioRejected
from backend.label_studio.http import Transport
from tests.backend.label_studio.json_server import LEGACY, JsonServer, send

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


class Recorder(JsonServer):
    """Answers {"id": 1} and keeps the first line of each request."""

    def __init__(self):
        self.lines = []
        super().__init__()

    def respond(self, handler):
        self.lines.append(handler.path)
        send(handler, 200, {"id": 1})


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def read(url):
    transport = Transport(url, LEGACY, timeout=2.0, patience=2.0)
    return transport.call("GET", "/api/projects/1/", what="Reading project 1")


@pytest.mark.parametrize("form", ["http://{host}", "{host}"])
def test_a_proxy_gets_the_request_with_or_without_a_scheme(form, monkeypatch):
    with Recorder() as proxy:
        monkeypatch.setenv("HTTP_PROXY", form.format(host=proxy.url.removeprefix("http://")))
        assert read("http://studio.example:8080") == {"id": 1}
        assert proxy.lines == ["http://studio.example:8080/api/projects/1/"]


def test_a_host_of_no_proxy_is_asked_directly(monkeypatch):
    with Recorder() as proxy, Recorder() as studio:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        assert read(studio.url) == {"id": 1}
        assert proxy.lines == [] and studio.lines == ["/api/projects/1/"]


def test_a_proxy_of_another_kind_is_named_with_what_to_do(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy.example:1080")
    with pytest.raises(SettingsError, match=r"expected http://host:port .* NO_PROXY"):
        read("http://studio.example:8080")


@pytest.mark.parametrize("token", ["two parts", "a\nb", "a\x00b", "é"])
def test_a_token_that_no_header_carries_is_refused_and_not_repeated(token):
    with pytest.raises(SettingsError, match="LABEL_STUDIO_API_KEY") as refused:
        Transport("http://studio.example", token, timeout=1.0, patience=1.0)
    assert token not in str(refused.value)


def test_numbers_that_json_has_not_are_a_refusal_and_nothing_is_sent():
    with Recorder() as studio:
        transport = Transport(studio.url, LEGACY, timeout=1.0, patience=1.0)
        with pytest.raises(StudioRejected, match="Posting: expected finite numbers"):
            transport.call("POST", "/api/x/", what="Posting", body={"score": float("nan")})
        assert studio.lines == []
