"""Makes the row of a job: trains and evaluates its model, and records how to repeat it.

docs/experiments.md describes the format of a row.
"""

from __future__ import annotations

import functools
import hashlib
import math
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import taudis
from taudis.detector.card import code_version
from taudis.simulation.choosing import selection_seed
from taudis.simulation.jobs import Job
from taudis.simulation.model_store import Model, ModelStore
from taudis.simulation.presets import Preset
from taudis.simulation.row_format import FORMAT
from taudis.simulation.row_log import Row

VERSIONS = ("torch", "torchvision", "numpy", "scipy", "opencv-python-headless")
"""Packages whose versions a row records, besides taudis."""

PARTS = ("train", "evaluate", "score", "score_labelled", "select", "correct")
"""The parts of a row's CPU seconds."""


def make_row(
    job: Job,
    store: ModelStore,
    preset: Preset | None,
    before: Row | None,
    choice: dict[str, Any] | None,
) -> Row:
    """The row of a job.

    preset: settings of its strategy. before: the row of the round before. choice: the chosen images
    (`choose_images`). All three are None unless the kind is "round". Raises BusyError while another
    process makes the model.
    """
    chosen: list[int] = choice["chosen"] if choice else []
    labelled = [*(before["labelled"] if before else _first_images(job, store)), *chosen]
    model = Model.of(job, labelled)
    evaluation = store.evaluation(model)
    evaluation["cpu_seconds"] = dict.fromkeys(PARTS, 0.0) | evaluation["cpu_seconds"]
    row: Row = {
        "format": FORMAT,
        "grid": store.grid.hash,
        "data": store.grid.data,
        "kind": job.kind,
        "strategy": job.strategy,
        "seed": job.seed,
        "round": job.round,
        "labelled_images": len(labelled),
        "labelled_objects": store.data.objects(labelled),
        **evaluation,
        "steps": store.grid.recipe.steps,
    }
    if choice is not None:
        row["cpu_seconds"] |= choice["cpu_seconds"]
        row |= {key: choice[key] for key in ("chosen", "corrections", "selection", "pool")}
        row["chosen_objects"] = store.data.objects(chosen)
    record = record_of(job, store, preset, model)
    return {**row, "labelled": labelled, "model": model.key, "record": record}


def _first_images(job: Job, store: ModelStore) -> list[int]:
    """The labelled images of a job without a round before."""
    return list(store.data.train_ids) if job.kind == "all" else store.seed_set(job.seed)


def record_of(job: Job, store: ModelStore, preset: Preset | None, model: Model) -> dict[str, Any]:
    """Everything that is needed to make the row again, except the images."""
    selected_with = None if job.round is None else selection_seed(job.seed, job.round)
    return {
        "shared": store.grid.to_dict(),
        "strategy": preset.to_dict() if preset else None,
        "training_seed": model.training_seed,
        "selection_seed": selected_with,
        "threads": torch.get_num_threads(),
        "machine": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        "versions": {
            "taudis": code_version(),
            "taudis_source": source_hash(),
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in VERSIONS},
        },
    }


@functools.cache
def source_hash() -> str:
    """16 hexadecimal digits of the SHA-256 of this package's Python files, names and content.

    It tells apart source code with the same version of the package.
    """
    root, found = Path(taudis.__file__).parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        found.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:16]


def finite(value: Any) -> Any:
    """The value with None for numbers that are not finite, which JSON does not have."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [finite(each) for each in value]
    if hasattr(value, "item"):  # a numpy scalar
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
