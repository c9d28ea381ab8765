"""Records the first choice of every strategy and preset with the same model, without training.

    OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.study_choices DATA --runs FOLDER --sets NAMES
        [--seeds 0-1] [--entries screening]

Strategies that choose the same images have the same model after the round. So strategies with
nearly equal choices need not be compared by training. The model is that of a seed's first images,
in the grid of benchmarks/study.py in FOLDER; it is trained if it does not exist. Each choice is a
line of docs/results/choices.jsonl; existing choices are not repeated. The last line is JSON: the
number of choices.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.study import PARTS, ROWS
from benchmarks.study_pictures import open_data
from taudis.files import append_bytes
from taudis.selection.params import SelectionParams
from taudis.simulation.choosing import choose_images
from taudis.simulation.claims import Claims, Lock
from taudis.simulation.data_set import DataSet
from taudis.simulation.grid import read_grid
from taudis.simulation.jobs import read_seeds
from taudis.simulation.model_store import Model, ModelStore
from taudis.simulation.presets import SCREENING, Preset, read_presets
from taudis.simulation.run import GRID_FILE

CHOICES = ROWS.parent / "choices.jsonl"
FIGURES = ("candidates", "images_with_candidates", "pool_images", "pool_detections", "sigma_eff",
        "density", "coverage", "saturation_pick")  # fmt: skip


def known(path: Path = CHOICES) -> set[tuple[str, int, str]]:
    """The choices in a file: (set, seed, name). An incomplete last line is left out."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    return {_name(json.loads(line)) for line in lines}


def _name(row: dict[str, Any]) -> tuple[str, int, str]:
    return row["data"], row["seed"], row["strategy"]


def record(row: dict[str, Any], lock: Lock, path: Path = CHOICES) -> None:
    """Add a choice, unless the file has it. An incomplete last line is removed first."""
    with lock.held():
        if path.exists():
            data = path.read_bytes()
            os.truncate(path, data.rfind(b"\n") + 1)
        if _name(row) not in known(path):
            append_bytes(path, json.dumps(row).encode() + b"\n")


def choice(store: ModelStore, data: DataSet, preset: Preset, seed: int) -> dict[str, Any]:
    """The choice of a preset after the seed set."""
    first = frozenset(store.seed_set(seed))
    found = choose_images(store, Model(0, seed, first), preset, 1)
    labels = [data.samples.labels_at(data.row_of[number]) for number in found.chosen]
    return {
        "data": store.grid.data, "seed": seed, "strategy": preset.name, "chosen": found.chosen,
        "objects": sum(map(len, labels)), "labels": len(np.unique(np.concatenate(labels))),
        **{key: found.selection.get(key) for key in FIGURES},
        "corrections": found.to_dict()["corrections"],
    }  # fmt: skip


def run(name: str, options: argparse.Namespace, presets: tuple[Preset, ...]) -> None:
    """All choices of a set, seed by seed."""
    folder = options.runs / name
    grid = read_grid(folder / GRID_FILE).grid
    data = open_data(options.data, name, grid)
    lock = Lock(options.runs / "choices.lock")
    with Claims(folder / "claims", Lock(folder / "lock")) as claims:
        store = ModelStore(folder / "models", claims, grid, data)
        for seed in read_seeds(options.seeds):
            for preset in presets:
                if (name, seed, preset.name) not in known():
                    record(choice(store, data, preset, seed), lock)


def main() -> None:
    """Record the choices of the sets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--runs", type=Path, required=True)
    names = [grid.name for grid in PARTS["screening"].grids]
    parser.add_argument("--sets", default=",".join(names))
    parser.add_argument("--seeds", default="0-1")
    parser.add_argument("--entries", default=SCREENING)
    options = parser.parse_args()
    for name in options.sets.split(","):
        run(name, options, read_presets(options.entries, SelectionParams()))
    print(json.dumps({"choices": len(known())}))


if __name__ == "__main__":
    main()
