"""Sets the stage: pictures with truth, a real Label Studio, accounts, a project, the backend."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from backend.settings import setting_names
from demo import pictures
from demo.studio import DemoError, LabelStudio, Login, free_port
from taudis.cli.coco_check import open_labelled
from taudis.data.coco import CocoSamples
from taudis.errors import DataError
from taudis.types import LabelMap

ROOT = Path(__file__).resolve().parents[1]
BACKEND_USER = "label-studio"
CONTROLS = {"brush": "BrushLabels", "polygon": "PolygonLabels", "rectangle": "RectangleLabels"}
COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324", "#808000")


@dataclass(frozen=True)
class Cast:
    """The pictures of a demonstration: a pool to label, and a held-out set that nobody labels."""

    samples: CocoSamples  # all of them
    label_map: LabelMap
    folder: Path
    pool: tuple[int, ...]  # rows of `samples`
    held_out: tuple[int, ...]
    name: str


@dataclass(frozen=True)
class Options:
    """What the environment asked for."""

    auto: bool
    folder: Path  # working folder of the run
    data: Path | None  # COCO file; None generates pictures
    images: Path | None
    labels: str = "brush"
    crowds: str = "ask"  # what objects of iscrowd 1 in `data` are: objects, ignore, or ask
    pool_size: int = 150
    held_out_size: int = 60
    budget: int = 16
    rounds: int = 4
    studio_port: int | None = None
    backend_port: int | None = None


def cast_of(options: Options) -> Cast:
    """Generate the pictures, or take a COCO data set, and hold some out.

    Pictures are shuffled by a hash of their file names, so that every run has the same split. What
    of a data set cannot be used is told on stderr.

    Raises DemoError for a data set that cannot be used as it is.
    """
    if options.data is None:
        count = options.pool_size + options.held_out_size
        folder = options.folder / f"pictures-{count}"
        truth = folder / "instances.json"
        if not truth.exists():
            pictures.generate(folder, count, seed=0)
        images, name = folder / "images", "generated pictures"
    else:
        truth, images = options.data, options.images or options.data.parent / "images"
        name = options.data.parent.name or options.data.stem
    label_map, samples = _truth(truth, images, options.crowds)
    rows = sorted(range(len(samples)), key=lambda row: _hash(samples.file_names[row]))
    held_out = min(options.held_out_size, len(rows) // 3)
    pool = rows[held_out : held_out + options.pool_size]
    return Cast(samples, label_map, images, tuple(pool), tuple(rows[:held_out]), name)


def _truth(file: Path, images: Path, crowds: str) -> tuple[LabelMap, CocoSamples]:
    """A COCO file after the check that `python -m taudis train` makes."""
    try:
        checked = open_labelled(file, images, crowds, skip_bad=True)
    except DataError as error:
        raise DemoError(str(error).replace("--crowds ", "DEMO_CROWDS=")) from error
    return checked.label_map, checked.samples


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def label_config(label_map: LabelMap, control: str) -> str:
    """A labelling config with one control tag and every label."""
    tag = CONTROLS[control]
    labels = "\n".join(
        f'    <Label value="{_escaped(name)}" background="{COLOURS[row % len(COLOURS)]}"/>'
        for row, name in enumerate(label_map.names)
    )
    return (
        f'<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
        f'  <{tag} name="tag" toName="image">\n{labels}\n  </{tag}>\n</View>'
    )


def _escaped(text: str) -> str:
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), ('"', "&quot;")):
        text = text.replace(character, entity)
    return text


class Backend:
    """The backend's two processes, started as the README says (`python -m backend serve`)."""

    def __init__(self, data: Path, port: int, environment: dict[str, str]) -> None:
        self.data, self.port = data, port
        self.url = f"http://127.0.0.1:{port}"
        self.password = secrets.token_urlsafe(12)
        self.log = data / "backend.log"
        # Settings of the shell that runs the demonstration are not meant for it.
        foreign = setting_names()
        self._environment = {
            **{name: value for name, value in os.environ.items() if name not in foreign},
            "MODEL_DIR": str(data),
            "PORT": str(port),
            "BASIC_AUTH_USER": BACKEND_USER,
            "BASIC_AUTH_PASS": self.password,
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, within: float = 120) -> None:
        """Start it and wait for /health. Raises DemoError with the end of its log."""
        self.data.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "backend", "serve"],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        atexit.register(self.stop)

        def healthy() -> bool:
            if self._process is None or self._process.poll() is not None:
                raise DemoError(f"The backend ended:\n{self.log.read_text()[-2000:]}")
            with contextlib.suppress(requests.RequestException):
                return requests.get(f"{self.url}/health", timeout=2).ok
            return False

        wait_for(healthy, within, f"the backend at {self.url}/health")

    def stop(self) -> None:
        """End the whole process group."""
        process, self._process = self._process, None
        if process is None:
            return
        for end, patience in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, end)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=patience)
        atexit.unregister(self.stop)

    @property
    def running(self) -> bool:
        """Whether it lives."""
        return self._process is not None and self._process.poll() is None


@dataclass
class Stage:
    """Everything that a demonstration runs on."""

    studio: LabelStudio
    backend: Backend
    project: int
    backend_id: int
    people: tuple[Login, ...]
    cast: Cast
    control: str

    def current(self) -> dict[str, Any]:
        """The project as Label Studio has it now."""
        found: dict[str, Any] = self.studio.api("GET", f"/api/projects/{self.project}")
        return found

    def order(self, version: str) -> dict[int, float]:
        """Task id -> score of a version, read back from Label Studio."""
        rows = self.studio.api("GET", "/api/predictions", params={"project": self.project})
        rows = rows if isinstance(rows, list) else rows["results"]
        return {row["task"]: row["score"] for row in rows if row["model_version"] == version}


def wait_for(check: Callable[[], bool], within: float, what: str, *, pause: float = 0.3) -> None:
    """Wait until a check is true. Raises DemoError when time is over."""
    limit = time.monotonic() + within
    while not check():
        if time.monotonic() > limit:
            raise DemoError(f"Waited {within:.0f} s in vain for {what}.")
        time.sleep(pause)


@contextlib.contextmanager
def set_stage(options: Options, say: Callable[[str], None]) -> Iterator[Stage]:
    """Start all parts, in the order in which a person would; stop all of them at the end."""
    say("Preparing pictures")
    cast = cast_of(options)
    state = options.folder / "run"
    if state.exists():
        shutil.rmtree(state)
    state.mkdir(parents=True)
    say("Starting Label Studio")
    executable = ROOT / ".venv-studio" / "bin" / "label-studio"
    template = ROOT / ".cache" / "studio-template"
    with LabelStudio(
        executable, state / "label-studio", template=template, port=options.studio_port
    ) as studio:
        second = studio.create_user("second@demo.example", "demo-second-1")
        project = studio.create_project(
            f"TAUDIS demo: {cast.name}"[:50], label_config(cast.label_map, options.labels)
        )
        say(f"Importing {len(cast.pool)} pictures")
        studio.upload(project, [cast.folder / cast.samples.file_names[r] for r in cast.pool])
        say("Starting the backend")
        backend = Backend(
            state / "backend",
            options.backend_port or free_port(),
            {
                "BUDGET": str(options.budget),
                "POLL_SECONDS": "10",
                "LABEL_STUDIO_URL": studio.url,
            },
        )
        try:
            backend.start()
            say("Connecting the backend, as Settings > Model does")
            backend_id = studio.connect_backend(
                project, backend.url, "TAUDIS", (BACKEND_USER, backend.password)
            )
            stage = Stage(
                studio, backend, project, backend_id, (studio.admin, second), cast, options.labels
            )
            wait_for(
                lambda: str(stage.current()["model_version"]).startswith("taudis-"),
                90,
                "the first order",
            )
            yield stage
        finally:
            backend.stop()
