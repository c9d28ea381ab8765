"""Runs real workers that get SIGKILL or SIGSTOP at a given moment of a given step.

This process reads lines "STEP MOMENT" ("- -" kills nothing), forks a worker for each, and writes
its process id, then its exit code. It wraps functions of the worker from outside, since the product
has no hook for this. It forks because importing torch takes most of a worker's start.
"""

import dataclasses
import functools
import http.client
import os
import signal
import sys
import threading
from pathlib import Path

from backend.label_studio.client import Studio
from backend.logs import setup_logging
from backend.settings import load_settings
from backend.store.database import Store
from backend.worker import round as rounds
from backend.worker import score, worker
from backend.worker import train as learn


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def around_step(step, moment):
    """Die when a step begins, or when it has done everything but write its row."""
    real = rounds.STEP_FUNCTIONS[step]

    def doomed(context, round_, report):
        if moment == "before":
            die()
        real(context, round_, report)
        die()

    rounds.STEP_FUNCTIONS = {**rounds.STEP_FUNCTIONS, step: doomed}


def after_call(owner, name):
    """Die right after the real function's first call."""
    real = getattr(owner, name)

    @functools.wraps(real)
    def doomed(*args, **kwargs):
        real(*args, **kwargs)
        die()

    setattr(owner, name, doomed)


def while_training():
    """Die when training has done half of its steps."""
    real = learn._training_progress

    def doomed(progress):
        if progress.step * 2 >= progress.steps:
            die()
        return real(progress)

    learn._training_progress = doomed


def while_posting(sent):
    """Die after half of the bulk post, or after all of it but before its response."""
    connection = http.client.HTTPConnection
    real_request, real_send = connection.putrequest, connection.send
    real_response = connection.getresponse

    def putrequest(self, method, url, *args, **kwargs):
        # kept for each connection: the worker's other threads send requests at the same time
        self.doomed = url.endswith("/import/predictions")
        return real_request(self, method, url, *args, **kwargs)

    def send(self, data):
        if self.doomed and not sent and isinstance(data, bytes) and b'"model_version"' in data:
            real_send(self, data[: len(data) // 2])
            die()
        return real_send(self, data)

    def getresponse(self, *args, **kwargs):
        if self.doomed:
            die()
        return real_response(self, *args, **kwargs)

    connection.putrequest, connection.send = putrequest, send
    connection.getresponse = getresponse


def count_training():
    """Write round, process and step of every training step to the file TRAINING_STEPS, and keep the
    training every CHECKPOINT_EVERY steps.
    """
    real_step, real_recipe = rounds.STEP_FUNCTIONS["trained"], learn.recipe_of
    real_progress, every = learn._training_progress, int(os.environ["CHECKPOINT_EVERY"])
    number = 0

    def train(context, round_, report):
        nonlocal number
        number = round_.number
        return real_step(context, round_, report)

    def progress(made):
        with Path(os.environ["TRAINING_STEPS"]).open("a") as file:
            file.write(f"{number} {os.getpid()} {made.step}\n")
        return real_progress(made)

    def recipe(*arguments):
        return dataclasses.replace(real_recipe(*arguments), checkpoint_every=every)

    rounds.STEP_FUNCTIONS = {**rounds.STEP_FUNCTIONS, "trained": train}
    learn._training_progress, learn.recipe_of = progress, recipe


def stop_around_each_step():
    """Stop by SIGSTOP when a step begins, and again before its row is written."""

    def stop():
        # To this thread, which goes no step further. A signal to the process may wait for another.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)

    def stopping(real):
        def step(context, round_, report):
            stop()
            result = real(context, round_, report)
            stop()
            return result

        return step

    rounds.STEP_FUNCTIONS = {name: stopping(real) for name, real in rounds.STEP_FUNCTIONS.items()}


SPECIAL = {
    ("every", "stop"): stop_around_each_step,
    ("-", "-"): lambda: None,
    ("random", "-"): count_training,  # the kill comes from outside
    ("trained", "middle"): while_training,
    ("scored", "middle"): lambda: after_call(score, "encode_prediction"),
    ("published", "half"): lambda: while_posting(sent=False),
    ("published", "sent"): lambda: while_posting(sent=True),
    ("flipped", "patched"): lambda: after_call(Studio, "patch_project"),
    ("pruned", "middle"): lambda: after_call(Store, "prune_version"),  # its files still there
}


def work(step, moment):
    """Run the real worker, with the moment of its death if there is one."""
    os.setsid()
    if moment in ("before", "after"):
        around_step(step, moment)
    else:
        SPECIAL[step, moment]()
    settings = load_settings()
    setup_logging(settings.log_level)
    worker.run(settings)


def main():
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            work(*line.split())
            os._exit(0)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
