"""TaudisModel under the server of label-studio-ml 1.0.9: its `init_app`, in a process of its own.

tests/contract/label_studio_ml_2.sh does the same with 2.x, which is in no package index.
"""

import inspect
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
from label_studio_ml.model import LabelStudioMLBase

from backend.store import predictions
from backend.store.database import Store
from tests.backend.store import prediction_cases

ROOT = Path(__file__).resolve().parents[3]
INSTALLED_2X = "project_id" in inspect.signature(LabelStudioMLBase.__init__).parameters
SERVER = """
import sys
from label_studio_ml.api import init_app
from backend.web.model import TaudisModel
init_app(TaudisModel, model_dir=sys.argv[2]).run(host="127.0.0.1", port=int(sys.argv[1]))
"""
REGION = {"id": "r", "type": "brushlabels", "value": {"format": "rle", "rle": [0, 1]}}
GIVEN = prediction_cases.given([REGION])
CONFIG = "<View/>"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(INSTALLED_2X, reason="label-studio-ml 2.x is installed"),
]


def publish(folder: Path) -> Store:
    """Project 7 with a served version of the tasks 1 to 4, as the worker leaves it."""
    store = Store(folder)
    path = predictions.path_of(folder, 7, "v1")
    prediction_cases.write(path, {task: [REGION] for task in (1, 2, 3, 4)})
    lease = store.acquire()
    made = store.open_round(lease, 7, "first", "test", [])
    store.add_version(lease, 7, "v1", round_id=made.id, model="", tasks=4, metrics={})
    store.end_round(lease, made.id, "served", "")
    store.update_project(7, serving="v1")
    return store


def answering(process: subprocess.Popen, address: str, log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if requests.get(address + "/health", timeout=1).ok:
                return
        except requests.RequestException:
            time.sleep(0.2)
    raise AssertionError(log.read_text()[-3000:])


@pytest.fixture
def served(tmp_path):
    """The address of the server, the store that it works with, and its own folder."""
    store, own, log = publish(tmp_path / "data"), tmp_path / "own", tmp_path / "log"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = {**os.environ, "MODEL_DIR": str(tmp_path / "data"), "PYTHONPATH": str(ROOT)}
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, port, str(own)],
            cwd=tmp_path, env=environment, stdout=out, stderr=out,
        )  # fmt: skip
    try:
        answering(process, f"http://127.0.0.1:{port}", log)
        yield f"http://127.0.0.1:{port}", store, own
    finally:
        process.terminate()
        process.wait(20)
        store.close()


def written(result: Path) -> object:
    """The JSON of a file that another process is about to write."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            return json.loads(result.read_text())
        except (FileNotFoundError, ValueError):
            time.sleep(0.1)
    raise AssertionError(f"{result.name} was not written")


def test_setup_predictions_and_events(served):
    address, store, own = served
    setup = {"project": "7.170", "schema": CONFIG, "hostname": "http://x", "access_token": "t"}
    answer = requests.post(address + "/setup", json=setup, timeout=60)
    assert (answer.status_code, answer.json()) == (200, {"model_version": "INITIAL"})

    tasks = [{"id": task, "project": 7, "data": {}} for task in (3, 9, 1)]
    params = {"login": "", "password": "", "context": None}
    body = {"tasks": tasks, "project": "7.170", "label_config": CONFIG, "params": params}
    results = requests.post(address + "/predict", json=body, timeout=60).json()["results"]
    assert [found["result"] for found in results] == [GIVEN, [], GIVEN]
    assert [found["score"] for found in results] == [0.75, 1.25, 0.25]
    assert {found["model_version"] for found in results} == {"v1"}

    for action, kind in (("START_TRAINING", "train"), ("ANNOTATION_CREATED", "changed")):
        event = {"action": action, "project": {"id": 7, "label_config": CONFIG}}
        answer = requests.post(address + "/webhook", json=event, timeout=60)
        assert answer.status_code == 201
        # 1.0.9 handles an event in a process of its own, under the number that it answered.
        assert written(own / answer.json()["job_id"] / "job_result.json") == {"status": "recorded"}
        assert store.event_counts(7)[kind] == 1
