"""Trains a step under limits of memory, in a process of its own; a line of JSON each.

Each line is {side, need_mb, extra_mb, batch, error}: the pictures' sides in px, what a step took
without a limit, how much more memory there was, the batch that the step took in the end (0 if it
failed), and the reason of the failure.
"""

import dataclasses
import json
import logging
import re
import resource
import tempfile
from pathlib import Path

import torch

from backend.process import limit_memory
from taudis.detector.memory import give_back_free_pages
from taudis.errors import TrainingError
from taudis.training.recipes import Recipe
from taudis.training.train import train
from tests.taudis.detector_cases import LABELS, PRETRAINED_TINY, picture

BATCH, SIDE, LARGE = 4, 512, 1_600
SHARES = (0.6, 0.45, 0.34)
"""Of what a step takes; the first one under which the batch was halved is enough."""
TOO_LITTLE_MB = 90
"""Less than the first map of one picture of LARGE takes, so that it is this which fails."""


@dataclasses.dataclass(frozen=True)
class Squares:
    """Pictures of side x side px."""

    side: int

    def __len__(self):
        return BATCH

    def __getitem__(self, index):
        return picture(index, self.side, self.side)


class Batches(logging.Handler):
    """Remembers the last batch that the log names."""

    batch = BATCH

    def emit(self, record):
        if "the batch is now" in record.msg:
            self.batch = record.args[0]


def mapped(name):
    """VmSize or VmPeak of this process, bytes."""
    with open("/proc/self/status") as file:  # noqa: PTH123 (no more than this, short of memory)
        return int(re.search(rf"^{name}:\s+(\d+) kB", file.read(), re.M)[1]) * 1024


def limit(extra_mb):
    """Let this process map `extra_mb` more than it has; None lifts the limit."""
    most = resource.RLIM_INFINITY
    if extra_mb is not None:
        most = mapped("VmSize") + int(extra_mb * 1e6)
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def one(side, folder, extra_mb=None):
    """One training of a step under a limit: (batch, error)."""
    model = dataclasses.replace(PRETRAINED_TINY, max_size=side)
    recipe = Recipe(name="one", steps=1, model=model, crop=None, whole=side, batch=BATCH, warmup=1)
    seen = Batches()
    logging.getLogger("taudis").addHandler(seen)
    give_back_free_pages()
    limit(extra_mb)
    try:
        train(Squares(side), LABELS, recipe, seed=0, weights="imagenet", weights_dir=folder)
        return seen.batch, ""
    except TrainingError as error:
        return 0, str(error)
    finally:
        limit(None)
        logging.getLogger("taudis").removeHandler(seen)


def main():
    torch.set_num_threads(1)
    limit_memory(training=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        one(SIDE, folder)  # what is loaded at first use is there afterwards
        give_back_free_pages()
        need = (mapped("VmPeak") - mapped("VmSize")) / 1e6
        trials = [(SIDE, need * share) for share in SHARES] + [(LARGE, TOO_LITTLE_MB)]
        halved = False
        for side, extra in trials:
            if halved and side == SIDE:
                continue
            batch, error = one(side, folder, extra)
            halved = halved or 0 < batch < BATCH
            line = {"side": side, "need_mb": round(need), "extra_mb": round(extra)}
            print(json.dumps({**line, "batch": batch, "error": error}), flush=True)


if __name__ == "__main__":
    main()
