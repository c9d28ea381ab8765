"""Fixtures: a real Label Studio, a backend that is not connected yet, and headless Chromium."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from backend.label_studio.new_project import label_config
from demo.backend_process import Backend
from demo.dataset import Dataset, load_dataset
from demo.options import Options
from demo.studio import LabelStudio
from tests.browser.pages import Pages

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = "/usr/bin/chromium"  # Debian's; `make browser` installs it
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Label Studio's pages ask for tips and fonts elsewhere; nothing leaves this machine
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
BUDGET = 12
QUICK = {
    "BUDGET": str(BUDGET),
    "POLL_SECONDS": "2",
    "MAX_STEPS": "120",
    # So short a training gives low scores. With a lower threshold, dozens of masks slow the page.
    "SCORE_THRESHOLD": "0.2",
    "OMP_NUM_THREADS": "1",
    "NICE": "0",
}


@dataclass
class Site:
    """A project with pictures and their truth, and a backend that is not connected yet."""

    studio: LabelStudio
    backend: Backend
    project: int
    dataset: Dataset


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="package")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelStudio]:
    log = tmp_path_factory.mktemp("studio") / "label-studio.log"
    executable = ROOT / ".venv-studio/bin/label-studio"
    with LabelStudio(executable, template=ROOT / ".cache/studio-template", log=log) as server:
        yield server


@pytest.fixture(scope="module")
def site(studio: LabelStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    dataset = load_dataset(Options(False, folder, None, None, pool_size=40, held_out_size=0))
    project = studio.create_project("Browser test", label_config(dataset.label_map, "brush"))
    studio.upload(
        project, [dataset.folder / dataset.samples.file_names[row] for row in dataset.pool]
    )
    environment = {**QUICK, "LABEL_STUDIO_URL": studio.url}
    backend = Backend(folder / "backend", _free_port(), environment)
    try:
        backend.start()
        yield Site(studio, backend, project, dataset)
    finally:
        backend.stop()


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS])
        yield browser
        browser.close()


@pytest.fixture
def pages(
    chromium: Browser, studio: LabelStudio, request: pytest.FixtureRequest
) -> Iterator[Callable[[int], Pages]]:
    """A function that makes the pages of one project, in a browser without a login."""
    made: list[Pages] = []

    def make(project: int) -> Pages:
        made.append(Pages(chromium, studio.url, project))
        return made[-1]

    yield make
    for each in made:
        each.close(f"{request.node.name}-end")
