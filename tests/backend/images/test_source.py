"""Real servers on loopback, one in the role of Label Studio, one of a stranger."""

import base64
import io
import os
import socket
import ssl
import threading
import time
import zlib
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from backend.errors import ImageError, StudioAuthError, StudioUnreachable
from backend.images.cache import FileCache
from backend.images.decode import decode_image
from backend.images.fetch import Fetcher, ImageLimits, split
from backend.images.source import ImageSource

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


def is_red(pixels):
    return pixels.dtype == np.uint8 and pixels.shape == (6, 8, 3) and (pixels == [255, 0, 0]).all()


# --- Label Studio's own addresses -------------------------------------------------------------


def test_an_upload_is_fetched_with_the_token_once_then_cached(studio, source):
    images = source()
    assert is_red(images.load("/data/upload/1/red.png"))
    assert is_red(images.load(" /data/upload/1/red.png "))
    assert len(studio.seen) == 1
    assert studio.seen[0][1]["Authorization"] == TOKEN


def test_the_full_address_of_label_studio_is_its_own_too(studio, source):
    assert is_red(source().load(f"{studio.url}/data/upload/1/red.png"))
    assert studio.seen[0][1]["Authorization"] == TOKEN


def test_label_studio_below_a_prefix(studio, source):
    studio.routes["/ls/data/upload/1/red.png"] = send(RED)
    images = source(f"{studio.url}/ls/")
    assert is_red(images.load("/data/upload/1/red.png"))
    assert is_red(images.load("/ls/data/upload/1/red.png"))


# --- Label Studio's public name ---------------------------------------------------------------

PUBLIC = "http://label-studio.invalid:8080"  # nothing answers there: it must not be asked


def test_an_image_under_the_public_name_is_asked_from_label_studio(studio, source):
    with pytest.raises(ImageError, match=r"'label-studio\.invalid' .*not allowed"):
        source().load(f"{PUBLIC}/data/upload/1/red.png")
    images = source(public_url=PUBLIC)
    assert is_red(images.load(f"{PUBLIC}/data/upload/1/red.png"))
    assert studio.seen[0][1]["Authorization"] == TOKEN


def test_the_default_name_of_label_studio_counts_where_it_is_the_public_one(studio, source):
    images = source(public_url="http://localhost:8080")
    assert is_red(images.load("http://localhost:8080/data/upload/1/red.png"))
    for other in ("http://localhost:8081", "https://localhost:8080", "http://localhost"):
        with pytest.raises(ImageError, match="not allowed"):
            images.load(f"{other}/data/upload/1/red.png")


def test_prefixes_of_both_names_are_exchanged(studio, source):
    studio.routes["/ls/data/upload/1/red.png"] = send(RED)
    images = source(f"{studio.url}/ls", public_url=f"{PUBLIC}/label/")
    assert is_red(images.load(f"{PUBLIC}/label/data/upload/1/red.png"))
    for path in ("/labels/data/upload/1/red.png", "/data/upload/1/red.png"):
        with pytest.raises(ImageError, match="not allowed"):
            images.load(PUBLIC + path)


def test_other_images_under_the_public_name_go_by_the_allowed_hosts(studio, stranger, source):
    """A proxy may serve them beside Label Studio under one name; the token stays at home."""
    listed = {"allowed_hosts": ("127.0.0.2",), "allow_private": True}
    images = source(public_url=stranger.url, **listed)
    assert is_red(images.load(f"{stranger.url}/red.png"))
    assert is_red(images.load(f"{stranger.url}/data/upload/1/red.png"))
    assert [path for path, _ in stranger.seen] == ["/red.png"]
    assert "Authorization" not in stranger.seen[0][1]
    assert [path for path, _ in studio.seen] == ["/data/upload/1/red.png"]
    with pytest.raises(ImageError, match="no address of an image on Label Studio"):
        source(public_url=stranger.url).load(f"{stranger.url}/other.png")


def test_a_redirect_to_the_public_name_stays_at_label_studio(studio, source):
    studio.routes["/tasks/7/resolve/"] = redirect(f"{PUBLIC}/data/upload/1/red.png")
    assert is_red(source(public_url=PUBLIC).load("/tasks/7/resolve/?fileuri=aGk="))
    assert [path for path, _ in studio.seen][1] == "/data/upload/1/red.png"


@pytest.mark.parametrize(
    "path", ["/api/users/", "/user/login", "/data/../api/users", "/data/%2e%2e/api/users"]
)
def test_the_public_name_opens_no_other_path(studio, source, path):
    with pytest.raises(ImageError, match="no address of an image"):
        source(public_url=PUBLIC).load(PUBLIC + path)
    assert studio.seen == []


@pytest.mark.parametrize("status", [301, 307])
def test_the_token_stays_when_the_public_name_redirects_to_a_stranger(
    studio, stranger, source, status
):
    studio.routes["/data/away"] = redirect(f"{stranger.url}/red.png", status)
    images = source(public_url=PUBLIC, allowed_hosts=("127.0.0.2",), allow_private=True)
    assert is_red(images.load(f"{PUBLIC}/data/away"))
    assert "Authorization" not in stranger.seen[0][1]


def test_a_local_file_under_the_public_name_is_read_directly(tmp_path, studio, source):
    (tmp_path / "red.png").write_bytes(RED)
    images = source(local_root=tmp_path, public_url=PUBLIC)
    assert is_red(images.load(f"{PUBLIC}/data/local-files/?d=red.png"))
    assert studio.seen == []
    for broken in ("http://label-studio.invalid:99999/a.png", "http://[::1/a.png"):
        with pytest.raises(ImageError, match="not a valid address"):
            images.load(broken)


def test_a_cloud_address_goes_through_label_studios_resolver(studio, stranger, source):
    def resolve(handler):
        encoded = handler.path.partition("fileuri=")[2]
        asked.append(base64.urlsafe_b64decode(encoded).decode())
        redirect(f"{stranger.url}/red.png?X-Amz-Signature=s", 303)(handler)

    asked = []
    studio.routes["/tasks/7/resolve/"] = resolve
    images = source(allowed_hosts=("127.0.0.2",), allow_private=True)
    assert is_red(images.load("s3://bucket/a b.png", task=7))
    assert asked == ["s3://bucket/a b.png"]
    assert "Authorization" not in stranger.seen[0][1]
    assert stranger.seen[0][1]["Host"] == stranger.url.removeprefix("http://")
    with pytest.raises(ImageError, match="resolve_uri"):
        images.load("gs://bucket/a.png")


def test_a_resolver_may_not_send_us_to_a_private_address_by_itself(studio, stranger, source):
    studio.routes["/tasks/7/resolve/"] = redirect(f"{stranger.url}/red.png", 303)
    with pytest.raises(ImageError, match="private address"):
        source().load("/tasks/7/resolve/?fileuri=YQ==")
    assert stranger.seen == []


@pytest.mark.parametrize(
    "path",
    [
        "/api/current-user/token", "/user/logout", "/", "/admin/", "/tasks/7/", "/databases/x",
        "/data/../api/projects", "/data/%2e%2e/api/projects", "/data/upload/..%2f..%2fapi",
    ],
)  # fmt: skip
def test_a_task_cannot_make_us_call_the_rest_of_label_studio(studio, source, path):
    with pytest.raises(ImageError, match="no address of an image"):
        source().load(path)
    assert studio.seen == []


def test_errors_of_one_image_and_outages_of_label_studio_are_told_apart(studio, source):
    for status in (400, 403, 404, 410, 424, 500):
        studio.routes["/data/upload/1/gone.png"] = send(b"", status)
        with pytest.raises(ImageError, match=str(status)):
            source().load("/data/upload/1/gone.png")
    studio.routes["/data/upload/1/gone.png"] = send(b"", 401)
    with pytest.raises(StudioAuthError):
        source().load("/data/upload/1/gone.png")
    studio.routes["/data/upload/1/gone.png"] = send(b"", 503)
    with pytest.raises(StudioUnreachable):
        source(timeout_s=0.5).load("/data/upload/1/gone.png")
    studio.routes["/health"] = send(b"{}")  # it is up: only this one object's storage is not
    with pytest.raises(ImageError, match="503"):
        source(timeout_s=0.5).load("/data/upload/1/gone.png")
    studio.routes["/data/local-files/"] = send(b"", 403)
    with pytest.raises(ImageError, match="LOCAL_FILES_SERVING_ENABLED"):
        source().load("/data/local-files/?d=a.png")


def test_label_studio_that_is_not_there_is_unreachable(source):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(StudioUnreachable):
        source(url, timeout_s=0.5).load("/data/upload/1/red.png")


def test_a_hiccup_is_retried(studio, source):
    answers = [send(b"", 503), send(RED)]
    studio.routes["/data/upload/1/hic.png"] = lambda handler: answers.pop(0)(handler)
    assert is_red(source().load("/data/upload/1/hic.png"))


# --- strangers --------------------------------------------------------------------------------


def test_another_host_is_fetched_only_if_allowed_and_never_with_the_token(stranger, source):
    url = f"{stranger.url}/red.png"
    with pytest.raises(ImageError, match="ALLOWED_IMAGE_HOSTS"):
        source().load(url)
    with pytest.raises(ImageError, match="private address"):
        source(allowed_hosts=("*",)).load(url)
    assert stranger.seen == []
    for hosts in (("*",), ("127.0.0.2",)):
        assert is_red(source(allowed_hosts=hosts, allow_private=True).load(url))
    assert all("canary" not in str(headers) for _, headers in stranger.seen)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_token_stays_at_label_studio_when_it_redirects(studio, stranger, source, status):
    studio.routes["/data/upload/1/away.png"] = redirect(f"{stranger.url}/red.png", status)
    images = source(allowed_hosts=("127.0.0.2",), allow_private=True)
    assert is_red(images.load("/data/upload/1/away.png"))
    assert "canary" not in str(stranger.seen)


def test_another_port_of_label_studios_host_gets_no_token(source):
    with serve("127.0.0.1") as other:
        other.routes["/data/upload/1/red.png"] = send(RED)
        images = source(allowed_hosts=("127.0.0.1",), allow_private=True)
        assert is_red(images.load(f"{other.url}/data/upload/1/red.png"))
        assert "canary" not in str(other.seen)
        with pytest.raises(ImageError, match="not allowed"):
            source().load(f"{other.url}/data/upload/2/red.png")


def test_every_redirect_is_judged_anew(studio, stranger, source):
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
def test_nothing_is_fetched_from_an_evil_address(studio, stranger, source, value):
    with pytest.raises(ImageError) as caught:
        source(local_root=None).load(value)
    assert "canary" not in str(caught.value)
    assert studio.seen == [] and stranger.seen == []


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "0.0.0.0", "169.254.169.254", "10.0.0.1", "192.168.1.1",
        "172.16.0.1", "100.64.0.1", "2130706433", "0x7f.1", "[::1]", "[::]", "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fe80::1]", "[fd00::1]", "224.0.0.1",
    ],
)  # fmt: skip
def test_private_addresses_in_any_spelling_are_refused(source, host):
    with pytest.raises(ImageError, match=r"private address|resolved"):
        source(allowed_hosts=("*",), timeout_s=0.5).load(f"http://{host}:1/red.png")


def test_link_local_needs_its_own_name_even_where_private_is_allowed(source):
    images = source(allowed_hosts=("*",), allow_private=True, timeout_s=0.5)
    with pytest.raises(ImageError, match="private address"):
        images.load("http://169.254.169.254/latest/meta-data")


def test_a_name_that_resolves_to_a_private_address_is_refused(source, stranger, monkeypatch):
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


# --- local files and data: --------------------------------------------------------------------


def test_local_files_are_read_directly_and_never_outside_the_root(tmp_path, studio, source):
    root = tmp_path / "root"
    (root / "a b").mkdir(parents=True)
    (root / "a b" / "red.png").write_bytes(RED)
    (tmp_path / "secret.png").write_bytes(RED)
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    os.mkfifo(root / "pipe.png")
    images = source(local_root=root)
    assert is_red(images.load("/data/local-files/?d=a%20b/red.png"))
    assert is_red(images.load(f"{studio.url}/data/local-files/?d=/a b/red.png"))
    for path in ("../secret.png", "a b/../../secret.png", "link.png", "%2e%2e/secret.png"):
        with pytest.raises(ImageError, match="outside"):
            images.load(f"/data/local-files/?d={path}")
    assert studio.seen == []
    studio.routes["/data/local-files/"] = send(RED)
    for path in ("elsewhere.png", "pipe.png"):  # not (a file) here: Label Studio may have it
        assert is_red(images.load(f"/data/local-files/?d={path}"))
    with pytest.raises(ImageError, match="path is not usable"):
        images.load("/data/local-files/?d=%00")
    with pytest.raises(ImageError, match="larger than"):
        source(local_root=root, max_bytes=10).load("/data/local-files/?d=a b/red.png")


def test_an_image_in_the_task_itself(source):
    encoded = base64.b64encode(RED).decode()
    assert is_red(source().load(f"data:image/png;base64,{encoded}"))
    with pytest.raises(ImageError, match="at most 10 bytes"):
        source(max_bytes=10).load(f"data:image/png;base64,{encoded}")


BASE64 = base64.b64encode(RED).decode()


@pytest.mark.parametrize(
    "value",
    [
        f"data:image/png;base64,{BASE64[:60]}\n{BASE64[60:90]}\r\n\t {BASE64[90:]}\n",
        f"data:image/png;base64,%0A{BASE64[:60]}%20{BASE64[60:]}",
        f"data:image/png;base64, {BASE64.rstrip('=')}",
        f"DATA:image/png; BASE64 ,{BASE64}",
        f"data:;base64,{BASE64}",
        f"data:image/png;charset=utf-8;base64,{BASE64}#part",
        "data:image/png," + "".join(f"%{byte:02x}" for byte in RED),
    ],
)
def test_a_data_address_is_read_as_browsers_read_it(source, value):
    assert is_red(source().load(value))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (BASE64[:-4] + "-_==", "write . and /"),
        (BASE64 + "A", "cut short"),
        (BASE64 + "====", "cut short"),
        ("ä" + BASE64, "cut short"),
    ],
)
def test_a_data_address_that_browsers_do_not_show_is_refused(source, body, says):
    with pytest.raises(ImageError, match=f"not valid base64.*{says}"):
        source().load(f"data:image/png;base64,{body}")


@pytest.mark.parametrize("value", [None, 3, "", "  ", ["a"]])
def test_what_is_no_text_is_refused(source, value):
    with pytest.raises(ImageError, match="Expected an image address"):
        source().load(value)


# --- the cache --------------------------------------------------------------------------------


def test_the_cache_is_bounded_and_drops_the_longest_unused(tmp_path):
    cache = FileCache(tmp_path / "c", 1000)
    for key in range(20):
        cache.put(str(key), bytes(100))
        os.utime(cache._path(str(key)), (key, key))
    kept = [key for key in range(20) if cache.get(str(key)) is not None]
    assert 8 <= len(kept) <= 10 and kept == list(range(20 - len(kept), 20))
    cache.put("huge", bytes(2000))
    assert cache.get("huge") is None
    assert not [path for path in (tmp_path / "c").iterdir() if path.name.startswith(".new")]


def test_a_damaged_cache_entry_is_fetched_again(studio, source):
    images = source()
    images.load("/data/upload/1/red.png")
    (entry,) = images.cache.folder.iterdir()
    entry.write_bytes(RED[:30])
    assert is_red(images.load("/data/upload/1/red.png"))
    assert entry.read_bytes() == RED and len(studio.seen) == 2


def test_a_cache_that_cannot_be_written_costs_only_a_warning(studio, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    images = ImageSource(studio.url, dict, tmp_path / "file" / "cache", ImageLimits())
    assert is_red(images.load("/data/upload/1/red.png"))
    assert "cannot be written" in caplog.text


def test_many_threads_share_one_source(studio, source):
    images, results = source(), []
    threads = [
        threading.Thread(target=lambda: results.append(images.load("/data/upload/1/red.png")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8 and all(map(is_red, results))


# --- decoding ---------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_the_formats_that_browsers_show(format):
    pixels = decode_image(picture(color=(250, 0, 0), format=format), MAX)
    assert pixels.shape == (6, 8, 3) and abs(int(pixels[0, 0, 0]) - 250) < 8


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (picture("L", color=77), [77, 77, 77]),
        (picture("1", color=1), [255, 255, 255]),
        (picture("LA", color=(0, 0)), [255, 255, 255]),
        (picture("RGBA", color=(255, 0, 0, 255)), [255, 0, 0]),
        (picture("RGBA", color=(255, 0, 0, 0)), [255, 255, 255]),
        (picture("P", color=0), [0, 0, 0]),
        (picture("I;16", color=0x8001), [128, 128, 128]),
        (picture("I;16", color=200), [200, 200, 200]),  # by its range: 8 bits hold it
        (picture("F", color=42.0, format="TIFF"), [42, 42, 42]),
        (picture("CMYK", color=(0, 0, 0, 0), format="JPEG"), [255, 255, 255]),
        (picture("RGB", (1, 1), color=(1, 2, 3)), [1, 2, 3]),
        (picture("RGB", (20_000, 10), color=(1, 2, 3)), [1, 2, 3]),
    ],
)
def test_every_pixel_mode_becomes_rgb(data, expected):
    pixels = decode_image(data, MAX)
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
    assert np.abs(pixels[0, 0].astype(int) - expected).max() <= 1
    assert pixels.flags.writeable


def test_an_animation_shows_its_first_frame():
    frames = [Image.new("RGB", (8, 6), color) for color in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    assert is_red(decode_image(buffer.getvalue(), MAX))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_browsers_do(orientation):
    upright = np.zeros((40, 60, 3), np.uint8)
    upright[:20, :20] = 255  # a white top left corner
    back = {1: 0, 2: "flip", 3: 2, 4: "flip2", 5: "t", 6: 1, 7: "t2", 8: 3}[orientation]
    stored = {
        "flip": upright[:, ::-1],
        "flip2": upright[::-1],
        "t": upright.transpose(1, 0, 2),
        "t2": upright[::-1, ::-1].transpose(1, 0, 2),
    }.get(back) if isinstance(back, str) else np.rot90(upright, back)  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(stored)).save(buffer, "JPEG", exif=exif, quality=95)
    pixels = decode_image(buffer.getvalue(), MAX)
    assert pixels.shape == (40, 60, 3)
    assert pixels[10, 10].min() > 200 and pixels[30, 50].max() < 50 and pixels[10, 50].max() < 50


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow on damaged tags
def test_a_damaged_exif_block_is_ignored():
    data = picture(format="JPEG", color=(255, 0, 0), exif=b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff")
    assert decode_image(data, MAX).shape == (6, 8, 3)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"\x00" * 100, "not an image"),
        (b"<!DOCTYPE html><html>login", "web page"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b'{"detail": "no"}', "JSON"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "EPS, which is not read"),
    ],
)
def test_what_cannot_be_decoded_is_refused_with_a_reason(data, says):
    with pytest.raises(ImageError, match=says):
        decode_image(data, MAX)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_picture_above_the_limit_is_refused_before_its_pixels_are_decoded(format, monkeypatch):
    data = picture("RGB", (60, 40), format=format)
    assert decode_image(data, 2400).shape == (40, 60, 3)
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("pixels were decoded"))
    with pytest.raises(ImageError, match=r"60 x 40 px, at most 2399 px .* MAX_IMAGE_PIXELS"):
        decode_image(data, 2399)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow on damaged tags
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_file_cut_anywhere_is_refused_or_whole(format):
    rng = np.random.default_rng(1)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (40, 50, 3), np.uint8)).save(buffer, format)
    data = buffer.getvalue()
    refused = 0
    for length in range(1, len(data), max(len(data) // 60, 1)):
        try:
            assert decode_image(data[:length], MAX).shape == (40, 50, 3)
        except ImageError:
            refused += 1
    assert refused >= 50


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow on damaged tags
def test_random_damage_never_does_more_than_raise_image_error():
    rng = np.random.default_rng(2)
    for format in ("PNG", "JPEG", "WEBP", "GIF", "TIFF"):
        whole = picture(size=(30, 20), color=(10, 200, 30), format=format)
        for _ in range(150):
            data = bytearray(whole)
            for place in rng.integers(0, len(data), 3):
                data[place] = int(rng.integers(0, 256))
            try:
                decode_image(bytes(data), 1_000_000)
            except ImageError:
                continue


def test_addresses_with_spaces_and_umlauts_are_quoted():
    assert split("http://host/ä b.png?c=d e").geturl() == "http://host/%C3%A4%20b.png?c=d%20e"


def test_an_ip6_host_and_a_default_port_in_the_host_header():
    from backend.images.fetch import _host_header

    assert _host_header(split("https://b.s3.example/x")) == "b.s3.example"
    assert _host_header(split("https://b.s3.example:443/x")) == "b.s3.example"
    assert _host_header(split("http://[::1]:8080/x")) == "[::1]:8080"


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
