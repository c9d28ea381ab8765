"""One real Label Studio for every test of this folder, started from a migrated template.

The folder is a package so that it ends with its last test: a worker that polls would go on taking
half a core from whatever runs next.
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
    """A running server; make projects of your own in it and leave its settings as they are."""
    log = tmp_path_factory.mktemp("studio") / "label-studio.log"
    with LabelStudio(EXECUTABLE, template=TEMPLATE, log=log) as server:
        yield server


@pytest.fixture(scope="package")
def new_project(studio: LabelStudio) -> Callable[..., int]:
    """Makes an empty project with a brush config (or the one given) and a title of its own."""
    numbers = count(1)

    def make(label_config: str = BRUSH, **fields: object) -> int:
        return studio.create_project(f"Project {next(numbers)}", label_config, **fields)

    return make


@pytest.fixture(scope="package")
def add_tasks(studio: LabelStudio) -> Callable[[int, int], list[int]]:
    """Imports tasks without files (`/data/upload/none/<i>.jpg`); their ids, ascending."""

    def add(project: int, number: int) -> list[int]:
        rows = [{"data": {"image": f"/data/upload/none/{i}.jpg"}} for i in range(number)]
        path = f"/api/projects/{project}/import?return_task_ids=true"
        return sorted(studio.api("POST", path, json=rows)["task_ids"])

    return add


@pytest.fixture(scope="package")
def loop(studio: LabelStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """One backend for many projects: rounds of seconds, that start at Start Training alone."""
    made = Loop(studio, tmp_path_factory.mktemp("loop"))
    try:
        made.start_web()
        made.start_worker()
        yield made
    finally:
        made.close()
