"""F5: Label Studio is down, silent, or answers errors or parts, from each call of a round on."""

import functools
import itertools
import logging

import pytest
import requests

from backend.label_studio import client, listings, repetition
from backend.label_studio.client import Studio
from backend.worker import context, worker
from backend.worker.attempts import AWAIT_SECONDS
from backend.worker.context import RoundContext
from backend.worker.triggers import AFTER_FAILURE_SECONDS
from demo.studio import ADMIN
from tests.backend.local_loop import PASSWORD, USER, LocalLoop
from tests.faults.driver import Jumps
from tests.faults.proxy import FAULTS, RecordingProxy

TIMEOUT, PATIENCE = 0.75, 0.1
"""Seconds for an attempt and for a call with its repetitions, instead of 30 to 900 and 90."""


class Failing:
    """A backend behind a proxy that fails on demand, and a project with a first order."""

    def __init__(self, loop, proxy, monkeypatch):
        self.loop, self.proxy, self.clock = loop, proxy, Jumps(loop.studio, monkeypatch)
        proxy.silent_s = TIMEOUT + 1
        loop.environment["LABEL_STUDIO_URL"] = proxy.url
        loop.start_worker()
        self.project = loop.project(4)

    def pass_by(self, first, fault):
        """A round of which all calls from number `first` on meet a fault; the number of calls."""
        count = 0

        def fault_of(*_):
            nonlocal count
            count += 1
            return fault if count > first else ""

        self.project.import_pictures(1)
        self.proxy.fault_of = fault_of
        self.loop.turn()
        self.loop.clean()
        self.proxy.fault_of = lambda *_: ""
        return count

    def partial(self):
        """Whether another order is served than a whole one that the backend published."""
        version = self.project.version()
        return version and self.project.order(version) != self.project.stored_order(version)

    def ready(self):
        """The status of /health, that of /ready, and what /ready says."""
        self.loop.store.renew(self.loop.lease)  # as the heartbeat does
        health = requests.get(f"{self.loop.url}/health", timeout=10).status_code
        found = requests.get(f"{self.loop.url}/ready", auth=(USER, PASSWORD), timeout=10)
        return health, found.status_code, found.text

    def recover(self):
        """Turns until all tasks have a place; whether they have."""
        self.clock.ahead += max(AFTER_FAILURE_SECONDS, AWAIT_SECONDS) + 1  # that time passes
        for _ in range(4):
            self.loop.worker._pauses.clear()  # so does the pause of the threads
            self.loop.turn()
            self.loop.clean()
            if self.whole():
                return True
        return False

    def whole(self):
        """Whether every task has a place, and no round is open."""
        tasks = {task["id"] for task in self.project.tasks()}
        return {*self.project.order()} == tasks and not self.loop.store.open_rounds()


@pytest.fixture
def failing(tmp_path, untrained_model, monkeypatch):
    monkeypatch.setattr(context, "Studio", functools.partial(Studio, timeout=TIMEOUT))
    impatient = functools.partial(RoundContext, patience=PATIENCE)
    monkeypatch.setattr(worker, "RoundContext", impatient)
    for module in (client, listings):
        monkeypatch.setattr(module, "PAGE_SECONDS", TIMEOUT)
    monkeypatch.setattr(client, "LONG_SECONDS", TIMEOUT)
    monkeypatch.setattr(repetition, "FIRST_PAUSE", 0.05)
    with (
        LocalLoop(tmp_path / "data", untrained_model) as loop,
        RecordingProxy(loop.studio.url) as proxy,
    ):
        yield Failing(loop, proxy, monkeypatch)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.fault("F5", "calls", "health", "recovers")
def test_each_fault_from_each_call_on(failing, caplog, figures, full):
    """The short form gives each call one of the faults, the full form every one."""
    calls = failing.pass_by(10**9, "")
    assert failing.recover() and calls > 10
    partial, crashes, cases, reported = 0, 0, 0, 0
    for first in range(calls):
        for fault in FAULTS if full else [FAULTS[first % len(FAULTS)]]:
            caplog.clear()
            failing.pass_by(first, fault)
            crashes += sum(record.levelno >= logging.ERROR for record in caplog.records)
            partial += bool(failing.partial())
            health, ready, says = failing.ready()
            assert health == 200
            assert (ready == 503) is ("Project" in says)
            reported += ready == 503
            assert failing.recover(), f"{fault} from call {first} on: {caplog.text}"
            assert failing.ready()[1] == 200
            cases += 1
    figures(cases=cases, partial=partial, crashes=crashes, reported=reported)
    assert not partial and not crashes
    assert reported > 0
    assert {fault for fault, *_ in failing.proxy.faults} == {*FAULTS}


@pytest.mark.fault("F5", "client")
def test_retry_after_is_obeyed_and_pauses_grow(failing, monkeypatch):
    """One 429 with `Retry-After: 1`, then 502s with growing pauses, then the answer."""
    monkeypatch.setattr(repetition, "FIRST_PAUSE", 0.2)
    answers, proxy = ["429", "502", "502", "502", ""], failing.proxy
    proxy.fault_of, proxy.asked[:] = (lambda *_: answers.pop(0)), []
    studio = Studio(proxy.url, ADMIN.token, timeout=10, patience=60)
    assert studio.project(failing.project.id)["id"] == failing.project.id
    pauses = [after - before for before, after in itertools.pairwise(proxy.asked)]
    assert pauses[0] >= 1.0
    assert all(pause >= least for pause, least in zip(pauses[1:], (0.2, 0.4, 0.8), strict=True))
