"""The data directory of a former build, whole, is taken over by the present one.

The former build's own code makes the directory: its tree comes from this repository's history, so
no data is kept here. Its in-memory Label Studio goes on running, and the present web process and
worker start on the same directory and address, as after an upgrade.
"""

import contextlib
import json
import subprocess
import sys
import tarfile
from types import SimpleNamespace

import pytest
import requests

from backend.label_studio.client import Studio
from demo.studio import ADMIN
from tests.studio.loop import PASSWORD, ROOT, USER, Loop
from tests.studio.processes import wait_for

FORMER = {
    2: "b9c91c5f69ba460c0a7d670f1138fa1914b0aa62",  # the last build of schema 2
    3: "abbfd810a0f37a3039bb8a57beb7df3a36e92582",  # the first build of schema 3
}
"""Schema of the store -> a commit that writes it."""
SCRIPT = ROOT / "tests/backend/store/former_build.py"


def tree_of(commit, folder):
    """The tree of a commit, without network. Skips where the history is not there."""
    done = subprocess.run(
        ["git", "archive", commit, "taudis", "backend", "demo", "tests", "pyproject.toml"],
        cwd=ROOT, capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"commit {commit[:12]} is not in this tree's git history")
    archive = folder.with_suffix(".tar")
    archive.write_bytes(done.stdout)
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    archive.unlink()


@contextlib.contextmanager
def former(commit, folder):
    """What a former build left in `folder / "data"`; its Label Studio runs within the block."""
    tree = folder / "tree"
    tree_of(commit, tree)
    log = (folder / "former.log").open("w")
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder / "data")], cwd=tree, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
    )  # fmt: skip
    with log, process:
        try:
            line = process.stdout.readline()
            assert line, (folder / "former.log").read_text()[-3000:]
            yield SimpleNamespace(**json.loads(line))
        finally:
            process.kill()


@contextlib.contextmanager
def present(left, data):
    """The present web process and worker, at the address of the former ones."""
    loop = Loop(
        SimpleNamespace(url=left.studio), data, MAX_STEPS="1", PORT=left.url.rsplit(":", 1)[1],
        LABEL_STUDIO_API_KEY=ADMIN.token,
    )  # fmt: skip
    loop.url, loop.port = left.url, int(left.url.rsplit(":", 1)[1])
    try:
        loop.start_web()
        loop.start_worker()
        yield loop
    finally:
        loop.close()


def models(data, project):
    return {path.name for path in (data / "models" / str(project)).iterdir()}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.fault("F22", "released", studio="fake")
def test_a_former_data_directory_is_served_trained_on_and_rolled_back(tmp_path, figures, full):
    schemas = list(FORMER) if full else list(FORMER)[:1]
    for schema in schemas:
        folder = tmp_path / str(schema)
        folder.mkdir()
        with former(FORMER[schema], folder) as left:
            assert left.outcome == "served"
            kept = models(folder / "data", left.project)
            with present(left, folder / "data") as loop:
                served_and_ordered(left, loop)
                trained_and_rolled_back(left, loop)
            assert kept <= models(folder / "data", left.project)
    figures(directories=len(schemas), lost=0)


def served_and_ordered(left, loop):
    """The former order is in force and stands in /predict, and `doctor` finds nothing wrong."""
    studio = Studio(left.studio, ADMIN.token)
    wait_for(
        lambda: requests.get(f"{loop.url}/ready", auth=(USER, PASSWORD), timeout=5).ok, "the worker"
    )
    assert studio.project(left.project)["model_version"] == left.version
    assert loop.store.project(left.project).state.serving == left.version
    task = studio.next_task(left.project)
    assert [task["id"]] == left.order[:1]
    body = {"tasks": [task], "project": f"{left.project}.1"}
    body["label_config"] = studio.project(left.project)["label_config"]
    (answer,) = loop.post("/predict", body)["results"]
    assert answer["model_version"] == left.version
    assert "FAIL" not in loop.cli("doctor", "--project", str(left.project))


def trained_and_rolled_back(left, loop):
    """The next training has every label, and the former order can be served again."""
    studio = Studio(left.studio, ADMIN.token)
    headers = {"Authorization": f"Token {ADMIN.token}"}
    url = f"{left.studio}/api/ml/{left.backend}/train"
    assert requests.post(url, headers=headers, json={}, timeout=30).ok

    def ended():
        newest = loop.store.rounds(left.project)[0]
        return newest.number > left.round and newest.ended is not None and newest

    made = wait_for(ended, "a round of the present build")
    assert made.outcome == "served", made.message
    path = loop.data / "rounds" / str(left.project) / f"{made.number:04d}" / "snapshot.json"
    counted = {row["annotation_id"] for row in json.loads(path.read_text())["entries"]}
    assert counted == set(left.labelled)
    version = studio.project(left.project)["model_version"]
    assert version != left.version
    loop.cli("rollback", "--project", str(left.project))
    assert studio.project(left.project)["model_version"] == left.version
    loop.cli("unpin", "--project", str(left.project))
    assert studio.project(left.project)["model_version"] == version
