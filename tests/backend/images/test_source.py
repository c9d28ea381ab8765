"""Images of Label Studio: uploads, its public name, cloud storage, local files, data: addresses."""

import base64
import os
import socket
import time

import pytest

from backend.errors import ImageError, StudioAuthError, StudioUnreachable
from tests.backend.images.servers import (
    PUBLIC,
    RED,
    TOKEN,
    is_red,
    picture,
    redirect,
    send,
)  # fmt: skip


def test_an_upload_is_fetched_with_the_token_once_then_cached(studio, source):
    images = source()
    assert is_red(images.load("/data/upload/1/red.png"))
    assert is_red(images.load(" /data/upload/1/red.png "))
    assert len(studio.seen) == 1
    assert studio.seen[0][1]["Authorization"] == TOKEN


def test_a_file_that_took_the_address_of_another_is_fetched_where_a_newer_one_is_asked_for(
    studio, source, caplog
):
    images, path = source(), "/data/upload/1/red.png"
    images.load(path)
    studio.routes[path] = send(picture(color=(0, 0, 255)))
    assert is_red(images.load(path)) and is_red(images.load(path, since=time.time() - 3600))
    assert images.load(path, since=time.time())[0, 0].tolist() == [0, 0, 255]
    assert len(studio.seen) == 2
    studio.routes[path] = send(b"", 404)
    assert images.load(path, since=time.time())[0, 0].tolist() == [0, 0, 255]
    assert "the file fetched earlier is used" in caplog.text and "404" in caplog.text


def test_the_full_address_of_label_studio_is_its_own_too(studio, source):
    assert is_red(source().load(f"{studio.url}/data/upload/1/red.png"))
    assert studio.seen[0][1]["Authorization"] == TOKEN


def test_label_studio_below_a_prefix(studio, source):
    studio.routes["/ls/data/upload/1/red.png"] = send(RED)
    images = source(f"{studio.url}/ls/")
    assert is_red(images.load("/data/upload/1/red.png"))
    assert is_red(images.load("/ls/data/upload/1/red.png"))


# --- Label Studio's public name ---------------------------------------------------------------


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


@pytest.mark.slow
def test_a_hiccup_is_retried(studio, source):
    answers = [send(b"", 503), send(RED)]
    studio.routes["/data/upload/1/hic.png"] = lambda handler: answers.pop(0)(handler)
    assert is_red(source().load("/data/upload/1/hic.png"))


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
