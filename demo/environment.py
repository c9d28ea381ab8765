"""Starts the demonstration's environment: a real Label Studio with a project, and the backend."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.label_studio.new_project import label_config
from demo.backend_process import BACKEND_USER, Backend
from demo.dataset import Dataset, load_dataset
from demo.options import ROOT, Options
from demo.studio import LabelStudio, Login, free_port
from demo.waiting import wait_for


@dataclass(frozen=True)
class Environment:
    """A running Label Studio with a project, and a backend that is connected to it."""

    studio: LabelStudio
    backend: Backend
    project: int  # id in Label Studio
    backend_id: int  # id of the ML backend in Label Studio
    people: tuple[Login, ...]  # one account for each annotator
    dataset: Dataset
    control: str  # a key of CONTROLS

    def current(self) -> dict[str, Any]:
        """The current project from Label Studio."""
        found: dict[str, Any] = self.studio.api("GET", f"/api/projects/{self.project}")
        return found

    def order(self, version: str) -> dict[int, float]:
        """Task id -> score of a version, read back from Label Studio."""
        rows = self.studio.api("GET", "/api/predictions", params={"project": self.project})
        rows = rows if isinstance(rows, list) else rows["results"]
        return {row["task"]: row["score"] for row in rows if row["model_version"] == version}


@contextlib.contextmanager
def start(options: Options, say: Callable[[str], None]) -> Iterator[Environment]:
    """Start all parts in the order in which a person would, and stop them at the end.

    Args:
        options: the options of the run.
        say: called with a line for people at each part.
    """
    say("Preparing pictures")
    dataset = load_dataset(options)
    folder = options.folder / "run"
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    say("Starting Label Studio (half a minute on an idle machine, minutes on a busy one)")
    executable = ROOT / ".venv-studio" / "bin" / "label-studio"
    template = ROOT / ".cache" / "studio-template"
    data, port = folder / "label-studio", options.studio_port
    with LabelStudio(executable, data, template=template, port=port) as studio:
        second = studio.create_user("second@demo.example", "demo-second-1")
        others = len(dataset.held_out)
        more = f"; {others} more only measure the model" if others else ""
        say(f"Importing {len(dataset.pool)} pictures{more}")
        project = _create_project(studio, dataset, options.labels)
        say("Starting the backend")
        backend = _backend(options, folder / "backend", studio.url)
        try:
            backend.start()
            say("Connecting the backend, as Settings > Model does")
            login = (BACKEND_USER, backend.password)
            backend_id = studio.connect_backend(project, backend.url, "TAUDIS", login)
            people = (studio.admin, second)
            environment = Environment(
                studio, backend, project, backend_id, people, dataset, options.labels
            )
            _wait_for_first_order(environment)
            say("Round 1 made the first order, which is random; the first training is round 2")
            yield environment
        finally:
            say(f"Ending Label Studio, {studio.url}, and the backend, {backend.url}")
            backend.stop()


def _create_project(studio: LabelStudio, dataset: Dataset, control: str) -> int:
    """Create a project with the pool's pictures. Returns its id."""
    title = f"TAUDIS demo: {dataset.name}"[:50]
    project = studio.create_project(title, label_config(dataset.label_map, control))
    files = [dataset.folder / dataset.samples.file_names[row] for row in dataset.pool]
    studio.upload(project, files)
    return project


def _backend(options: Options, data: Path, studio_url: str) -> Backend:
    """The backend with the demonstration's settings, not yet started."""
    settings = {
        "BUDGET": str(options.budget),
        "BLANK_SHARE": str(options.blank_share),
        "POLL_SECONDS": "10",
        "CONTROL_SHARE": str(options.control_share),
        "LABEL_STUDIO_URL": studio_url,
    }
    return Backend(data, options.backend_port or free_port(), settings)


def _wait_for_first_order(environment: Environment) -> None:
    """Wait until the project has the first order, which is published before any model exists."""

    def published() -> bool:
        return str(environment.current()["model_version"]).startswith("taudis-")

    wait_for(published, 300, "the first order")
