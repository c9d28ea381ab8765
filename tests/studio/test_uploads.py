"""The client lists more uploaded tasks than Label Studio's database can return in one query."""

import pytest
from PIL import Image

from backend.label_studio.client import Studio
from backend.label_studio.listings import PAGE
from demo.studio import ADMIN
from tests.studio.loop import PASSWORD, USER
from tests.studio.processes import wait_for

pytestmark = pytest.mark.studio

UPLOADS = 1010
"""Label Studio 1.23.2 answers 500 to a page of 999 uploads: SQLite's expressions are 1,000 deep."""


@pytest.fixture(scope="module")
def project(studio, new_project, tmp_path_factory):
    """Pictures of 8 x 8 px, uploaded as the Import page does it."""
    folder = tmp_path_factory.mktemp("uploads")
    files = [folder / f"{number:04d}.png" for number in range(UPLOADS)]
    for number, file in enumerate(files):
        Image.new("RGB", (8, 8), (number % 256, number // 256, 90)).save(file)
    made = new_project()
    assert studio.upload(made, files) == UPLOADS
    return made


def test_a_page_that_is_too_large_shrinks_and_every_task_is_read(studio, project, monkeypatch):
    monkeypatch.setitem(PAGE, "tasks", 2000)
    client = Studio(studio.url, ADMIN.token)
    listed = client.tasks(project)
    assert len({task["id"] for task in listed}) == len(listed) == UPLOADS
    assert [task["id"] for task in listed] == sorted(task["id"] for task in listed)
    assert client.pages.size("tasks") == 500
    assert "Expression tree is too large" in client.pages.notice


def test_usual_pages_are_answered(studio, project):
    client = Studio(studio.url, ADMIN.token)
    newest = client.newest_change(project)
    listed = client.tasks(project)
    assert len(listed) == UPLOADS
    assert max(task["updated_at"] for task in listed) == newest
    assert client.tasks_touched_since(project, newest) == []
    assert client.pages.notice == ""


@pytest.mark.slow
def test_it_gets_its_order(studio, project, loop):
    client = Studio(studio.url, ADMIN.token)
    studio.connect_backend(project, loop.url, "TAUDIS", (USER, PASSWORD))
    version = wait_for(
        lambda: (v := str(client.project(project)["model_version"])).startswith("taudis-") and v,
        "the first order",
    )
    assert client.model_versions(project)[version] == UPLOADS
