"""The command line of the library, for COCO files: python -m taudis COMMAND --help.

Commands that use a model import torch inside their function, because torch takes hundreds of MB,
which `select` needs for the pool.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taudis.cli.coco_options import CrowdsOption, SegmentationOption, SkipBad
from taudis.cli.compare import compare
from taudis.cli.options import (
    Architecture,
    Coco,
    Images,
    Model,
    Out,
    Seed,
    check_file_path,
    progress_bars,
    write_result,
)
from taudis.cli.pool import pool
from taudis.cli.ray_options import WithRay
from taudis.cli.review import review
from taudis.cli.score import score
from taudis.cli.select import parameters, select, strategies, why
from taudis.cli.simulate import simulate
from taudis.errors import TaudisError

if TYPE_CHECKING:
    from taudis.data.coco.checked import Checked
    from taudis.detector.registry import TrainedDetector
    from taudis.training.recipes import Recipe

WITHOUT_MODEL = ("select", "strategies", "parameters", "check", "compare", "pool")
"""Commands that do not import torch."""

app = typer.Typer(no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)


@app.callback()
def main(
    context: typer.Context,
    threads: Annotated[
        int,
        typer.Option(
            help="CPU threads of the model; more than one is slower on shared cores. The selection "
            "(select, why) uses every core; the environment variable OMP_NUM_THREADS limits it."
        ),
    ] = 1,
) -> None:
    """TAUDIS on COCO files: train, evaluate, predict, score a pool, select what to label next."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    if context.invoked_subcommand not in WITHOUT_MODEL:
        import torch

        torch.set_num_threads(threads)


# long: a third of it are arguments, the options of the command.
@app.command()
def train(
    coco: Coco,
    images: Images,
    out: Out,
    recipe: Annotated[
        str, typer.Option(help="cpu, small (one GPU), paper, or auto: small with a GPU, else cpu.")
    ] = "auto",
    backbone: Annotated[
        str,
        typer.Option(
            help="efficientnet_lite0, resnet18, resnet50, mobilenet_v2 or mobilenet_v3_large;"
            " default: the recipe's."
        ),
    ] = "",
    weights: Annotated[str, typer.Option(help="imagenet, none, coco, or a path.")] = "imagenet",
    architecture: Architecture = "mask_rcnn",
    steps: Annotated[int | None, typer.Option(help="Steps instead of the recipe's.")] = None,
    seed: Seed = 0,
    crowds: CrowdsOption = "ask",
    skip_bad: SkipBad = False,
) -> None:
    """Train on every image of a COCO file and write a checkpoint.

    The same command continues a run that was interrupted. The file is checked first, as `check`
    does, so that nothing in it can end the training later.
    """
    from taudis.cli.coco_check import open_labelled
    from taudis.detector.checkpoint import save_checkpoint
    from taudis.detector.device import device_of_this_process
    from taudis.training.recipes import choose
    from taudis.training.training_state import clear_states

    checked = open_labelled(coco, images, crowds, skip_bad)
    samples, resume = checked.samples, out.with_name(f"{out.name}.resume")
    gpu = device_of_this_process() == "cuda"
    chosen = choose(
        recipe, samples.statistics(), gpu=gpu, weights=weights, backbone=backbone,
        model=architecture,
    )  # fmt: skip
    if steps is not None:
        chosen = dataclasses.replace(chosen, steps=steps)
    detector = _train_with_bar(checked, chosen, seed=seed, weights=weights, resume_dir=resume)
    card = {
        "recipe": dataclasses.asdict(chosen), "seed": seed, "images": len(samples),
        "coco": checked.to_dict(),
    }  # fmt: skip
    save_checkpoint(out, detector, card=card)
    clear_states(resume)
    result = {"checkpoint": str(out), "steps": chosen.steps, "images": len(samples)}
    write_result({**result, "coco": checked.to_dict()})


def _train_with_bar(
    checked: Checked, recipe: Recipe, *, seed: int, weights: str, resume_dir: Path
) -> TrainedDetector:
    """Train on a checked COCO file, with a bar of steps and loss on standard error."""
    from taudis.training.train import Progress
    from taudis.training.train import train as train_detector

    with progress_bars() as bar:
        task = bar.add_task("training", total=recipe.steps)

        def update_bar(progress: Progress) -> None:
            bar.update(task, completed=progress.step, description=f"loss {progress.loss:.2f}")

        return train_detector(
            checked.samples,
            checked.label_map,
            recipe,
            seed=seed,
            weights=weights,
            resume_dir=resume_dir,
            progress=update_bar,
        )


@app.command()
def evaluate(
    model: Model,
    coco: Coco,
    images: Images,
    seed: Seed = 0,
    crowds: CrowdsOption = "ask",
    skip_bad: SkipBad = False,
) -> None:
    """Print the mask mAP50 and mAP of a checkpoint on a labelled COCO file.

    The file is checked first, as `check` does. Categories are matched with the checkpoint's labels
    by name.
    """
    from taudis.cli.coco_check import for_model, open_labelled
    from taudis.detector.checkpoint import load_checkpoint
    from taudis.detector.device import device_of_this_process
    from taudis.evaluation.metrics import evaluate as evaluate_detector

    checked = open_labelled(coco, images, crowds, skip_bad)
    detector, _ = load_checkpoint(model, device=device_of_this_process())
    samples = for_model(checked, detector.label_map)
    metrics = evaluate_detector(detector, samples, seed=seed).to_dict()
    write_result({**metrics, "coco": checked.to_dict()})


@app.command()
def predict(
    model: Model,
    coco: Coco,
    images: Images,
    out: Out,
    segmentation: SegmentationOption = "rle",
    skip_bad: SkipBad = False,
) -> None:
    """Write COCO results (boxes, masks, scores) for every image of a COCO file.

    The file's categories are matched with the checkpoint's labels by name. If the file has none,
    they are 1, 2, ... in the checkpoint's order.
    """
    from taudis.cli.coco_check import categories_of, for_model, open_images
    from taudis.data.coco.write import coco_results, form_of
    from taudis.detector.checkpoint import load_checkpoint
    from taudis.detector.device import device_of_this_process
    from taudis.detector.pasting import each_pasted_mask
    from taudis.files import write_json

    form = form_of(segmentation)
    check_file_path(out)
    checked = open_images(coco, images, skip_bad)
    detector, _ = load_checkpoint(model, device=device_of_this_process())
    samples = for_model(checked, detector.label_map)
    categories = categories_of(checked, detector.label_map)
    results: list[dict[str, object]] = []
    for row, number in enumerate(samples.image_ids):
        detection = detector.detect([samples.image(row)])[0]
        masks = each_pasted_mask(detection)
        results += coco_results(number, detection, masks, categories, form)
    write_json(out, results)
    result = {"results": str(out), "images": len(samples), "instances": len(results)}
    write_result({**result, "coco": checked.to_dict()})


@app.command()
def check(
    coco: Coco,
    images: Annotated[
        Path | None,
        typer.Argument(help="Folder of its images; without it no image file is read."),
    ] = None,
    crowds: CrowdsOption = "ask",
    skip_bad: SkipBad = False,
    pictures: Annotated[
        bool,
        typer.Option("--pictures", help="Check as score and predict do: annotations are not read."),
    ] = False,
) -> None:
    """Tell what is in a COCO file, and what train (with --pictures: score) would do with it.

    Exit code 0: it would be used, and what is left out is counted. 3: it would be refused.
    """
    from taudis.cli.coco_check import REFUSED, check_file

    if not check_file(coco, images, crowds, skip_bad=skip_bad, labels=not pictures):
        raise typer.Exit(REFUSED)


app.command()(pool)
app.command(cls=WithRay)(score)
app.command()(review)
app.command(cls=WithRay)(select)
app.command()(why)
app.command()(strategies)
app.command()(parameters)
app.command(cls=WithRay)(simulate)
app.command()(compare)


def run() -> None:
    """The entry point. Errors of the library and the disk: a line on stderr and exit code 1."""
    try:
        app()
    except (TaudisError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    run()
