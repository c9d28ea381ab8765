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
            time.sleep(0.5)  # between two samples
    return samples, time.monotonic() - began


@dataclass(frozen=True)
class Soaked:
    """What came of a soak: rounds, the store's growth, and how much is kept of each kind."""

    samples: list
    minutes: float
    rounds: list
    store_kb: float  # for each round
    kept: dict[str, int]
    labels: int


def soaked(folder, full):
    """Start web process, worker and people; let them work."""
    (folder / "pictures").mkdir()
    pictures = make_pictures(folder / "pictures", PICTURES, size=64)
    settings = {
        "TRAIN_AFTER": "6",
        "MAX_STEPS": "2",
        "POLL_SECONDS": "1",
        "KEEP_VERSIONS": str(KEEP),
    }
    with FakeLabelStudio() as studio:
        loop = Loop(studio, folder / "data", LOG_LEVEL="WARNING", **settings)
        try:
            loop.start_web()
            loop.start_worker()
            work = make_project(loop, pictures, "Soak")
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
    return Soaked(samples, seconds / 60, rounds, grown, kept, people.labelled)


@pytest.mark.slow
@pytest.mark.timeout(9_000)
@pytest.mark.fault("F21")
def test_memory_files_and_disk_stay_flat(tmp_path, figures, full):
    found = soaked(tmp_path, full)
    memory = {name: growth(found.samples, lambda s, n=name: s.memory[n]) for name in GROWTH_MB}
    files = max(growth(found.samples, lambda s, n=name: s.files[n]) for name in GROWTH_MB)
    figures(
        **{f"{name}_growth_mb": round(value, 1) for name, value in memory.items()},
        **{
            f"{name}_peak_mb": round(max(each.memory[name] for each in found.samples))
            for name in memory
        },
        files_growth=files, store_kb_a_round=round(found.store_kb, 1),
        minutes=round(found.minutes, 2), rounds=len(found.rounds), labels=found.labels,
    )  # fmt: skip
    assert not [each.message for each in found.rounds if each.outcome == "failed"]
    assert all(memory[name] < most for name, most in GROWTH_MB.items()), memory
    assert files <= GROWTH_FILES
    assert found.store_kb <= STORE_KB
    # One more of each may be there: a round was at work when it ended.
    assert found.kept["models"] <= KEEP + 3 and found.kept["predictions"] <= KEEP + 3, found.kept
    assert found.kept["rounds"] <= KEPT_ROUNDS + 2, found.kept
