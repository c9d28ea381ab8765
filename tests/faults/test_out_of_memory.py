"""F15: memory that runs out in training and in inference, by a limit set on a real process."""

import io
import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from backend.worker import memory_kills, train
from tests.backend.local_loop import PASSWORD, USER
from tests.faults.points import Killed
from tests.faults.short_memory import BATCH, LARGE, SIDE
from tests.studio.processes import ROOT, Process, wait_for

SIZE = (4_000, 3_000)  # px: 36 MB decoded
WORDS = re.compile("Out of memory|more memory than there is")
TOO_LITTLE = 24_000_000
"""Bytes: enough for threads and requests, not for one decoded picture of SIZE."""


@pytest.mark.slow
@pytest.mark.fault("F15", "halves", "reason")
def test_a_training_halves_its_batch_and_gives_up_at_one_image(figures):
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.short_memory"],
        cwd=ROOT, capture_output=True, text=True, timeout=600, check=True,
    )  # fmt: skip
    *trials, last = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(each["side"] == SIDE for each in trials) and last["side"] == LARGE
    assert 0 < trials[-1]["batch"] < BATCH, trials
    assert last["batch"] == 0 and "more memory than there is" in last["error"]
    figures(need_mb=trials[-1]["need_mb"], had_mb=trials[-1]["extra_mb"], batch=trials[-1]["batch"])


def upload(loop, project, number):
    """Upload large pictures with a bright square each."""
    files = []
    for each in range(number):
        image = Image.new("RGB", SIZE, (90, 100, 110))
        image.paste((230, 230, 230), (400 * each, 600, 400 * each + 900, 1_500))
        file = io.BytesIO()
        image.save(file, "PNG", compress_level=1)
        name = f"large{each}.png"
        files.append((name, (name, file.getvalue())))
    loop.studio.api("POST", f"/api/projects/{project.id}/import", files=files)


def give(worker, extra):
    """Let a process map `extra` bytes more than it has; None lifts the limit."""
    pid, most = worker.popen.pid, resource.RLIM_INFINITY
    if extra is not None:
        status = Path(f"/proc/{pid}/status").read_text()
        most = int(re.search(r"^VmSize:\s+(\d+) kB", status, re.M)[1]) * 1024 + extra
    resource.prlimit(pid, resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


class Watched:
    """A project and the process of its worker."""

    def __init__(self, loop, project, log):
        self.loop, self.project = loop, project
        loop.store.release(loop.lease)
        command = [sys.executable, "-m", "backend", "worker"]
        self.worker = Process(command, loop.environment, log)

    def ended(self, after, kind):
        """The next round of a kind, once it has ended."""

        def found():
            rounds = [each for each in self.project.rounds if each.number > after]
            return next((each for each in rounds if each.ended and each.kind == kind), None)

        return wait_for(found, f"the {kind} round after {after}")

    def train(self):
        newest = self.project.rounds[0].number
        self.project.start_training()
        return self.ended(newest, "train")

    def check_served(self, version):
        """Check that this version is served, and that the web process answers."""
        client, project = self.loop.app.test_client(), self.project
        body = {"project": str(project.id), "tasks": project.tasks()[-1:]}
        answer = client.post("/predict", json=body, auth=(USER, PASSWORD))
        assert answer.status_code == 200 and answer.json["model_version"] == version
        assert project.version() == version and project.client.next_task(project.id)
        assert client.get("/health").status_code == 200
        assert self.worker.running


@pytest.mark.slow
@pytest.mark.fault("F15", "reason", "serving")
def test_a_worker_without_memory_fails_the_round_and_serving_goes_on(make_loop, tmp_path, figures):
    loop = make_loop(POLL_SECONDS="1")
    project = loop.project(8)
    project.label_some(5)
    watched, failed = Watched(loop, project, tmp_path / "worker.log"), []
    try:
        assert watched.train().outcome == "served"
        before, newest = project.version(), project.rounds[0].number
        give(watched.worker, TOO_LITTLE)
        upload(loop, project, 2)  # a round scores them
        failed.append(watched.ended(newest, "refresh"))
        watched.check_served(before)
        large = project.tasks()[-2:]
        project.client.create_annotation(large[0]["id"], [])
        failed.append(watched.train())
        watched.check_served(before)
        give(watched.worker, None)
        for task in large:
            loop.studio.api("DELETE", f"/api/tasks/{task['id']}/")
        after = watched.train()
    finally:
        watched.worker.end()
    for each in failed:
        assert each.outcome == "failed" and WORDS.search(each.message), each.message
        assert set(each.steps) == {"synced"}
    assert after.outcome in ("served", "kept"), after.message
    figures(rounds_failed=len(failed), extra_mb=TOO_LITTLE / 1e6)


@pytest.mark.slow
@pytest.mark.fault("F15", "halves", "reason", "serving")
def test_a_worker_that_the_system_ends_again_and_again_fails_the_round(loop, monkeypatch, figures):
    """SIGKILL for lack of memory, as the kernel counts it; each worker is a new one."""
    project, batches, recipes, killed = loop.project(6), [], [], [0]
    project.label_some(4)
    before = project.version()
    monkeypatch.setattr(memory_kills, "kills", lambda: killed[0])

    def ended_by_the_system(_samples, _labels, recipe, *, batch, **_):
        batches.append(batch)
        recipes.append(recipe)
        killed[0] += 1
        raise Killed

    real = train.train_detector
    monkeypatch.setattr(train, "train_detector", ended_by_the_system)
    project.start_training()
    for _ in range(memory_kills.MOST):
        with pytest.raises(Killed):
            loop.turn()
        assert project.rounds[0].ended is None and project.version() == before
        loop.start_worker()
    loop.turn()
    assert project.rounds[0].outcome == "failed"
    assert "the system ended the worker 3 times in this step" in project.rounds[0].message
    assert batches == [4, 2, 1] and project.version() == before
    assert recipes == recipes[:1] * 3  # so that the state of the training before is found
    monkeypatch.setattr(train, "train_detector", real)
    killed[0] += 1  # another process
    assert project.train().outcome == "served"
    figures(workers_ended=len(batches))
