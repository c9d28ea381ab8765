"""One real Label Studio for every test of this folder, started from a migrated template.

Its fixtures end with the last test of the folder, which is a package for that. Otherwise a polling
worker would take half a core from the tests after it.
"""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from demo.studio import LabelStudio
from tests.studio.loop import Loop

ROOT = Path(__file__).resolve().parents[2]
EXECUTABLE = ROOT / ".venv-studio/bin/label-studio"
TEMPLATE = ROOT / ".cache/studio-template"

BRUSH = """<View>
  <Image name="image" value="$image"/>
  <BrushLabels name="tag" toName="image"><Label value="disc"/><Label value="ring"/></BrushLabels>
</View>"""


@pytest.fixture(scope="package")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelStudio]:
    """A running server. Tests make their own projects in it and do not change its settings."""
    log = tmp_path_factory.mktemp("studio") / "label-studio.log"
    with LabelStudio(EXECUTABLE, template=TEMPLATE, log=log) as server:
        yield server


@pytest.fixture(scope="package")
def new_project(studio: LabelStudio) -> Callable[..., int]:
    """A function that makes an empty project with a brush config, or another one."""
    numbers = count(1)

    def make(label_config: str = BRUSH, **fields: object) -> int:
        return studio.create_project(f"Project {next(numbers)}", label_config, **fields)

    return make


@pytest.fixture(scope="package")
def add_tasks(studio: LabelStudio) -> Callable[[int, int], list[int]]:
    """A function that imports tasks without image files; returns their ids, ascending."""

    def add(project: int, number: int) -> list[int]:
        rows = [{"data": {"image": f"/data/upload/none/{i}.jpg"}} for i in range(number)]
        path = f"/api/projects/{project}/import?return_task_ids=true"
        return sorted(studio.api("POST", path, json=rows)["task_ids"])

    return add


@pytest.fixture(scope="package")
def loop(studio: LabelStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """A backend for many projects. Rounds take seconds, and only Start Training starts one."""
    made = Loop(studio, tmp_path_factory.mktemp("loop"))
    try:
        made.start_web()
        made.start_worker()
        _shared.append(made)
        yield made
    finally:
        _shared.clear()
        made.close()


_shared: list[Loop] = []


@pytest.fixture(scope="module", autouse=True)
def _projects_end_with_their_module() -> Iterator[None]:
    """The worker of `loop` asks about each of its projects at every poll, finished or not."""
    yield
    for each in _shared:
        each.delete_projects()
