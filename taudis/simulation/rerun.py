"""Makes a row again from its record, in a temporary folder, and compares both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from taudis.files import scratch_folder
from taudis.simulation.choosing import choose_images
from taudis.simulation.claims import Claims, Lock
from taudis.simulation.data_set import DataSet
from taudis.simulation.grid import Grid
from taudis.simulation.jobs import Job
from taudis.simulation.make_row import finite, make_row, record_of
from taudis.simulation.model_store import Model, ModelStore, OnStep, no_steps
from taudis.simulation.presets import Preset
from taudis.simulation.row_log import Row


def no_part(name: str) -> None:
    """An `on_part` that reports nothing."""


def rerun(
    row: Row,
    grid: Grid,
    data: DataSet,
    folder: Path,
    *,
    on_step: OnStep = no_steps,
    on_part: Callable[[str], None] = no_part,
) -> dict[str, Any]:
    """Choose, train and evaluate as the row says, without any file of its run.

    The row of a round needs two trainings, because the model that chose is trained again, too, on
    the images that the row lists as labelled before. folder: a place for temporary files. Returns
    mAP50 then and now, whether they and the chosen images are equal, and the differences between
    the machines.
    """
    job = Job.of_row(row)
    settings = row["record"]["strategy"]
    preset = Preset.from_dict(str(job.strategy), settings) if settings else None
    with (
        scratch_folder(folder, "rerun-") as here,
        Claims(here / "claims", Lock(here / "lock")) as claims,
    ):
        store = ModelStore(here / "models", claims, grid, data)
        store.on_step = on_step
        on_part(f"{job.name}: the model that chose" if preset else job.name)
        before, choice = _choice(row, job, preset, store)
        on_part(job.name)
        again = make_row(job, store, preset, before, choice and {**choice, **_chosen(row)})
        model = Model.of(job, row["labelled"])
        now = record_of(job, store, preset, model)
    return {
        "row": job.name,
        "map50": row["map50"],
        "map50_again": again["map50"],
        "equal": again["map50"] == row["map50"],
        "chosen_equal": choice["chosen"] == row["chosen"] if choice else None,
        "differs": _differing(row["record"], now),
    }


def _choice(
    row: Row, job: Job, preset: Preset | None, store: ModelStore
) -> tuple[Row | None, dict[str, Any] | None]:
    """(the row of the round before, the choice made again); None unless the kind is "round"."""
    if preset is None or job.before is None or job.round is None:
        return None, None
    labelled = row["labelled"][: len(row["labelled"]) - len(row["chosen"])]
    model = Model.of(job.before, labelled)
    return {"labelled": labelled}, finite(choose_images(store, model, preset, job.round).to_dict())


def _chosen(row: Row) -> dict[str, Any]:
    """The recorded choice: the training is repeated with it, even if the new choice differs."""
    return {"chosen": row["chosen"]}


def _differing(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The differences in machine and versions since the row was made."""
    pairs = {
        **{key: (then[key], now[key]) for key in ("threads", "machine")},
        **{key: (then["versions"].get(key), each) for key, each in now["versions"].items()},
    }
    return [f"{key}: {old} then, {new} now" for key, (old, new) in pairs.items() if old != new]
