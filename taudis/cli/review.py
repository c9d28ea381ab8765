"""The command `review`, which lists labels of a COCO file that are likely wrong."""

from __future__ import annotations

import csv
import dataclasses
import io
import shutil
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taudis.cli.coco_options import CrowdsOption, SkipBad
from taudis.cli.options import Architecture, Coco, Images, Seed, progress_bars, write_result
from taudis.errors import DataError
from taudis.files import write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from taudis.data.coco import CocoSamples
    from taudis.data.coco.checked import Checked
    from taudis.evaluation.label_errors import HeldOutImage, Suspect
    from taudis.training.recipes import Recipe
    from taudis.types import LabelMap

COLUMNS = ("rank", "suspicion", "kind", "image_id", "file_name", "annotation_id", "label",
           "likely_label", "iou", "x", "y", "width", "height", "reason", "link")  # fmt: skip


# long: two thirds of it are arguments, the options of the command.
def review(
    coco: Coco,
    images: Images,
    out: Annotated[Path, typer.Argument(help="CSV file to write.")],
    folds: Annotated[
        int, typer.Option(help="Models, each trained without its share of the images.")
    ] = 3,
    group: Annotated[
        str,
        typer.Option(
            help="Regular expression: images whose names agree in its brackets are one scene, all"
            " in one fold."
        ),
    ] = "",
    recipe: Annotated[str, typer.Option(help="cpu, small, paper or auto.")] = "auto",
    weights: Annotated[str, typer.Option(help="imagenet, none, coco, or a path.")] = "imagenet",
    architecture: Architecture = "mask_rcnn",
    steps: Annotated[
        int | None, typer.Option(help="Training steps of every model; default: the recipe's.")
    ] = None,
    link: Annotated[
        str,
        typer.Option(
            help="Address of an image, with {image_id} in it; the last column has it filled in."
            " For Label Studio: http://HOST/projects/3/data?task={image_id}"
        ),
    ] = "",
    seed: Seed = 0,
    crowds: CrowdsOption = "ask",
    skip_bad: SkipBad = False,
) -> None:
    """List the labels of a COCO file that are likely wrong, the most suspicious first, as CSV.

    Each image is judged by a model that was not trained on it. The models are kept in OUT.folds
    until the list is written, so the same command goes on with a run that was stopped.
    """
    from taudis.cli.coco_check import open_labelled
    from taudis.evaluation.held_out import held_out_images
    from taudis.evaluation.label_errors import find_suspects
    from taudis.simulation.split import folds as folds_of

    if link and "{image_id}" not in link:
        raise DataError(f"--link: expected an address with {{image_id}} in it, got {link!r}.")
    checked = open_labelled(coco, images, crowds, skip_bad)
    samples = checked.samples
    rows = folds_of(samples.file_names, count=folds, seed=seed, group=group)
    chosen = _recipe(recipe, checked, weights, architecture, steps)
    folder = out.with_name(f"{out.name}.folds")
    with progress_bars() as bars:
        task = bars.add_task("training", total=folds * chosen.steps)
        found = list(
            held_out_images(
                samples, checked.label_map, chosen, rows, seed=seed, weights=weights,
                folder=folder,
                on_step=lambda fold, progress: bars.update(
                    task, completed=fold * chosen.steps + progress.step
                ),
            )
        )  # fmt: skip
    suspects = find_suspects(found)
    write_text(out, table(suspects, found, partial(_named, samples), checked.label_map, link))
    shutil.rmtree(folder, ignore_errors=True)
    kinds = Counter(suspect.kind for suspect in suspects)
    write_result({"suspects": str(out), "rows": len(suspects), "kinds": dict(kinds),
                  "images": len(found), "coco": checked.to_dict()})  # fmt: skip


def _recipe(
    name: str, checked: Checked, weights: str, architecture: str, steps: int | None
) -> Recipe:
    from taudis.detector.device import device_of_this_process
    from taudis.training.recipes import choose

    gpu = device_of_this_process() == "cuda"
    found = checked.samples.statistics()
    chosen = choose(name, found, gpu=gpu, weights=weights, backbone="", model=architecture)
    if steps is None:
        return chosen
    if steps < 1:
        raise DataError(f"--steps: expected 1 or more, got {steps}.")
    return dataclasses.replace(chosen, steps=steps)


def table(
    suspects: Sequence[Suspect],
    images: Sequence[HeldOutImage],
    named: Callable[[Suspect], tuple[int, str, str]],
    labels: LabelMap,
    link: str = "",
) -> str:
    """The list as CSV with a header; boxes are x, y, width and height in px.

    named: gives (image id, file name, annotation id) of a suspect. link: a URL with {image_id} in
    it, or "".
    """
    by_number = {image.number: image for image in images}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for rank, each in enumerate(suspects, 1):
        likely = labels.name(each.likely) if each.likely else ""
        number, file_name, annotation = named(each)
        writer.writerow([
            rank, f"{each.suspicion:.3f}", each.kind, number, file_name, annotation,
            labels.name(each.label), likely, f"{each.iou:.2f}", *each.box(by_number[each.image]),
            each.sentence(labels), link.replace("{image_id}", str(number)),
        ])  # fmt: skip
    return text.getvalue()


def _named(samples: CocoSamples, suspect: Suspect) -> tuple[int, str, str]:
    row = suspect.image
    return samples.image_ids[row], samples.file_names[row], annotation_id(samples, suspect)


def annotation_id(samples: CocoSamples, suspect: Suspect) -> str:
    """The id of the object in its file; '' for a missed object, and if the file has no ids."""
    if suspect.object < 0:
        return ""
    rows = samples.annotations[suspect.image]
    return str(rows[suspect.object].get("id", ""))
