"""When a worker that ended counts as ended for lack of memory."""

from types import SimpleNamespace

import pytest

from backend.errors import RoundError
from backend.store.lease import Lease
from backend.worker import memory_kills
from backend.worker.round import Reporter


class Kernel:
    """Its count of kills, and the reports of workers that follow each other."""

    def __init__(self, monkeypatch):
        self.kills, self.last, self.token = 0, {}, 0
        monkeypatch.setattr(memory_kills, "kills", lambda: self.kills)

    def report(self, _lease, _round, progress):
        self.last = dict(progress)

    def worker(self, step="trained"):
        """The next worker goes on with a step; its reporter, and the deaths that it counts."""
        self.token += 1
        lease = Lease("a worker", self.token)
        found = self.deaths(lease, step)
        reporter = Reporter(self, lease, 1, found)
        reporter({"step": step}, force=True)
        assert self.deaths(lease, step) == found  # the same at each look
        return reporter, found

    def deaths(self, lease, step):
        return memory_kills.deaths(SimpleNamespace(progress=self.last), step, lease)


@pytest.fixture
def kernel(monkeypatch):
    return Kernel(monkeypatch)


def test_kills_between_the_last_report_and_the_next_worker_count(kernel):
    for number in range(3):
        assert kernel.worker()[1] == number
        kernel.kills += 1
    with pytest.raises(RoundError, match="ended the worker 3 times"):
        memory_kills.check(kernel.worker()[1])


def test_a_kill_of_another_process_before_the_last_report_does_not_count(kernel):
    reporter, _ = kernel.worker()
    kernel.kills += 1
    reporter({"step": "trained", "done": 3}, force=True)  # so this worker lives
    assert kernel.worker()[1] == 0


def test_a_start_without_a_kill_before_it_ends_the_row(kernel):
    kernel.worker()
    kernel.kills += 1
    assert kernel.worker()[1] == 1
    assert kernel.worker()[1] == 0
    kernel.kills += 1
    assert kernel.worker()[1] == 1
    kernel.kills += 1
    assert kernel.worker("evaluated")[1] == 0  # another step
