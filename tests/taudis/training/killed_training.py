"""Trainings that are killed: each line of standard input is one, in a process of its own.

    {"folder": ..., "precision": ..., "kill": null | ["step", 7, 0.01] | ["saving", 7, "cut"]}

answers {"steps": [...], "exit": -9 or 0}: the steps that were done. This process only imports and
forks, so that a start costs no import. The kill is a real SIGKILL: `["step", 7, 0.01]` 0.01 s after
step 7, wherever the process is by then; `["saving", 7, ...]` at a point of the first save from step
7 on.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import threading
from pathlib import Path

import torch

from taudis import files
from taudis.detector.checkpoint import save_checkpoint
from taudis.training import training_state
from taudis.training.train import Recipe, train
from tests.taudis.detector_cases import LABELS, TINY, Pictures

RECIPE = Recipe(name="killed", steps=36, model=TINY, batch=2, crop=48, warmup=4, colour=0.2,
                balance=0.5, checkpoint_every=3, evaluate_every=4, patience=100)  # fmt: skip


def die(*_args, **_options):
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()  # the other threads may go on for an instant


def half_then_die(tensors, path):
    """A state file that is cut in the middle."""
    training_state_save(tensors, path)
    os.truncate(path, path.stat().st_size // 2)
    die()


def remove_one_then_die(folder, **_options):
    """An older state that is half removed."""
    next(folder.iterdir()).unlink()
    die()


training_state_save = training_state.save_file
SAVING = {
    "empty": (training_state, "save_file", die),
    "cut": (training_state, "save_file", half_then_die),
    "unsealed": (files, "_sums", die),
    "sealed": (files, "sync", die),
    "older stays": (training_state.shutil, "rmtree", die),
    "older half gone": (training_state.shutil, "rmtree", remove_one_then_die),
}


class Doom:
    """Progress of a training that ends as asked."""

    def __init__(self, kill, log):
        self.kill, self.log = kill, log

    def __call__(self, progress):
        self.log.write(f"{progress.step}\n")
        self.log.flush()
        if self.kill is None or progress.step < self.kill[1]:
            return
        kind, _, how = self.kill
        self.kill = None
        if kind == "step":
            threading.Timer(how, die).start()
        else:
            owner, name, stand_in = SAVING[how]
            setattr(owner, name, stand_in)


def evaluate(detector):
    """Any figure that is a function of the weights alone, now better and now worse."""
    weight = detector.model.backbone.fpn.layer_blocks[0][0].weight.detach()
    return float(torch.sin(1e4 * weight.sum()))


def run(folder, precision, kill):
    """The whole training, or what is left of it, into folder/done."""
    torch.set_num_threads(1)
    recipe = dataclasses.replace(RECIPE, precision=precision)
    with (folder / "steps").open("a") as log:
        detector = train(Pictures(5), LABELS, recipe, seed=3, resume_dir=folder / "states",
                         progress=Doom(kill, log), evaluate=evaluate)  # fmt: skip
    save_checkpoint(folder / "done", detector, card={})


def main():
    for line in sys.stdin:
        asked = json.loads(line)
        folder = Path(asked["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "steps").write_text("")
        child = os.fork()
        if child == 0:
            try:
                run(folder, asked["precision"], asked["kill"])
                os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        steps = [int(step) for step in (folder / "steps").read_text().split()]
        print(json.dumps({"steps": steps, "exit": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
