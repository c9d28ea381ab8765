"""The backend in this process, on an in-memory Label Studio.

The web app is served over HTTP, so that webhooks and /setup reach it as in production. The worker
runs by turns instead of threads: a test decides what happens between two turns.
"""

import io
import logging
import os
import re
import shutil
import threading
from unittest import mock

import numpy as np
from PIL import Image
from typer.testing import CliRunner
from werkzeug.serving import WSGIRequestHandler, make_server

from backend import __main__ as command_line
from backend.label_studio.client import Studio
from backend.label_studio.regions.brush import encode_rle
from backend.settings import load_settings
from backend.store import predictions
from backend.store.database import Store
from backend.web.app import create_app
from backend.worker.worker import Worker
from demo.studio import ADMIN
from taudis.detector.card import read_card
from tests.backend.worker.round_cases import CONFIG
from tests.fake_label_studio import FakeLabelStudio
from tests.taudis.detector_cases import LABELS, picture

USER, PASSWORD = "label-studio", "a password"
QUICK = {
    "BUDGET": "4",
    "TRAIN_AFTER": "1000",
    "POLL_SECONDS": "0.000001",
    "MAX_STEPS": "1",
    "VALIDATION_FRACTION": "0.3",
    "SCORE_THRESHOLD": "0.05",
    "NICE": "0",
    "LOG_LEVEL": "WARNING",
}
"""Every turn polls; rounds start at Start Training alone, and train for one step."""


class _Quiet(WSGIRequestHandler):
    def log(self, *_):
        pass


class LocalLoop:
    """Label Studio, web app and worker. A context manager.

    Args:
        folder: data directory.
        model: a checkpoint of an untrained detector, made once for all tests.
        settings: environment variables over QUICK's.
    """

    def __init__(self, folder, model, **settings):
        self.data, self._model = folder, model
        self.studio = FakeLabelStudio()
        self.environment = {
            **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME")},
            "MODEL_DIR": str(folder),
            "LABEL_STUDIO_URL": self.studio.url,
            "LABEL_STUDIO_API_KEY": ADMIN.token,
            "BASIC_AUTH_USER": USER,
            "BASIC_AUTH_PASS": PASSWORD,
            **QUICK,
            **settings,
        }
        self.store = Store(folder)
        self.app = create_app(self.settings(), self.store)
        self._web = make_server("127.0.0.1", 0, self.app, threaded=True, request_handler=_Quiet)
        self.url = f"http://127.0.0.1:{self._web.server_port}"
        self.start_worker()

    def __enter__(self):
        self.studio.__enter__()
        serve = self._web.serve_forever
        threading.Thread(target=serve, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.stop_web()
        self.app.extensions["taudis"].predictor.close()
        self.studio.close()
        self.store.close()

    def stop_web(self):
        """Nothing listens at the backend's address any more."""
        self._web.shutdown()
        self._web.server_close()

    def settings(self, **changes):
        with mock.patch.dict(os.environ, {**self.environment, **changes}, clear=True):
            return load_settings()

    # --- the worker -------------------------------------------------------------------------

    def start_worker(self, **changes):
        """A worker that has just started, with other settings if some are given."""
        self.lease = self.store.acquire()
        self.worker = Worker(self.settings(**changes), self.store)

    def turn(self):
        """One turn of the scheduler and of both runners."""
        self.schedule()
        self.worker.runner_turn(self.lease)

    def schedule(self):
        """One turn of the scheduler (events, polls, rounds that it opens), and first orders."""
        self.worker.scheduler_turn(self.lease)
        self.worker.first_turn(self.lease)

    def clean(self):
        """One turn of the cleaner."""
        self.worker.cleaner_turn(self.lease)

    # --- commands ---------------------------------------------------------------------------

    def cli(self, *arguments, well=True, **changes):
        """`python -m backend ...` in this process; what it printed."""
        root = logging.getLogger()
        handlers, level = list(root.handlers), root.level
        command_line.console.width = 500
        try:
            with mock.patch.dict(os.environ, {**self.environment, **changes}, clear=True):
                done = CliRunner().invoke(command_line.app, list(arguments))
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
        expected = done.exception is None or isinstance(done.exception, SystemExit)
        assert expected, done.exc_info
        assert (done.exit_code == 0) is well, done.output
        return done.output

    # --- projects ---------------------------------------------------------------------------

    def project(self, pictures=6, config=CONFIG, *, title="A project", connect=True, **fields):
        """A project with drawn pictures; connected and given its first order."""
        made = LocalProject(self, self.studio.create_project(title, config, **fields))
        made.import_pictures(pictures)
        if connect:
            made.connect()
            self.schedule()
        return made


class LocalProject:
    """A project in the in-memory Label Studio, as people, Label Studio and the backend see it."""

    def __init__(self, loop, number):
        self.loop, self.id = loop, number
        self.client = Studio(loop.studio.url, ADMIN.token, patience=2.0)
        self.backend = None

    # --- what people do ---------------------------------------------------------------------

    def connect(self, title="TAUDIS"):
        auth = (USER, PASSWORD)
        self.backend = self.loop.studio.connect_backend(self.id, self.loop.url, title, auth)

    def remove_backend(self):
        self.loop.studio.api("DELETE", f"/api/ml/{self.backend}")

    def open_model_page(self):
        return self.client.ml_backends(self.id)

    def import_pictures(self, number):
        """Upload the next drawn pictures; each is known by its number in the file name."""
        first = len(self.tasks())
        names = [f"p{first + each:03d}.png" for each in range(number)]
        files = [(name, (name, png(first + each))) for each, name in enumerate(names)]
        self.loop.studio.api("POST", f"/api/projects/{self.id}/import", files=files)

    def label(self, task, **fields):
        """Submit the truth of a task's picture."""
        return self.client.create_annotation(task["id"], truth(task), **fields)

    def label_some(self, number):
        """Label the first unlabelled tasks by id."""
        some = [task for task in self.tasks() if not task["is_labeled"]][:number]
        return [self.label(task) for task in some]

    def start_training(self):
        self.loop.studio.start_training(self.backend)

    # --- what Label Studio holds ------------------------------------------------------------

    def tasks(self):
        return self.client.tasks(self.id)

    def current(self):
        return self.client.project(self.id)

    def version(self):
        return self.current()["model_version"] or ""

    def versions(self):
        return self.client.model_versions(self.id)

    def rows(self, version):
        """Task -> (score, regions) of a version; a task must not have two rows."""
        found = self.loop.studio.api("GET", "/api/predictions/", params={"project": self.id})
        rows = [row for row in found if row["model_version"] == version]
        assert len({row["task"] for row in rows}) == len(rows)
        return {row["task"]: (row["score"], row["result"]) for row in rows}

    def order(self, version=None):
        """Task ids of a version by ascending score."""
        rows = self.rows(version or self.version())
        return sorted(rows, key=lambda task: rows[task][0])

    def hooks(self):
        return self.client.webhooks(self.id)

    # --- what the backend holds -------------------------------------------------------------

    @property
    def rounds(self):
        """Rounds, newest first."""
        return self.loop.store.rounds(self.id)

    def cli(self, command, *arguments, **how):
        return self.loop.cli(command, *arguments, "--project", str(self.id), **how)

    def add_model(self, name="taudis-0000-kept"):
        """A kept model of the project: the untrained detector that tests share."""
        folder = self.loop.data / "models" / str(self.id) / name
        folder.mkdir(parents=True)
        for file in self.loop._model.iterdir():
            same = file.stat().st_dev == folder.stat().st_dev
            (os.link if same else shutil.copyfile)(file, folder / file.name)
        return name

    def give_model(self, name="taudis-0000-kept"):
        """Such a model and its order of all tasks, served, as an earlier round left them."""
        self.add_model(name)
        tasks, store, lease = self.tasks(), self.loop.store, self.loop.lease
        made = [
            predictions.Place(task["id"], rank, rank / len(tasks), "a test")
            for rank, task in enumerate(reversed(tasks), start=1)
        ]
        path = predictions.path_of(self.loop.data, self.id, name)
        with predictions.writing(path):
            pass  # a file without regions
        predictions.set_order(path, made)
        rows = [
            {"task": each.task, "result": [], "score": each.score, "model_version": name}
            for each in made
        ]
        self.client.import_predictions(self.id, rows)
        round_ = store.open_round(lease, self.id, "refresh", "a test", [])
        number = len(tasks)
        store.add_version(
            lease, self.id, name, round_id=round_.id, model=name, tasks=number, metrics={}
        )
        store.end_round(lease, round_.id, "served", "")
        self.cli("unpin")
        assert self.version() == name
        return name

    def card(self, version):
        """The card of a version's model."""
        return read_card(self.loop.data / "models" / str(self.id) / version)

    def train(self):
        """Start Training, and the round that comes of it."""
        before = len(self.rounds)
        self.start_training()
        self.loop.turn()
        assert len(self.rounds) == before + 1
        return self.rounds[0]

    def stored_order(self, version):
        """Task ids of a version as the backend keeps them for /predict."""
        path = predictions.path_of(self.loop.data, self.id, version)
        return [found.task for found in predictions.order(path)]


def png(number):
    """A drawn picture as a file."""
    file = io.BytesIO()
    Image.fromarray(picture(number)[0]).save(file, "PNG")
    return file.getvalue()


def number_of(task):
    """Which drawn picture a task shows."""
    return int(re.search(r"p(\d+)\.png$", task["data"]["image"])[1])


def truth(task):
    """The regions of a task's picture, as a person draws them with the brush."""
    target = picture(number_of(task))[1]
    height, width = target.masks.shape[1:]
    return [
        {
            "id": f"t{index}",
            "type": "brushlabels",
            "from_name": "tag",
            "to_name": "image",
            "original_width": width,
            "original_height": height,
            "value": {
                "format": "rle",
                "rle": encode_rle(np.asarray(mask)),
                "brushlabels": [LABELS.name(int(target.labels[index]))],
            },
        }
        for index, mask in enumerate(target.masks)
    ]
