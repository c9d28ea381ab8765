"""The contract suite's two servers: the in-memory Label Studio of the tests, and a real one."""

from itertools import count

import pytest

from backend.label_studio.client import Studio
from demo.studio import ADMIN, LabelStudio
from tests.fake_label_studio import FakeLabelStudio
from tests.studio.conftest import BRUSH, EXECUTABLE, TEMPLATE


@pytest.fixture(scope="session", params=["memory", pytest.param("real", marks=pytest.mark.studio)])
def studio(request, tmp_path_factory):
    """A running server. Tests make projects of their own in it and leave its settings alone."""
    if request.param == "memory":
        with FakeLabelStudio() as server:
            yield server
        return
    log = tmp_path_factory.mktemp("studio") / "label-studio.log"
    with LabelStudio(EXECUTABLE, template=TEMPLATE, log=log) as server:
        yield server


@pytest.fixture(scope="session")
def client(studio):
    """The backend's client with the administrator's token."""
    return Studio(studio.url, ADMIN.token)


@pytest.fixture(scope="session")
def new_project(studio):
    """Makes an empty project with a brush config (or the one given) and a title of its own."""
    numbers = count(1)

    def make(label_config=BRUSH, **fields):
        return studio.create_project(f"Project {next(numbers)}", label_config, **fields)

    return make


@pytest.fixture(scope="session")
def add_tasks(studio):
    """Imports tasks without files (`/data/upload/none/<i>.jpg`); their ids, ascending."""

    def add(project, number):
        rows = [{"data": {"image": f"/data/upload/none/{i}.jpg"}} for i in range(number)]
        path = f"/api/projects/{project}/import?return_task_ids=true"
        return sorted(studio.api("POST", path, json=rows)["task_ids"])

    return add
