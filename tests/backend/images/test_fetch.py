"""Images of other hosts: who may be asked, where the token goes, limits, TLS."""

import socket
import ssl
import time
import zlib

import pytest

from backend.errors import ImageError, StudioUnreachable
from backend.images.fetch import Fetcher, ImageLimits
from backend.label_studio.addresses import split_address
from tests.backend.images.servers import (
    RED,
    is_red,
    redirect,
    send,
    serve,
)  # fmt: skip


@pytest.mark.fault("F8", "refused", "token")
def test_another_host_is_fetched_only_if_allowed_and_never_with_the_token(
    stranger, source, figures
):
    url = f"{stranger.url}/red.png"
    with pytest.raises(ImageError, match="ALLOWED_IMAGE_HOSTS"):
        source().load(url)
    with pytest.raises(ImageError, match="private address"):
        source(allowed_hosts=("*",)).load(url)
    assert stranger.seen == []
    for hosts in (("*",), ("127.0.0.2",)):
        assert is_red(source(allowed_hosts=hosts, allow_private=True).load(url))
    assert all("canary" not in str(headers) for _, headers in stranger.seen)
    figures(addresses=1, leaks=0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.fault("F8", "token")
def test_the_token_stays_at_label_studio_when_it_redirects(
    studio, stranger, source, status, figures
):
    studio.routes["/data/upload/1/away.png"] = redirect(f"{stranger.url}/red.png", status)
    images = source(allowed_hosts=("127.0.0.2",), allow_private=True)
    assert is_red(images.load("/data/upload/1/away.png"))
    assert "canary" not in str(stranger.seen)
    figures(addresses=1, leaks=0)


@pytest.mark.fault("F8", "token")
def test_another_port_of_label_studios_host_gets_no_token(source, figures):
    with serve("127.0.0.1") as other:
        other.routes["/data/upload/1/red.png"] = send(RED)
        images = source(allowed_hosts=("127.0.0.1",), allow_private=True)
        assert is_red(images.load(f"{other.url}/data/upload/1/red.png"))
        assert "canary" not in str(other.seen)
        with pytest.raises(ImageError, match="not allowed"):
            source().load(f"{other.url}/data/upload/2/red.png")
    figures(addresses=1, leaks=0)


@pytest.mark.fault("F8", "refused", "token")
def test_every_redirect_is_judged_anew(studio, stranger, source, figures):
    stranger.routes["/to-file"] = redirect("file:///etc/passwd")
    stranger.routes["/to-meta"] = redirect("http://169.254.169.254/latest/meta-data")
    stranger.routes["/to-user"] = redirect("http://a:b@127.0.0.2/red.png")
    stranger.routes["/to-api"] = redirect(f"{studio.url}/api/current-user/token")
    stranger.routes["/loop"] = redirect("/loop")
    images = source(allowed_hosts=("127.0.0.2",), allow_private=True)
    for path, says in (
        ("/to-file", "http or https"),
        ("/to-meta", "not allowed"),
        ("/to-user", "user name"),
        ("/to-api", "no address of an image"),
        ("/loop", "more than 5"),
    ):
        with pytest.raises(ImageError, match=says):
            images.load(stranger.url + path)
    assert studio.seen == []
    figures(addresses=5, fetched=0, leaks=0)


EVIL = [
    "file:///etc/passwd",
    "FILE:///etc/passwd",
    "/etc/passwd",
    "../../etc/passwd",
    "etc/passwd",
    "//127.0.0.2/red.png",
    "ftp://127.0.0.2/red.png",
    "gopher://127.0.0.2/",
    "http://",
    "http:///red.png",
    "http://127.0.0.2:99999/red.png",
    "http://127.0.0.2:x/red.png",
    "http://[::1/red.png",
    "http://user:canary@127.0.0.1/red.png",
    "http://127.0.0.1\\@127.0.0.2/red.png",
    "http://127.0.0.2/a\r\nAuthorization: x",
    "http://127.0.0.2/\x00",
    "javascript:alert(1)",
    "data:image/png;base64,!!!!",
    "data:text/html,<b>x</b>",
    "data:nothing",
    "https://127.0.0.2/red.png",
    "\ud800",
    "http://\ud800/",
]


@pytest.mark.parametrize("value", EVIL)
@pytest.mark.fault("F8", "refused")
def test_nothing_is_fetched_from_an_evil_address(studio, stranger, source, value, figures):
    with pytest.raises(ImageError) as caught:
        source(local_root=None).load(value)
    assert "canary" not in str(caught.value)
    assert studio.seen == [] and stranger.seen == []
    figures(addresses=1, fetched=0, leaks=0)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "0.0.0.0", "169.254.169.254", "10.0.0.1", "192.168.1.1",
        "172.16.0.1", "100.64.0.1", "2130706433", "0x7f.1", "[::1]", "[::]", "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "192.0.0.1", "[2002:7f00:1::]",
        "[fe80::1]", "[fd00::1]", "224.0.0.1",
    ],
)  # fmt: skip
@pytest.mark.fault("F8", "refused")
def test_private_addresses_in_any_spelling_are_refused(source, host, figures):
    with pytest.raises(ImageError, match=r"private address|resolved"):
        source(allowed_hosts=("*",), timeout_s=0.5).load(f"http://{host}:1/red.png")
    figures(addresses=1, fetched=0)


def test_link_local_needs_its_own_name_even_where_private_is_allowed(source):
    images = source(allowed_hosts=("*",), allow_private=True, timeout_s=0.5)
    with pytest.raises(ImageError, match="private address"):
        images.load("http://169.254.169.254/latest/meta-data")


@pytest.mark.fault("F8", "refused")
def test_a_name_that_resolves_to_a_private_address_is_refused(
    source, stranger, monkeypatch, figures
):
    port = stranger.server_port
    real = socket.getaddrinfo

    def lookup(host, *args, **kwargs):
        return real("127.0.0.2" if host == "images.example" else host, *args, **kwargs)

    monkeypatch.setattr("backend.images.fetch.socket.getaddrinfo", lookup)
    url = f"http://images.example:{port}/red.png"
    with pytest.raises(ImageError, match="private address"):
        source(allowed_hosts=("*",)).load(url)
    assert is_red(source(allowed_hosts=("*.example",), allow_private=True).load(url))
    assert stranger.seen[0][1]["Host"] == f"images.example:{port}"
    figures(addresses=1, fetched=0)


def test_the_connection_goes_to_the_judged_address_though_the_name_moves(
    source, stranger, monkeypatch
):
    """DNS rebinding: the second look-up of a name must not be asked."""
    real, asked = socket.getaddrinfo, []

    def lookup(host, *args, **kwargs):
        if host == "rebind.example":
            asked.append(host)
            return real("127.0.0.2" if len(asked) == 1 else "127.0.0.1", *args, **kwargs)
        return real(host, *args, **kwargs)

    monkeypatch.setattr("backend.images.fetch.socket.getaddrinfo", lookup)
    images = source(allowed_hosts=("rebind.example",), allow_private=True)
    assert is_red(images.load(f"http://rebind.example:{stranger.server_port}/red.png"))
    assert len(asked) == 1


@pytest.mark.parametrize("at_studio", [True, False])
def test_the_next_address_of_a_name_is_asked_where_nobody_listens_at_the_first(
    studio, source, monkeypatch, at_studio
):
    """A stock hosts file names ::1 before 127.0.0.1, and many a server listens on IPv4 alone."""
    asked = resolve_to(monkeypatch, "::1", "127.0.0.1")
    url = f"http://both.example:{studio.server_port}"
    images = source(url if at_studio else None, allowed_hosts=("*",), allow_private=True)
    assert is_red(images.load(f"{url}/data/upload/1/red.png"))
    assert asked == ["both.example"]
    assert ("Authorization" in studio.seen[0][1]) is at_studio


def test_an_address_that_does_not_answer_leaves_time_for_the_next(source, stranger, monkeypatch):
    resolve_to(monkeypatch, "127.0.0.3", "127.0.0.2")
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.3", stranger.server_port))
        full.listen(0)
        for waiting in (first, second):  # no room for one more: Linux drops what comes then
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        images = source(allowed_hosts=("*",), allow_private=True, timeout_s=1.0)
        assert is_red(images.load(f"http://both.example:{stranger.server_port}/red.png"))


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
@pytest.mark.fault("F8", "refused")
def test_a_name_with_one_private_address_of_several_is_refused(
    source, stranger, monkeypatch, order, figures
):
    resolve_to(monkeypatch, *["8.8.8.8", "127.0.0.2"][order])
    with pytest.raises(ImageError, match="private address"):
        source(allowed_hosts=("*",)).load(f"http://both.example:{stranger.server_port}/red.png")
    assert stranger.seen == []
    figures(addresses=1, fetched=0)


def resolve_to(monkeypatch, *addresses):
    """Let both.example have these addresses, in this order. Returns the look-ups of that name."""
    real, asked = socket.getaddrinfo, []

    def lookup(host, *args, **kwargs):
        if host != "both.example":
            return real(host, *args, **kwargs)
        asked.append(host)
        return [entry for each in addresses for entry in real(each, *args, **kwargs)]

    monkeypatch.setattr("backend.images.fetch.socket.getaddrinfo", lookup)
    return asked


# --- limits -----------------------------------------------------------------------------------


def test_a_file_over_the_limit_is_refused_by_its_length_or_while_it_comes(studio, source):
    studio.routes["/data/upload/1/big.png"] = send(RED * 1000)
    with pytest.raises(ImageError, match="too large"):
        source(max_bytes=1000).load("/data/upload/1/big.png")

    def endless(handler):
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b"x" * 65536)

    studio.routes["/data/upload/1/endless.png"] = endless
    with pytest.raises(ImageError, match="too large"):
        source(max_bytes=1_000_000).load("/data/upload/1/endless.png")


@pytest.mark.parametrize("where", ["head", "body"])
def test_bytes_that_drip_in_end_at_the_time_limit(studio, source, where):
    def drip(handler):
        if where == "body":
            handler.send_response(200)
            handler.end_headers()
        else:
            handler.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
        for _ in range(100):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.05)

    studio.routes["/data/upload/1/slow.png"] = drip
    start = time.monotonic()
    with pytest.raises((ImageError, StudioUnreachable), match="too long"):
        source(timeout_s=0.5).load("/data/upload/1/slow.png")
    assert time.monotonic() - start < 4  # all bytes would take 5


def test_a_body_cut_short_is_an_error_of_the_image(studio, source):
    studio.routes["/data/upload/1/cut.png"] = send(RED[:20], Content_Length=str(len(RED)))
    with pytest.raises(ImageError, match="20 of"):
        source(timeout_s=0.5).load("/data/upload/1/cut.png")


def test_a_body_compressed_once_more_is_refused(studio, source):
    studio.routes["/data/upload/1/z.png"] = send(zlib.compress(RED), Content_Encoding="deflate")
    with pytest.raises(ImageError, match="Content-Encoding"):
        source().load("/data/upload/1/z.png")


def test_addresses_with_spaces_and_umlauts_are_quoted():
    assert (
        split_address("http://host/ä b.png?c=d e").geturl() == "http://host/%C3%A4%20b.png?c=d%20e"
    )


def test_an_ip6_host_and_a_default_port_in_the_host_header():
    from backend.images.connection import _host_header

    assert _host_header(split_address("https://b.s3.example/x")) == "b.s3.example"
    assert _host_header(split_address("https://b.s3.example:443/x")) == "b.s3.example"
    assert _host_header(split_address("http://[::1]:8080/x")) == "[::1]:8080"


SELF_SIGNED = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgtwpLJTMneeubrYl2
h71zbtQ4dJ12BID4b2oXqjyniEmhRANCAAQxI7ZVETuEccViqC6cGaSS0tkXsO2J
UmMPIOyXw4j5HbZDoK2MVV4Wgib+H5TNubRKl5Qo+gy6R7EszRIuTTzy
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBkDCCATagAwIBAgIUegm/dRUmxNMxa3/HNUgb4vEDP04wCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJMTI3LjAuMC4yMCAXDTI2MTEyNjIzMTEzN1oYDzIxMjYxMTAy
MjMxMTM3WjAUMRIwEAYDVQQDDAkxMjcuMC4wLjIwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQxI7ZVETuEccViqC6cGaSS0tkXsO2JUmMPIOyXw4j5HbZDoK2MVV4W
gib+H5TNubRKl5Qo+gy6R7EszRIuTTzyo2QwYjAdBgNVHQ4EFgQUWRtjKcWWNWmi
sE2OHdRaNqKy5SUwHwYDVR0jBBgwFoAUWRtjKcWWNWmisE2OHdRaNqKy5SUwDwYD
VR0RBAgwBocEfwAAAjAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUC
IEnZjSUcN+cRC+vdnnYkUSvGm+fsAkDJPjr1/QcNNpCcAiEAp2DNOdcexqEFEOtt
m5jZZ4i7+KLNCVjQY8d/AiUgoIw=
-----END CERTIFICATE-----
"""
"""A key and its certificate for 127.0.0.2, made for this test and used nowhere else."""


@pytest.mark.parametrize("trusted", [False, True])
def test_tls_certificates_are_checked(tmp_path, monkeypatch, trusted):
    bundle = tmp_path / "self-signed.pem"
    bundle.write_text(SELF_SIGNED)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    if trusted:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(bundle)
    with serve("127.0.0.2", tls=context) as server:
        server.routes["/red.png"] = send(RED)
        fetcher = Fetcher(
            "http://127.0.0.1:1",
            dict,
            ImageLimits(timeout_s=2, allowed_hosts=("127.0.0.2",), allow_private=True),
        )
        url = f"https://127.0.0.2:{server.server_port}/red.png"
        if trusted:
            assert fetcher.get(url) == RED
        else:
            with pytest.raises(ImageError, match=r"TLS.*CERTIFICATE_VERIFY_FAILED"):
                fetcher.get(url)
            assert server.seen == []  # nothing was asked of a server that could not be checked
