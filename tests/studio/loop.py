"""A backend of real processes, and a project in Label Studio with its truth, for studio tests."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass

import requests

from backend.commands.serve import web_command
from backend.label_studio.client import Studio
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.new_project import label_config
from backend.settings import Settings
from backend.store import predictions
from backend.store.database import Store
from demo.annotator import Truth
from demo.pictures import generate
from demo.studio import ADMIN, free_port
from taudis.data.coco import load_coco
from tests.studio.processes import ROOT, Process, wait_for

USER, PASSWORD = "label-studio", "a password"
QUICK = {
    "BUDGET": "4",
    "TRAIN_AFTER": "1000",
    "POLL_SECONDS": "3",
    "MAX_STEPS": "4",
    "VALIDATION_FRACTION": "0.3",
    "SCORE_THRESHOLD": "0.05",
    "OMP_NUM_THREADS": "1",
    "NICE": "0",
}
"""Settings under which a round takes seconds, and only Start Training starts one.

Label Studio spends a fifth of a core on a project that is polled each second."""


class Loop:
    """One backend with a data directory; its web process and worker start and end separately."""

    def __init__(self, studio, data, **settings):
        self.studio, self.data = studio, data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        data.mkdir(parents=True, exist_ok=True)
        self.environment = {
            **os.environ,
            "MODEL_DIR": str(data),
            "PORT": str(self.port),
            "BASIC_AUTH_USER": USER,
            "BASIC_AUTH_PASS": PASSWORD,
            "LABEL_STUDIO_URL": studio.url,
            **QUICK,
            **settings,
        }
        self.store = Store(data)
        self.web = self.worker = None
        self.projects = []  # that `make_project` made

    def start_web(self):
        command = web_command(Settings(port=self.port))
        self.web = Process(command, self.environment, self.data / "web.log")

        def healthy():
            assert self.web.running, self.web.log.read_text()[-3000:]
            with contextlib.suppress(requests.RequestException):
                return requests.get(f"{self.url}/health", timeout=2).ok
            return False

        wait_for(healthy, "the web process")

    def start_worker(self):
        command = [sys.executable, "-m", "backend", "worker"]
        self.worker = Process(command, self.environment, self.data / "worker.log")

    @contextlib.contextmanager
    def frozen_worker(self):
        """Stop the worker by SIGSTOP within the block. It keeps its lease for a minute."""
        os.killpg(self.worker.popen.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.worker.popen.pid, signal.SIGCONT)

    def delete_projects(self):
        """Delete in Label Studio the projects that are left, so that no worker polls them."""
        there = {project["id"] for project in Studio(self.studio.url, ADMIN.token).projects()}
        while self.projects:
            if (project := self.projects.pop()) in there:
                self.studio.api("DELETE", f"/api/projects/{project}/")

    def close(self):
        for process in (self.worker, self.web):
            if process is not None:
                process.end(signal.SIGTERM)
        self.store.close()

    def cli(self, *arguments, well=True, within=120, **settings):
        """Run `python -m backend ...`; its output.

        well: whether it must exit with status 0. within: time limit, seconds.
        """
        done = subprocess.run(
            [sys.executable, "-m", "backend", *arguments],
            cwd=ROOT,
            env={**self.environment, "COLUMNS": "500", **settings},
            capture_output=True,
            text=True,
            timeout=within,
        )
        assert (done.returncode == 0) is well, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        return done.stdout

    def post(self, path, body, session=requests):
        """Post a request as Label Studio does; the decoded response."""
        answer = session.post(f"{self.url}{path}", json=body, auth=(USER, PASSWORD), timeout=100)
        assert answer.ok, answer.text
        return answer.json()


@dataclass
class Work:
    """A project in Label Studio that a backend serves, and the truth of its pictures."""

    loop: Loop
    id: int
    backend: int
    truth: Truth
    client: Studio
    labels: tuple

    # --- what Label Studio holds ------------------------------------------------------------

    def current(self):
        return self.client.project(self.id)

    def version(self):
        return str(self.current()["model_version"] or "")

    def tasks(self):
        return self.client.tasks(self.id)

    def rows(self, version):
        """Every prediction of a version, as Label Studio stores it."""
        api = self.loop.studio.api
        found = api("GET", "/api/predictions", params={"project": self.id})
        found = found if isinstance(found, list) else found["results"]
        return [row for row in found if row["model_version"] == version]

    def order(self, version):
        """Task ids of a version by ascending score, as Label Studio stores them."""
        return [row["task"] for row in sorted(self.rows(version), key=lambda row: row["score"])]

    # --- what people do ---------------------------------------------------------------------

    def label(self, task):
        """Submit the truth of a task; the annotation that Label Studio acknowledged."""
        return self.client.create_annotation(task["id"], self.truth.regions(task["data"]))

    def label_some(self, number):
        """Label the first `number` unlabelled tasks, by id."""
        some = [task for task in self.tasks() if not task["is_labeled"]][:number]
        return [self.label(task) for task in some]

    def label_next(self):
        """Label the task that Label Studio serves; it must be the first of the served order."""
        version = self.version()
        open_ = {task["id"] for task in self.tasks() if not task["is_labeled"]}
        task = self.client.next_task(self.id)
        first = next(id_ for id_ in self.order(version) if id_ in open_)
        assert task["id"] == first
        return self.label(task)

    def start_training(self):
        self.loop.studio.start_training(self.backend)

    # --- what the backend holds -------------------------------------------------------------

    def rounds(self):
        """Rounds, newest first."""
        return self.loop.store.rounds(self.id)

    def ended(self, number=None):
        """The newest round if it has ended and its number is at least `number`, else None."""
        found = self.rounds()
        if not found or found[0].ended is None or (number and found[0].number < number):
            return None
        return found[0]

    def wait_for_round(self, number=None):
        """The round `number` (or newest), ended and not failed."""
        found = wait_for(lambda: self.ended(number), f"round {number}")
        assert found.outcome != "failed", found.message
        return found

    def train(self):
        """Press Start Training; the ended round."""
        number = self.rounds()[0].number + 1
        self.start_training()
        return self.wait_for_round(number)

    def snapshot(self, round_):
        """The snapshot of a round: annotation id -> split."""
        path = self.loop.data / "rounds" / str(self.id) / f"{round_.number:04d}" / "snapshot.json"
        entries = json.loads(path.read_text())["entries"]
        found = {entry["annotation_id"]: entry["split"] for entry in entries}
        assert len(found) == len(entries)
        return found

    def stored_order(self, version):
        """Task ids of a version as the backend stores them."""
        path = predictions.path_of(self.loop.data, self.id, version)
        return [place.task for place in predictions.order(path)]

    def check_whole(self, *, complete=True):
        """Check that the served version has each task once, with rank / N as score; its name.

        complete: whether it must have every open task. One whose label was deleted may lack.
        """
        version = self.version()
        rows = sorted(self.rows(version), key=lambda row: row["score"])
        assert len({row["task"] for row in rows}) == len(rows)
        stored = self.stored_order(version)
        if not complete and (spot := [row for row in rows if row["task"] not in stored]):
            # Label Studio asked for these when somebody opened them: they come behind all others.
            rows = [row for row in rows if row["task"] in stored]
            assert min(row["score"] for row in spot) > rows[-1]["score"]
        assert [row["score"] for row in rows] == [
            (rank + 1) / len(rows) for rank in range(len(rows))
        ]
        assert [row["task"] for row in rows] == stored
        open_ = {task["id"] for task in self.tasks() if not task["is_labeled"]}
        assert not complete or open_ <= {row["task"] for row in rows}
        return version


def make_pictures(folder, number, size=96, names=None, seed=3):
    """Generated pictures; `names` renames their labels."""
    path = generate(folder, number, seed=seed, size=size)
    if names:
        coco = json.loads(path.read_text())
        for category, name in zip(coco["categories"], names, strict=True):
            category["name"] = name
        path.write_text(json.dumps(coco))
    return load_coco(path, folder / "images")


def make_project(
    loop, pictures, title, *, control="brush", connect=True, token=None, part=None, xml=""
):
    """A project with the pictures, connected as the Model page does.

    Args:
        loop: the backend.
        pictures: label map and samples.
        title: of the project.
        control: key of `backend.label_studio.new_project.CONTROLS`; the truth is drawn with it.
        connect: whether to connect the backend and wait for the first order.
        token: access token of the person who labels; None is the administrator's.
        part: number of pictures to upload; None is all.
        xml: labelling config of the project, instead of one with the control alone.
    """
    label_map, samples = pictures
    config = label_config(label_map, control)
    project = loop.studio.create_project(title, xml or config)
    loop.projects.append(project)
    names = samples.file_names[:part]
    loop.studio.upload(project, [samples.images_dir / name for name in names])
    truth = Truth(samples, label_map, parse_label_config(config))
    client = Studio(loop.studio.url, token or ADMIN.token)
    work = Work(loop, project, 0, truth, client, label_map.names)
    if connect:
        connect_backend(work)
        wait_for(lambda: work.version().startswith("taudis-") and work.ended(1), "the first order")
    return work


def connect_backend(work, title="TAUDIS", url=None):
    """Add the backend by the request that the Model page's form sends.

    url: at which Label Studio reaches the backend, if a proxy stands before it.
    """
    studio, url = work.loop.studio, url or work.loop.url
    work.backend = studio.connect_backend(work.id, url, title, (USER, PASSWORD))
