"""F16 with real processes: a worker that is stopped in mid-publish, and wakes after its lease."""

import os
import signal
import sys
import threading
import time

import pytest
import sqlalchemy as sa

from backend.store.lease import lease_table, may_live
from tests.studio.processes import PATIENCE, Process, wait_for

QUIET_SECONDS = 2.0
"""The late request has been answered, and two polls are over."""


class TwoWorkers:
    """Two worker processes on one data directory, and a project without a model."""

    def __init__(self, loop, folder):
        self.loop, self.project = loop, loop.project(6)
        loop.store.release(loop.lease)
        command = [sys.executable, "-m", "backend", "worker"]
        self.logs = [folder / f"worker-{name}.log" for name in "ab"]
        environment = {**loop.environment, "LOG_LEVEL": "INFO"}
        self.workers = [Process(command, environment, log) for log in self.logs]
        self.asleep, self.slept = 0, threading.Event()  # the process that sleeps; long enough

    def close(self):
        for worker in self.workers:
            if self.asleep:
                os.kill(self.asleep, signal.SIGCONT)
                self.asleep = 0
            worker.end()

    def holder(self):
        """The process that holds the lease; 0 for none."""
        with self.loop.store.reading() as db:
            row = db.execute(sa.select(lease_table)).first()
        held = row and row.until > time.time() and may_live(row.owner)
        return int(row.owner.split("/")[1]) if held else 0

    def ended(self, number):
        """Whether a round of this number, or a later one, has ended."""
        return any(each.number >= number and each.ended for each in self.project.rounds)

    def next_order(self):
        """Import a picture, and wait for the round that gives it a place."""
        number = self.project.rounds[0].number + 1
        self.project.import_pictures(1)
        wait_for(lambda: self.ended(number), f"round {number}")

    def sleep(self):
        """Stop the worker that holds the lease past its end, until the other has published."""
        self.asleep = self.holder()
        number = self.project.rounds[0].number
        os.kill(self.asleep, signal.SIGSTOP)
        with self.loop.store.writing() as db:  # a minute later
            db.execute(lease_table.update().values(until=0.0))
        wait_for(lambda: self.holder() not in (0, self.asleep), "the other worker")
        wait_for(lambda: self.ended(number), f"round {number}")
        self.next_order()
        self.slept.set()

    def wake(self):
        """Let the worker go on; wait until it has found out that it lost its lease."""
        assert self.slept.wait(PATIENCE), "the other worker did not publish"
        self.slept.clear()
        log = next(
            log for worker, log in zip(self.workers, self.logs, strict=True)
            if worker.popen.pid == self.asleep
        )  # fmt: skip
        before = log.read_text().count("was taken over")
        os.kill(self.asleep, signal.SIGCONT)
        self.asleep = 0
        wait_for(lambda: log.read_text().count("was taken over") > before, "the woken worker")

    def wrong(self):
        """What is wrong once both have come to rest: a stale order, or a mixed one."""
        project, store = self.project, self.loop.store
        newest = store.versions(project.id)[0].version

        def served():
            return project.version() == store.project(project.id).state.serving == newest

        deadline = time.monotonic() + 30
        while not served() and time.monotonic() < deadline:
            time.sleep(0.1)  # between two looks, up to the deadline
        time.sleep(QUIET_SECONDS)  # a late request of the woken worker would arrive now
        stale = [] if served() else [f"{project.version()} is served, not {newest}"]
        per_round = [row.round for row in store.versions(project.id)]
        mixed = [] if len(set(per_round)) == len(per_round) else ["a round published twice"]
        open_ = {task["id"] for task in project.tasks() if not task["is_labeled"]}
        order = project.order(newest)  # a task with two rows is refused
        if set(order) != open_ or order != project.stored_order(newest):
            mixed.append(f"{newest} is not whole")
        return stale, mixed


def switch(call):
    return "taudis-" in str(call.json.get("model_version"))


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.fault("F16", "publish", "lease")
def test_a_process_that_wakes_after_its_lease_publishes_nothing(make_loop, tmp_path, figures, full):
    loop = make_loop(POLL_SECONDS="0.5")
    two, stale, mixed = TwoWorkers(loop, tmp_path), [], []
    path = f"/api/projects/{two.project.id}/"
    moments = [("POST", path + "import/predictions", None), ("PATCH", path, switch)]
    trials = (20 if full else 1) * len(moments)
    try:
        wait_for(two.holder, "a worker")
        two.next_order()
        for trial in range(trials):
            method, where, when = moments[trial % len(moments)]
            # The request has left the worker: it is acted on while the worker still sleeps.
            loop.studio.fault(method, where, before=two.sleep, when=when)
            two.next_order()
            two.wake()
            found = two.wrong()
            stale += found[0]
            mixed += found[1]
    finally:
        two.close()
    figures(process_trials=trials, stale=len(stale), mixed=len(mixed))
    assert not stale + mixed
