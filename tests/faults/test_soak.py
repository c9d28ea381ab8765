"""F21: simulated annotators on a small project, for long: memory, open files and disk stay flat."""

import os
import threading
import time
from dataclasses import dataclass

import psutil
import pytest

from backend.errors import StudioError
from backend.label_studio.client import Studio
from backend.worker.prune import KEPT_ROUNDS
from tests.fake_label_studio import FakeLabelStudio
from tests.studio.loop import Loop, make_pictures, make_project

PICTURES, PEOPLE, KEEP = 24, 2, 2
PAUSE_SECONDS = 0.4  # between two labels of a person
FEW = 6  # open tasks; then old labels are deleted
WARM_UP = 0.4  # share of the time
ROUNDS = 5  # at least, so that there is a round after the warm-up
GROWTH_MB = {"web": 24.0, "worker": 100.0}
"""A round's own peak differs by some 60 MB, by the sizes of its batches."""
GROWTH_FILES = 10
STORE_KB = 60.0
"""The stated bound of the store's growth, for each round; see docs/operations.md."""


def minutes(full):
    """How long it runs; `SOAK_MINUTES` says otherwise."""
    return float(os.environ.get("SOAK_MINUTES") or (20 if full else 1))


class People:
    """Annotators that label the served task, and now and then delete old labels."""

    def __init__(self, work):
        self.work, self.over, self.labelled = work, threading.Event(), 0
        self._made, self._lock = [], threading.Lock()
        logins = [work.loop.studio.create_user(f"p{n}@soak.example") for n in range(PEOPLE)]
        clients = [Studio(work.loop.studio.url, login.token) for login in logins]
        self._threads = [threading.Thread(target=self._label, args=(each,)) for each in clients]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self._threads:
            thread.join()

    def _label(self, client):
        work = self.work
        while not self.over.wait(PAUSE_SECONDS):
            try:
                task = client.next_task(work.id)
                if task is not None:
                    regions = work.truth.regions(task["data"])
                    made = client.create_annotation(task["id"], regions)["id"]
                    with self._lock:
                        self._made.append(made)
                        self.labelled += 1
            except StudioError:
                continue  # the other person was faster
            self._forget_old_labels()

    def _forget_old_labels(self):
        with self._lock:
            old = self._made[: max(0, len(self._made) - (PICTURES - FEW))]
            del self._made[: len(old)]
        for each in old:
            self.work.loop.studio.api("DELETE", f"/api/annotations/{each}/")


@dataclass(frozen=True)
class Sample:
    """One look at the processes: memory in MB and open files, by process, with their children."""

    memory: dict[str, float]
    files: dict[str, int]


def sample(loop):
    memory, files = {}, {}
    for name, process in (("web", loop.web), ("worker", loop.worker)):
        parent = psutil.Process(process.popen.pid)
        family = [parent, *parent.children(recursive=True)]
        memory[name] = sum(each.memory_info().rss for each in family) / 1e6
        files[name] = sum(each.num_fds() for each in family)
    return Sample(memory, files)


def growth(samples, value):
    """How much higher the peak of the last half after the warm-up is than that of the half before.

    `value` gives a sample's figure.
    """
    after = [value(each) for each in samples[int(WARM_UP * len(samples)) :]]
    middle = len(after) // 2
    return max(after[middle:]) - max(after[:middle])


def all_rounds(work):
    return work.loop.store.rounds(work.id, limit=100_000, steps=())


def rounds_done(work):
    return sum(each.ended is not None for each in all_rounds(work))


def soak(work, people, seconds):
    """Let people label, and look at the processes every half second; samples and seconds."""
    samples, began = [], time.monotonic()
    limit = began + seconds + 600
    with people:
        while (time.monotonic() - began < seconds) or rounds_done(work) < ROUNDS:
            assert time.monotonic() < limit, f"only {rounds_done(work)} rounds"
            samples.append(sample(work.loop))
            time.sleep(0.5)
    return samples, time.monotonic() - began


@pytest.mark.slow
@pytest.mark.timeout(9_000)
@pytest.mark.fault("F21")
def test_memory_files_and_disk_stay_flat(tmp_path, figures, full):
    with FakeLabelStudio() as studio:
        loop = Loop(
            studio, tmp_path / "data", TRAIN_AFTER="6", MAX_STEPS="2", KEEP_VERSIONS=str(KEEP),
            LOG_LEVEL="WARNING",
        )  # fmt: skip
        try:
            loop.start_web()
            loop.start_worker()
            (tmp_path / "pictures").mkdir()
            work = make_project(
                loop, make_pictures(tmp_path / "pictures", PICTURES, size=64), "Soak"
            )
            stored, people = loop.store.path.stat().st_size, People(work)
            samples, seconds = soak(work, people, 60 * minutes(full))
            rounds = all_rounds(work)
            grown = (loop.store.path.stat().st_size - stored) / len(rounds) / 1e3
            kept = {
                name: len(list((loop.data / name / str(work.id)).glob("[!.]*")))
                for name in ("models", "predictions", "rounds")
            }
        finally:
            loop.close()
    found = {
        f"{name}_growth_mb": round(growth(samples, lambda s, n=name: s.memory[n]), 1)
        for name in GROWTH_MB
    }
    files = {name: growth(samples, lambda s, n=name: s.files[n]) for name in GROWTH_MB}
    figures(
        **found, files_growth=max(files.values()), store_kb_a_round=round(grown, 1),
        minutes=round(seconds / 60, 2), rounds=len(rounds), labels=people.labelled,
        web_peak_mb=round(max(each.memory["web"] for each in samples)),
        worker_peak_mb=round(max(each.memory["worker"] for each in samples)),
    )  # fmt: skip
    assert not [each.message for each in rounds if each.outcome == "failed"]
    for name, most in GROWTH_MB.items():
        assert found[f"{name}_growth_mb"] < most, found
    assert max(files.values()) <= GROWTH_FILES, files
    assert grown <= STORE_KB
    # One more of each may be there: a round was at work when it ended.
    assert kept["models"] <= KEEP + 3 and kept["predictions"] <= KEEP + 3, kept
    assert kept["rounds"] <= KEPT_ROUNDS + 2, kept
