"""The command `simulate`: rounds of active learning on a labelled data set, a row per model."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taudis.cli.coco_options import CrowdsOption, SkipBad
from taudis.cli.options import Architecture, threads_of, write_result
from taudis.cli.ray_options import Actors, RayAddress
from taudis.errors import DataError

if TYPE_CHECKING:
    from taudis.data.coco.checked import Checked
    from taudis.simulation.data_set import DataSet
    from taudis.simulation.grid import Asked, Grid
    from taudis.simulation.presets import Preset
    from taudis.simulation.row_log import Row
    from taudis.simulation.run import Outcome, Watcher

DIFFERENT = 3
"""Exit code of --rerun if mAP50 or the chosen images differ."""


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of the command; None for an option that is not given."""

    data: Path
    images: Path
    out: Path
    strategies: str | None
    seeds: str
    rounds: int | None
    budget: int | None
    seed_images: int | None
    steps: int | None
    weights: str
    backbone: str
    architecture: str
    recipe: str
    precision: str
    test_share: float
    split_seed: int
    group: str
    params: str
    all_labels: bool
    name: str
    crowds: str
    skip_bad: bool
    rerun: str | None
    ray: str | None
    actors: int | None
    threads: int

    def wanted(self, name: str) -> Any:
        """An option that a new run needs. Raises DataError if it is missing."""
        value = getattr(self, name)
        if value is None:
            raise DataError(f"--{name.replace('_', '-')}: expected a value, got none.")
        if isinstance(value, int) and value < 1:
            raise DataError(f"--{name.replace('_', '-')}: expected 1 or more, got {value}.")
        return value


# long: most of it are arguments, the options of the command.
def simulate(
    context: typer.Context,
    data: Annotated[Path, typer.Option(help="COCO instances file, labelled.")],
    images: Annotated[Path, typer.Option(help="Folder of its images.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; the same folder goes on with it.")],
    strategies: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated [NAME:]STRATEGY[@KEY=VALUE]..., such as"
            " taudis,wse,taudis@T_F=0.3,sure:taudis@T_F=0.3@alpha=5; or a name of a preset"
            " (docs/experiments.md)."
        ),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, such as 0-4 or 0,2.")] = "0-4",
    rounds: Annotated[int | None, typer.Option(help="Rounds after the seed set, R.")] = None,
    budget: Annotated[int | None, typer.Option(help="Images that a round adds, B.")] = None,
    seed_images: Annotated[int | None, typer.Option(help="Images of the seed set.")] = None,
    steps: Annotated[
        int | None, typer.Option(help="Training steps of every model; default: the recipe's.")
    ] = None,
    weights: Annotated[str, typer.Option(help="imagenet, none, coco, or a path.")] = "imagenet",
    backbone: Annotated[str, typer.Option(help="Backbone; default: the recipe's.")] = "",
    architecture: Architecture = "mask_rcnn",
    recipe: Annotated[
        str,
        typer.Option(help="cpu, small, paper or auto, for the largest labelled set of the grid."),
    ] = "auto",
    precision: Annotated[
        str,
        typer.Option(
            help="fp32, bf16, or auto: bf16 where the CPU or GPU has it. Machines that share a run"
            " need one precision."
        ),
    ] = "auto",
    test_share: Annotated[float, typer.Option(help="Share of images that are tested on.")] = 0.2,
    split_seed: Annotated[int, typer.Option(help="Seed of the division for the test.")] = 0,
    group: Annotated[
        str,
        typer.Option(
            help="Regular expression: images whose names agree in its brackets are one scene, all"
            " on one side of the division."
        ),
    ] = "",
    params: Annotated[
        str,
        typer.Option(
            help="Hyper-parameters of all strategies: default, paper, KEY=VALUE,... or a JSON file."
        ),
    ] = "default",
    all_labels: Annotated[
        bool, typer.Option("--all-labels", help="Also a model of all labels: the signal gate.")
    ] = False,
    name: Annotated[
        str, typer.Option(help="Name of the data set in the rows; default: its folder's.")
    ] = "",
    crowds: CrowdsOption = "ask",
    skip_bad: SkipBad = False,
    rerun: Annotated[
        str | None,
        typer.Option(
            help="Run one row again from its record and compare: STRATEGY/SEED/ROUND, seed_set/SEED"
            " or all/SEED. Of the other options, those of the data are needed."
        ),
    ] = None,
    ray: RayAddress = None,
    actors: Actors = None,
) -> None:
    """Simulate rounds of active learning with a labelled COCO file, as section 4 of the paper does.

    Every strategy of a seed begins with the same images; weights are reset in each round; all
    models have one recipe and are tested on the same images. Each row of OUT/rows.jsonl is one
    model. The same command goes on with a run that was stopped, and may run in several processes
    or on several machines with one folder OUT. The last line on standard output is JSON.
    """
    given = dict(locals())  # the arguments, which are the fields of Options
    threads = threads_of(given.pop("context"))
    options = Options(**given, threads=threads)
    if rerun is not None:
        _run_again(options, rerun)
    else:
        _run(options)


def _run(options: Options) -> None:
    """Start or continue a run, and write its result."""
    from taudis.cli.simulate_progress import progress
    from taudis.simulation.choice_warnings import choice_warnings
    from taudis.simulation.cpu_cost import cost
    from taudis.simulation.gate import signal_of_rows
    from taudis.simulation.grid import Asked, check_embeddings
    from taudis.simulation.jobs import read_seeds
    from taudis.simulation.presets import base_params, read_presets
    from taudis.simulation.run import ROWS_FILE

    presets = read_presets(options.wanted("strategies"), base_params(options.params))
    names = tuple(preset.name for preset in presets)
    all_labels = options.all_labels or any(preset.chooser == "all" for preset in presets)
    asked = Asked(names, tuple(read_seeds(options.seeds)), all_labels)
    grid, data = _new_grid(options)
    check_embeddings(presets, grid.recipe.model)
    began = time.monotonic()
    with progress(len(asked.jobs(grid.rounds))) as watcher:
        outcome = _outcome(options, grid, data, presets, asked, watcher)
    rows = list(outcome.rows.values())
    signal = signal_of_rows(rows)
    for warning in choice_warnings(rows):
        sys.stderr.write(f"warning: {warning}\n")
    if signal.warning:
        sys.stderr.write(f"warning: {signal.warning}\n")
    write_result({
        "rows": str(options.out / ROWS_FILE),
        "rows_done": len(rows),
        "rows_made": outcome.made,
        "seconds": round(time.monotonic() - began, 1),
        "grid": grid.hash,
        "signal": signal.to_dict(),
        "cost": cost(rows),
    })  # fmt: skip


def _outcome(
    options: Options,
    grid: Grid,
    data: DataSet,
    presets: tuple[Preset, ...],
    asked: Asked,
    watcher: Watcher,
) -> Outcome:
    """Make the rows in this process, or on a cluster."""
    if options.ray is None:
        from taudis.simulation.run import start

        return start(options.out, grid, data, presets, asked, watcher)
    from taudis.distributed.cluster import connected
    from taudis.distributed.grid import run_grid, work_of

    work = work_of(options.out, grid, data, presets, asked, options.threads)
    with connected(options.ray) as cluster:
        return run_grid(cluster, work, watcher, actors=options.actors)


def _opened(options: Options, crowds: str, *, skip_bad: bool) -> Checked:
    """The checked data set."""
    from taudis.cli.coco_check import open_labelled

    return open_labelled(options.data, options.images, crowds, skip_bad)


def _new_grid(options: Options) -> tuple[Grid, DataSet]:
    """The grid of the options, and its data set. Raises DataError."""
    from taudis.detector.device import device_of_this_process
    from taudis.files import sha256_of
    from taudis.simulation.data_set import data_set, divided, pictures_sha256
    from taudis.simulation.grid import Grid, recipe_of_grid, weights_sha256

    # The grid stores how crowds were read, not the option, because the user may have been asked.
    checked = _opened(options, options.crowds, skip_bad=options.skip_bad)
    samples, device = checked.samples, device_of_this_process()
    share, split_seed, group = options.test_share, options.split_seed, options.group
    train, test = divided(samples, share=share, seed=split_seed, group=group)
    sizes = [options.wanted(name) for name in ("seed_images", "rounds", "budget")]
    first, rounds, budget = sizes
    largest = first + rounds * budget
    if largest > len(train):
        raise DataError(
            f"expected at least {largest} training images for {first} and {rounds} rounds of"
            f" {budget}, got {len(train)}. Give fewer --rounds or a smaller --budget."
        )
    recipe = recipe_of_grid(
        options.recipe, samples.subset(train).statistics(), largest=largest, steps=options.steps,
        weights=options.weights, backbone=options.backbone, device=device,
        precision=options.precision, model=options.architecture,
    )  # fmt: skip
    grid = Grid(
        data=options.name or options.data.resolve().parent.name,
        coco_sha256=sha256_of(options.data),
        images_sha256=pictures_sha256(samples),
        test_share=share, split_seed=split_seed, group=group,
        crowds="ignore" if checked.crowds else "objects", skip_bad=options.skip_bad,
        recipe=recipe, weights=options.weights, weights_sha256=weights_sha256(options.weights),
        device=device, budget=budget, seed_images=first, rounds=rounds,
    )  # fmt: skip
    return grid, data_set(checked.label_map, samples, (train, test), recipe.model)


def _run_again(options: Options, name: str) -> None:
    """Make a row again, and write whether it is equal."""
    from taudis.cli.simulate_progress import progress
    from taudis.simulation.grid import Grid
    from taudis.simulation.jobs import Job
    from taudis.simulation.rerun import rerun
    from taudis.simulation.run import Folder

    rows = Folder(options.out).log.read()
    row = rows[Job.find(name, rows)]
    grid = Grid.from_dict(row["record"]["shared"])
    with progress(1) as watcher:
        found = rerun(
            row,
            grid,
            _same_data(options, row, grid),
            options.out,
            on_step=watcher.step,
            on_part=watcher.part,
        )
    for line in found["differs"]:
        sys.stderr.write(f"warning: {line}\n")
    write_result(found)
    if not found["equal"] or found["chosen_equal"] is False:
        raise typer.Exit(DIFFERENT)


def _same_data(options: Options, row: Row, grid: Grid) -> DataSet:
    """The data set of the options. Raises DataError if it is not the data set of the row."""
    from taudis.files import sha256_of
    from taudis.simulation.data_set import data_set, divided, pictures_sha256

    checked = _opened(options, grid.crowds, skip_bad=grid.skip_bad)
    found = sha256_of(options.data), pictures_sha256(checked.samples)
    if found != (grid.coco_sha256, grid.images_sha256):
        raise DataError(
            f"{options.data}: expected the file and the images of the row, got others. Give those"
            f" that the run had ({row['data']})."
        )
    rows = divided(checked.samples, share=grid.test_share, seed=grid.split_seed, group=grid.group)
    return data_set(checked.label_map, checked.samples, rows, grid.recipe.model)
