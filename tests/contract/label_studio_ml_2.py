"""Our app and our class, started and called as users of label-studio-ml 2.x do; prints a table.

Run by label_studio_ml_2.sh, in an environment with the real 2.x. Two servers, over HTTP:
- `label-studio-ml start <this repository>`, which runs our `_wsgi.py`: our app, with a worker;
- `label-studio-ml create own --script backend/web/model.py:TaudisModel` and `label-studio-ml start
  own`, which serves our class by 2.x's own `init_app`.
Exit code 1 where an answer is not as expected.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from backend.store import predictions  # noqa: E402
from backend.store.database import Store  # noqa: E402

STUDIO = "http://127.0.0.1:9"  # where nothing answers: the web process must not need it
CONFIG = (
    '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">'
    '<Label value="Cell"/></BrushLabels></View>'
)
KNOWN, NEW, VERSION = 7, 8, "taudis-0001"
TASKS = [{"id": 3}, {"id": 9}, {"id": 1}]  # 9 was imported later: behind all places
SCORES = [0.75, 1.25, 0.25]
EVENTS = (
    "ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "ANNOTATION_DELETED",
    "ANNOTATIONS_DELETED", "PROJECT_UPDATED", "START_TRAINING", "TASKS_CREATED",
)  # fmt: skip
OF_2X = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATION_DELETED", "START_TRAINING")


@dataclass(frozen=True)
class Check:
    """A request, with the right status and the right answer (a value, or a test of the text)."""

    name: str
    method: str
    path: str
    body: Any
    status: int
    right: Any | Callable[[Any], bool]
    note: str = ""


def setup_body(project: int) -> dict[str, Any]:
    """What Label Studio 1.23.2 sends."""
    return {
        "project": f"{project}.1700000000", "schema": CONFIG, "hostname": STUDIO,
        "access_token": "a" * 40, "extra_params": {"any": "thing"},
    }  # fmt: skip


def predict_body() -> dict[str, Any]:
    return {
        "tasks": TASKS, "model_version": VERSION, "project": f"{KNOWN}.1700000000",
        "label_config": CONFIG, "params": {"login": None, "password": None, "context": None},
    }  # fmt: skip


def event_body(event: str) -> dict[str, Any]:
    return {"action": event, "project": {"id": KNOWN, "label_config": CONFIG}}


def common(version_of_new: str) -> list[Check]:
    """What holds under both apps."""
    up = {"status": "UP", "model_class": "TaudisModel"}
    return [
        Check("GET /health", "GET", "/health", None, 200, up),
        Check("POST /setup, a new project (connect)", "POST", "/setup", setup_body(NEW), 200,
            {"model_version": version_of_new}),
        Check("POST /setup, a served project", "POST", "/setup", setup_body(KNOWN), 200,
            {"model_version": VERSION}),
        Check("POST /predict, 3 tasks", "POST", "/predict", predict_body(), 200,
            lambda found: [r["score"] for r in found["results"]] == SCORES
            and [len(r["result"]) for r in found["results"]] == [1, 0, 1]
            and {r["model_version"] for r in found["results"]} == {VERSION}),
    ]  # fmt: skip


def under_our_app() -> list[Check]:
    rows = common("")
    for event in EVENTS:
        status = {"status": "ignored" if event == "TASKS_CREATED" else "recorded"}
        rows.append(Check(f"{event}", "POST", "/webhook", event_body(event), 200, status))
    bare = {"action": "ANNOTATION_CREATED"}
    rows.append(Check("ANNOTATION_CREATED without payload, as armed", "POST",
                    f"/webhook?project={KNOWN}", bare, 200, {"status": "recorded"}))  # fmt: skip
    named = {"project": f"{KNOWN}.1700000000"}
    return [
        *rows,
        Check(
            "GET /versions", "GET", f"/versions?project={KNOWN}", None, 200, {"versions": [VERSION]}
        ),
        Check("POST /versions", "POST", "/versions", named, 200, {"versions": [VERSION]}),
        Check("GET /metrics", "GET", "/metrics", None, 200, lambda text: "taudis_" in text),
        Check("GET / (status page)", "GET", "/", None, 200, lambda text: VERSION in text),
    ]


def under_init_app() -> list[Check]:
    theirs = "2.x's own view"
    rows = common("")
    for event in EVENTS:
        if event in OF_2X:
            right = {"result": {"status": "recorded"}, "status": "ok"}
            rows.append(Check(event, "POST", "/webhook", event_body(event), 201, right))
        else:
            right = {"status": "Unknown event"}
            rows.append(Check(event, "POST", "/webhook", event_body(event), 200, right, theirs))
    bare = {"action": "ANNOTATION_CREATED"}
    return [
        *rows,
        Check("ANNOTATION_CREATED without payload, as armed", "POST", f"/webhook?project={KNOWN}",
            bare, 500, lambda text: True, theirs),
        Check("GET /versions", "GET", "/versions", None, 404, lambda text: True, "no such view"),
        Check("GET /metrics", "GET", "/metrics", None, 200, {}, theirs),
    ]  # fmt: skip


def publish(model_dir: Path) -> None:
    """A project with a published order, as a worker leaves it."""
    store = Store(model_dir)
    region = {"id": "r", "type": "brushlabels", "value": {"format": "rle", "rle": [0, 1]}}
    path = predictions.path_of(model_dir, KNOWN, VERSION)
    with predictions.writing(path) as add:
        for task in (1, 2, 3, 4):
            add(task, [region])
    predictions.set_order(path, [predictions.Place(t, t, t / 4, "") for t in (1, 2, 3, 4)])
    lease = store.acquire()
    assert lease is not None
    made = store.open_round(lease, KNOWN, "first", "contract", [])
    store.add_version(lease, KNOWN, VERSION, round_id=made.id, model="", tasks=4, metrics={})
    store.end_round(lease, made.id, "served", "")
    store.update_project(KNOWN, serving=VERSION)
    store.release(lease)
    store.close()


@contextlib.contextmanager
def started(folder: Path, model_dir: Path) -> Iterator[str]:
    """`label-studio-ml start FOLDER -p PORT`, ended with all its processes; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = {
        **os.environ, "MODEL_DIR": str(model_dir), "LABEL_STUDIO_URL": STUDIO,
        "LABEL_STUDIO_API_KEY": "a" * 40, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    command = ["label-studio-ml", "start", str(folder), "-p", port, "--host", "127.0.0.1"]
    log = model_dir.with_suffix(".log")
    with log.open("w") as out:
        process = subprocess.Popen(
            command, env=environment, stdout=out, stderr=out, start_new_session=True
        )
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(900):  # 2.x imports torch, which takes long on a busy machine
            with contextlib.suppress(requests.RequestException):
                if requests.get(address + "/health", timeout=1).ok:
                    break
            time.sleep(0.2)
        else:
            sys.exit(f"{command} did not answer:\n{log.read_text()[-3000:]}")
        yield address
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def ask(address: str, row: Check) -> tuple[int, Any]:
    """Status, and the answer as JSON where it is, else as text."""
    answer = requests.request(row.method, address + row.path, json=row.body, timeout=60)
    try:
        return answer.status_code, answer.json()
    except ValueError:
        return answer.status_code, answer.text


def well(row: Check, status: int, found: Any) -> bool:
    if status != row.status:
        return False
    return bool(row.right(found)) if callable(row.right) else found == row.right


def table(title: str, address: str, rows: list[Check]) -> int:
    """Print a server's answers; how many were not as expected."""
    wrong = 0
    print(f"\n{title}\n{'request':46} {'status':6} {'as expected':11} answer")
    for row in rows:
        status, found = ask(address, row)
        right = well(row, status, found)
        wrong += not right
        text = " ".join(str(found).split())
        excerpt = text if len(text) <= 70 else text[:67] + "..."
        note = f"  [{row.note}]" if row.note else ""
        print(f"{row.name:46} {status:<6} {'yes' if right else 'NO':11} {excerpt}{note}")
    return wrong


def recorded(model_dir: Path, expected: dict[int, dict[str, int]]) -> int:
    """Print what reached the store; 1 where it is not what was asked for."""
    store = Store(model_dir)
    found = {number: store.event_counts(number) for number in (KNOWN, NEW)}
    names = {project.id for project in store.projects()}
    store.close()
    right = found == expected and names == {KNOWN, NEW}
    print(f"{'events in the store, by project':46} {'':6} {'yes' if right else 'NO':11} {found}")
    return not right


def main(work: Path) -> int:
    wrong = 0
    ours, theirs = work / "ours", work / "theirs"
    publish(ours)
    with started(ROOT, ours) as address:
        wrong += table("our app: label-studio-ml start <repository>", address, under_our_app())
        events = {"setup": 1, "changed": 6, "config": 1, "train": 1}
        wrong += recorded(ours, {KNOWN: events, NEW: {"setup": 1}})
    publish(theirs)
    script = f"{ROOT / 'backend/web/model.py'}:TaudisModel"
    create = ["label-studio-ml", "create", "own", "--root-dir", str(work), "--script", script]
    subprocess.run(create, check=True, stdout=subprocess.DEVNULL)
    with started(work / "own", theirs) as address:
        title = "2.x's own init_app(TaudisModel): label-studio-ml create own, start own"
        wrong += table(title, address, under_init_app())
        wrong += recorded(theirs, {KNOWN: {"changed": 3, "train": 1}, NEW: {"setup": 1}})
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
