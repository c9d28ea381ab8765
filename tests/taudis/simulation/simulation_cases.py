"""A tiny data set, a tiny grid and a process that runs it, for the tests of the simulation.

    python -m tests.taudis.simulation.simulation_cases

reads one JSON object a line, {"out", "data", "seeds", "kill"}, and runs that grid in a child
process each: a fork costs no import. `kill` is null, the seconds after which the child kills itself
in any instruction, or the name of a place in KILLS where it does. It answers with the exit code.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from taudis.data.coco import load_coco
from taudis.selection.params import SelectionParams
from taudis.simulation import claims, model_store, row_log, run
from taudis.simulation.data_set import data_set, divided
from taudis.simulation.grid import Asked, Grid
from taudis.simulation.presets import read_presets
from taudis.training.recipes import Recipe
from tests.taudis.detector_cases import LABELS, TINY, picture, save_coco

MODEL = dataclasses.replace(TINY, backbone="mobilenet_v2", proposals=12, detections_per_image=6)
RECIPE = Recipe(name="tiny", steps=2, model=MODEL, batch=2, crop=48, warmup=1, precision="fp32")
STRATEGIES = "random,taudis,wse"
SEEDS = (0, 1)


def write_data(folder: Path, images: int = 14) -> Path:
    """A COCO file and its pictures, two of each scene."""
    folder.mkdir(parents=True)
    pairs = [picture(seed) for seed in range(images)]
    names = [f"{row // 2}_{row}.png" for row in range(images)]
    for name, (image, _) in zip(names, pairs, strict=True):
        Image.fromarray(image).save(folder / name)
    records = [(100 + row, name, (64, 64)) for row, name in enumerate(names)]
    save_coco(folder / "instances.json", LABELS, records, [target for _, target in pairs])
    return folder


def grid(**changes) -> Grid:
    """A grid of 2 rounds of 2 images after 3."""
    usual = {
        "data": "tiny", "coco_sha256": "c", "images_sha256": "i", "test_share": 0.2,
        "split_seed": 0, "group": r"^(\d+)_", "crowds": "ask", "skip_bad": False,
        "recipe": RECIPE, "weights": "none", "weights_sha256": "", "device": "cpu",
        "budget": 2, "seed_images": 3, "rounds": 2,
    }  # fmt: skip
    return Grid(**(usual | changes))


def opened(folder: Path, of: Grid):
    """The data set in a folder."""
    labels, samples = load_coco(folder / "instances.json", folder)
    rows = divided(samples, share=of.test_share, seed=of.split_seed, group=of.group)
    return data_set(labels, samples, rows, of.recipe.model)


class Watched:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.jobs, self.steps = [], 0

    def started(self, job):
        pass

    def step(self, done, steps):
        self.steps += 1

    def rows(self, done, job, row):
        if job is not None:
            self.jobs.append(job)


def simulate(data: Path, out: Path, strategies: str = STRATEGIES, seeds=SEEDS, all_labels=True):
    """Run the grid in this process; the outcome and what was seen."""
    torch.set_num_threads(1)
    presets = read_presets(strategies, SelectionParams())
    asked = Asked(tuple(preset.name for preset in presets), tuple(seeds), all_labels)
    watched, whole = Watched(), grid()
    return run.start(out, whole, opened(data, whole), presets, asked, watched), watched


def rows_of(out: Path) -> dict[str, dict]:
    """The rows of a run by their names, without what depends on the speed of the machine."""
    lines = (out / "rows.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    found = {}
    for row in rows:
        row.pop("cpu_seconds")
        name = row_log.Job.of_row(row).name
        assert name not in found, f"{name} is doubled"
        found[name] = row
    return found


# --- a run that dies ---------------------------------------------------------------------------


def die(*_args, **_options):
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


def write_half_a_row(log, row):
    with log.lock.held(), log.path.open("ab") as file:
        file.write(json.dumps(row).encode()[: -len(str(row)) // 2])
    die()


def write_a_row_without_an_end(log, row):
    with log.lock.held(), log.path.open("ab") as file:
        file.write(json.dumps(row).encode())
    die()


def write_row_then_die(log, row):
    ROW_APPEND(log, row)
    die()


def claim_without_a_name(handle, *_args, **_options):
    die()


ROW_APPEND = row_log.RowLog.append
KILLS = {
    "half a row": (row_log.RowLog, "append", write_half_a_row),
    "a row without an end": (row_log.RowLog, "append", write_a_row_without_an_end),
    "row written, claim kept": (row_log.RowLog, "append", write_row_then_die),
    "claim without a name": (claims.os, "fdopen", claim_without_a_name),
    "choice not written": (run, "write_json", die),
    "trained, not saved": (model_store, "save_checkpoint", die),
    "saved, states kept": (model_store, "clear_states", die),
    "evaluated, not written": (model_store, "write_json", die),
    "before the scoring": (model_store, "score_to_file", die),
    "in the clearing": (model_store.shutil, "rmtree", die),
}
"""Name -> (owner, name of a function, what stands in for it)."""


def arm(kill) -> None:
    """Let this process die as asked; a place kills at its `at`-th call."""
    if isinstance(kill, int | float):
        threading.Timer(kill, die).start()
    elif kill:
        place, at = kill
        owner, name, stand_in = KILLS[place]
        usual, calls = getattr(owner, name), itertools.count(1)

        def sometimes(*args, **options):
            return (stand_in if next(calls) == at else usual)(*args, **options)

        setattr(owner, name, sometimes)


def count_trainings(out: Path) -> None:
    """Let every training that begins leave a line beside `out`."""
    usual = model_store.train

    def counted(samples, *args, **options):
        with out.with_name(f"{out.name}.trainings").open("a") as file:
            file.write(f"{options['seed']} {sorted(samples.rows)}\n")
        return usual(samples, *args, **options)

    model_store.train = counted


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                out = Path(asked["out"])
                arm(asked["kill"])
                count_trainings(out)
                simulate(Path(asked["data"]), out, seeds=asked["seeds"])
                code = 0
            finally:
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
