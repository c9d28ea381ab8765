"""Predictions files for tests, written as the steps `score` and `select` write them."""

import signal
import subprocess
import sys
from pathlib import Path

from backend.store import predictions
from backend.store.predictions import Place

ROOT = Path(__file__).resolve().parents[3]


def write(path, regions, reason="because"):
    """A file of tasks and their regions, ranked as they come. Returns their places."""
    with predictions.writing(path) as add:
        for task, found in regions.items():
            add(task, found)
    places = [
        Place(task, rank, rank / len(regions), reason) for rank, task in enumerate(regions, start=1)
    ]
    assert predictions.set_order(path, places) == len(regions)
    return places


def given(regions, reason="because"):
    """The regions as people are given them: the first one says why the image comes."""
    if not regions:
        return []
    first, *others = regions
    return [{**first, "meta": {"text": [f"Why this image: {reason}"]}}, *others]


KILLED = """
import os, signal, sys
from pathlib import Path
from backend.store import predictions
from backend.store.predictions import Place

def places():
    for rank in range(1, 60_001):
        yield Place(100_000 - rank, rank, rank / 60_000, "a long reason " * 20)
    os.kill(os.getpid(), signal.SIGKILL)

path = Path(sys.argv[1])
if sys.argv[2] == "order":
    predictions.set_order(path, places())
with predictions.writing(path) as add:
    for task in range(300):
        add(task, [{"id": os.urandom(20_000).hex()}])
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed_while_it_writes(path, deed):
    """A process begins the `deed`, "order" or "regions", on a file and is killed before its end."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), deed], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
