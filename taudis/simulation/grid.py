"""The grid of a run: the settings that all its rows share, and the rows that were requested.

It is stored as `grid.json` in the folder of the run. A command with other shared settings is
refused, and the error names the differences. A later command may request more strategies, more
seeds or the models of all labels. Existing rows stay.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taudis.data.statistics import LabelStatistics
from taudis.detector.registry import (
    MASK2FORMER,
    MASK_RCNN,
    Config,
    architecture_of,
    read_config,
)
from taudis.errors import DataError
from taudis.files import SUMS, remove_drafts, sha256_of, write_json
from taudis.simulation.claims import Lock
from taudis.simulation.jobs import Job, jobs_of
from taudis.simulation.presets import Preset
from taudis.simulation.row_format import FORMAT
from taudis.training.recipes import Recipe, choose
from taudis.training.train import uses_bf16

PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True)
class Grid:
    """The settings that all rows of a run share."""

    data: str  # name of the data set
    coco_sha256: str
    images_sha256: str
    test_share: float
    split_seed: int
    group: str  # regular expression that finds the scene in a file name, or ""
    crowds: str
    skip_bad: bool
    recipe: Recipe
    weights: str
    weights_sha256: str  # see `weights_sha256`
    device: str  # cpu or cuda
    budget: int
    seed_images: int
    rounds: int

    def to_dict(self) -> dict[str, Any]:
        """The grid as JSON values."""
        found: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return found

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Grid:
        """The inverse of `to_dict`. Raises DataError for anything else."""
        try:
            recipe = dict(found["recipe"])
            recipe["model"] = read_config(recipe["model"])
            recipe["milestones"] = tuple(recipe["milestones"])
            return cls(**{**found, "recipe": Recipe(**recipe)})
        except (KeyError, TypeError) as error:
            raise DataError(f"expected the grid of a run: {error}.") from error

    @property
    def hash(self) -> str:
        """16 hexadecimal digits that identify the grid; the name of the data is left out."""
        found = {key: value for key, value in self.to_dict().items() if key != "data"}
        return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]


# long: the signature and the docstring take half of it
def recipe_of_grid(
    name: str,
    found: LabelStatistics,
    *,
    largest: int,
    steps: int | None,
    weights: str,
    backbone: str = "",
    device: str,
    precision: str = "auto",
    model: str = MASK_RCNN,
) -> Recipe:
    """The recipe of all models of a grid: `choose` for the largest set of labelled images.

    The paper keeps all hyper-parameters constant for a data set (appendix C). If the steps grew
    with the labels, the effect of more labels could not be told from that of more training. With
    the steps for the seed set, training would limit later rounds. So the recipe is chosen for
    `largest` images, as labelled in the last round, with the object sizes and density of all
    training images. There is no validation split: every model is trained for all steps. `auto`
    precision is replaced by the precision of this machine, so that another machine with a different
    one is refused. model: name of the architecture.

    Raises DataError for steps below 1, an unknown precision, and bf16 for a Mask2Former, and the
    errors of `choose`.
    """
    if precision not in PRECISIONS:
        raise DataError(f"--precision: expected {', '.join(PRECISIONS)}, got {precision!r}.")
    gpu = device == "cuda"
    counted = dataclasses.replace(found, images=largest)
    recipe = choose(name, counted, gpu=gpu, weights=weights, backbone=backbone, model=model)
    if steps is not None:
        if steps < 1:
            raise DataError(f"--steps: expected 1 or more, got {steps}.")
        recipe = dataclasses.replace(recipe, steps=steps)
    if model == MASK2FORMER and precision == "bf16":
        raise DataError(
            f"--precision: expected auto or fp32 for a {model}, which trains in float32, got bf16."
        )
    asked = recipe.precision if precision == "auto" else precision
    bf16 = uses_bf16(asked, device)
    return dataclasses.replace(recipe, evaluate_every=0, precision="bf16" if bf16 else "fp32")


def check_embeddings(presets: Sequence[Preset], config: Config) -> None:
    """Raise DataError for a strategy with an embedding that the models do not have."""
    known = architecture_of(config)
    for preset in presets:
        if preset.embedding not in known.embeddings:
            raise DataError(
                f"{preset.name}: expected embedding={' or '.join(known.embeddings)} for a"
                f" {known.name}, got {preset.embedding}. Give --strategies without it."
            )


@dataclass(frozen=True)
class Asked:
    """The rows that a command requested."""

    strategies: tuple[str, ...]
    seeds: tuple[int, ...]
    all_labels: bool

    def jobs(self, rounds: int) -> list[Job]:
        """The jobs of these rows, in their order."""
        return jobs_of(self.strategies, self.seeds, rounds, all_labels=self.all_labels)


@dataclass(frozen=True)
class GridFile:
    """The grid of a folder, its strategies, and the requests of all commands."""

    grid: Grid
    presets: Mapping[str, Preset]
    asked: tuple[Asked, ...]

    def jobs(self) -> Iterator[Job]:
        """Every requested job, once."""
        seen: dict[Job, None] = {}
        for asked in self.asked:
            seen |= dict.fromkeys(asked.jobs(self.grid.rounds))
        yield from seen

    def to_dict(self) -> dict[str, Any]:
        """The content of the file."""
        return {
            "format": FORMAT,
            "grid": self.grid.hash,
            "shared": self.grid.to_dict(),
            "strategies": {name: preset.to_dict() for name, preset in self.presets.items()},
            "asked": [dataclasses.asdict(asked) for asked in self.asked],
        }


def read_grid(path: Path) -> GridFile:
    """The grid in a file. Raises DataError with the path."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise DataError(f"expected format {FORMAT}, got {found['format']!r}.")
        return GridFile(
            Grid.from_dict(found["shared"]),
            {name: Preset.from_dict(name, each) for name, each in found["strategies"].items()},
            tuple(
                Asked(tuple(each["strategies"]), tuple(each["seeds"]), bool(each["all_labels"]))
                for each in found["asked"]
            ),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: expected the grid of a run: {error}") from error


def join(path: Path, lock: Lock, grid: Grid, presets: Sequence[Preset], asked: Asked) -> None:
    """Write the grid of a new run, or add the request to the grid of an existing run.

    Raises DataError, which names the differences, for another grid, or for a strategy with the same
    name and other settings.
    """
    with lock.held():
        known = read_grid(path) if path.exists() else GridFile(grid, {}, ())
        differences = _differences(known.grid.to_dict(), grid.to_dict())
        for preset in presets:
            if preset.name in known.presets:
                old = known.presets[preset.name].to_dict()
                differences += _differences(old, preset.to_dict(), f"{preset.name}: ")
        if differences:
            raise DataError(
                f"{path}: expected the options that began this run, got others (there, here):"
                f" {'; '.join(differences)}. Give the same options, or another --out."
            )
        merged = {**known.presets, **{preset.name: preset for preset in presets}}
        every = known.asked if asked in known.asked else (*known.asked, asked)
        new = GridFile(known.grid, merged, every)
        if not path.exists() or new.to_dict() != known.to_dict():
            remove_drafts(path)
            write_json(path, new.to_dict())


def _differences(old: Any, new: Any, name: str = "") -> list[str]:
    """A text for each value that differs: its name, the old and the new value."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in dict.fromkeys((*old, *new)):
            inner = f"{name}{key}." if isinstance(old.get(key), dict) else f"{name}{key}"
            found += _differences(old.get(key), new.get(key), inner)
        return found
    return [] if old == new else [f"{name.removesuffix('.')}: {old!r}, {new!r}"]


def weights_sha256(weights: str) -> str:
    """The SHA-256 of initial weights: of a file, or of a checkpoint's file of checksums.

    For a folder written by transformers, it covers the configuration and the tensors. "" for
    weights that are known by their name.
    """
    path = Path(weights)
    if (path / SUMS).is_file():
        return sha256_of(path / SUMS)
    if path.is_dir():
        files = sorted([path / "config.json", *path.glob("*.safetensors")])
        return hashlib.sha256("".join(map(sha256_of, files)).encode()).hexdigest()
    return sha256_of(path) if path.is_file() else ""
