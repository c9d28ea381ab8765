"""F20: how long /predict and /webhook take while a training fills all cores, against idle."""

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import time

import pytest

from tests.fuzz.malformed import PROJECT, Request, credentials
from tests.fuzz.served import Client, served
from tests.studio.processes import ROOT

HEADERS = {"Authorization": credentials(), "Content-Type": "application/json"}
CALLS = {
    "predict": Request(
        "POST", "/predict", HEADERS, b'{"project": "%d.1", "tasks": [{"id": 1}]}' % PROJECT
    ),
    "webhook": Request(
        "POST", f"/webhook?project={PROJECT}", HEADERS, b'{"action": "ANNOTATION_CREATED"}'
    ),
}
BLOCK = 200
"""Calls of a kind in a row; idle and busy blocks alternate, so that both meet the same machine. The
first calls after another kind or a change of the load are slow, on an idle machine, too. Blocks of
50 calls would therefore measure little else in their p99."""
PAUSE = 0.5
"""Seconds before each block, so that a training is under way or everything is still."""
OTHERS = 20.0
"""In the short form, the ratio may be as high: other tests run on the same cores."""


@contextlib.contextmanager
def training():
    """A training on all cores, stopped at first; yields its process."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.busy_training"], cwd=ROOT, env=environment,
        stdout=subprocess.PIPE, text=True, start_new_session=True,  # as `serve` does
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "training\n"
        process.send_signal(signal.SIGSTOP)
        yield process
    finally:
        process.kill()
        process.stdout.close()
        process.wait(30)


def timed(client, seconds):
    """A block of calls of each kind; their seconds are added to `seconds`."""
    for name, call in CALLS.items():
        for _ in range(BLOCK):
            began = time.perf_counter()
            assert client.send(call) == 200
            seconds[name].append(time.perf_counter() - began)


def p99_ms(seconds):
    return statistics.quantiles(seconds, n=100)[98] * 1e3


@pytest.mark.slow
@pytest.mark.fault("F20")
def test_stored_predictions_and_webhooks_are_as_fast_beside_a_training(tmp_path, figures, full):
    blocks = 20 if full else 2
    idle, busy = ({name: [] for name in CALLS} for _ in range(2))
    with served(tmp_path) as server, training() as process, Client(server.port) as client:
        timed(client, {name: [] for name in CALLS})
        for _ in range(blocks):
            time.sleep(PAUSE)  # no signal says that the stopped training's cores are still
            timed(client, idle)
            process.send_signal(signal.SIGCONT)
            time.sleep(PAUSE)  # nor that the continued one fills them
            timed(client, busy)
            process.send_signal(signal.SIGSTOP)
        assert process.poll() is None
    found = {}
    for name in CALLS:
        before, during = p99_ms(idle[name]), p99_ms(busy[name])
        found |= {f"{name}_idle_ms": round(before, 1), f"{name}_busy_ms": round(during, 1)}
        found[f"{name}_ratio"] = round(during / before, 2)
    figures(**found, calls=blocks * BLOCK * len(CALLS))
    assert max(found[f"{name}_ratio"] for name in CALLS) <= (2.0 if full else OTHERS), found
