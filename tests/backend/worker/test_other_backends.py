"""Another ML backend of the same project is never taken for ours, whatever a person does."""

from urllib.parse import urlsplit

import pytest

from tests.backend.local_loop import PASSWORD, USER
from tests.backend.other_backend import OtherBackend


@pytest.fixture
def other():
    with OtherBackend() as server:
        yield server


def connect_other(project, other):
    """Connect the other backend; its id, and the webhook that Label Studio makes for it."""
    backend = project.loop.studio.connect_backend(project.id, other.url, "Other", None)
    return backend, hook_of(project, other)


def hook_of(project, other):
    (hook,) = [hook for hook in project.hooks() if hook["url"].startswith(other.url)]
    return hook


@pytest.mark.parametrize("first", ["removed", "connected"])
def test_a_removed_project_is_not_connected_anew_by_another_backend(loop, other, first):
    project = loop.project(3)
    if first == "removed":
        project.remove_backend()
        loop.turn()
    _, hook = connect_other(project, other)
    if first == "connected":
        project.remove_backend()
    version = project.version()
    for _ in range(3):
        loop.turn()
    assert loop.store.project(project.id).state.disconnected
    assert project.current()["sampling"] == "Sequential sampling"
    assert project.version() == ("" if first == "connected" else version)
    assert project.hooks() == [hook]
    project.label_some(1)  # Label Studio posts to the webhook
    assert other.credentials == {""}


def test_connect_adds_our_row_beside_another_backend(loop, other):
    project = loop.project(3, connect=False)
    theirs, hook = connect_other(project, other)
    printed = project.cli("connect", BACKEND_URL=loop.url)
    rows = {row["id"]: row["url"] for row in project.client.ml_backends(project.id)}
    (ours,) = set(rows) - {theirs}
    assert rows == {theirs: other.url, ours: loop.url}
    assert f"ML backend {ours};" in printed
    loop.turn()
    assert project.version().startswith("taudis-")
    assert project.current()["sampling"] == "Uncertainty sampling"
    assert hook_of(project, other) == hook
    assert other.credentials == {""}


def test_an_address_of_ours_in_another_spelling_is_ours(loop):
    project = loop.project(3, connect=False)
    address = urlsplit(loop.url)
    typed = f"HTTP://{address.netloc}/"
    loop.studio.connect_backend(project.id, typed, "TAUDIS", (USER, PASSWORD))
    loop.turn()
    assert project.version().startswith("taudis-")
