"""The library on the command line, over COCO files: python -m taudis COMMAND --help."""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import Progress as Bar

from taudis.checkpoint import load_checkpoint, save_checkpoint
from taudis.coco import encode, load_coco
from taudis.errors import TaudisError
from taudis.evaluation import evaluate as judge_detector
from taudis.mask_rcnn import Detection, Detector
from taudis.pools import load_pool, save_pool
from taudis.recipes import choose
from taudis.scoring import score_pool
from taudis.select import Labelled, SelectionParams
from taudis.strategies import query
from taudis.training import Progress
from taudis.training import train as train_detector
from taudis.training_state import clear_states

app = typer.Typer(no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)

Coco = Annotated[Path, typer.Argument(help="COCO instances file.")]
Images = Annotated[Path, typer.Argument(help="Folder of its images.")]
Model = Annotated[Path, typer.Argument(help="Checkpoint folder.")]
Out = Annotated[Path, typer.Argument(help="File or folder to write.")]
Seed = Annotated[int, typer.Option(help="Everything random follows from it.")]


def _say(value: object) -> None:
    """One JSON line on standard output: the command's result."""
    sys.stdout.write(json.dumps(value) + "\n")


@app.callback()
def main(
    threads: Annotated[
        int, typer.Option(help="CPU threads; more than one hurts shared cores.")
    ] = 1,
) -> None:
    """TAUDIS on COCO files: train, judge, predict, score a pool, select what to label next."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    torch.set_num_threads(threads)


@app.command()
def train(
    coco: Coco,
    images: Images,
    out: Out,
    recipe: Annotated[
        str, typer.Option(help="cpu, small (one GPU), paper, or auto: small with a GPU, else cpu.")
    ] = "auto",
    backbone: Annotated[
        str, typer.Option(help="resnet18, resnet50, mobilenet_v3_large; default: the recipe's.")
    ] = "",
    weights: Annotated[str, typer.Option(help="none, coco, or a path.")] = "none",
    steps: Annotated[int | None, typer.Option(help="Steps instead of the recipe's.")] = None,
    seed: Seed = 0,
) -> None:
    """Train on every image of a COCO file and write a checkpoint; an interrupted run goes on."""
    labels, samples = load_coco(coco, images)
    gpu = torch.cuda.is_available()
    chosen = choose(recipe, samples.statistics(), gpu=gpu, weights=weights, backbone=backbone)
    if steps is not None:
        chosen = dataclasses.replace(chosen, steps=steps)
    with Bar(console=Console(stderr=True)) as bar:
        task = bar.add_task("training", total=chosen.steps)

        def show(progress: Progress) -> None:
            bar.update(task, completed=progress.step, description=f"loss {progress.loss:.2f}")

        detector = train_detector(
            samples,
            labels,
            chosen,
            seed=seed,
            weights=weights,
            resume_dir=out.with_name(f"{out.name}.resume"),
            progress=show,
        )
    card = {"recipe": dataclasses.asdict(chosen), "seed": seed, "images": len(samples)}
    save_checkpoint(out, detector, card=card)
    clear_states(out.with_name(f"{out.name}.resume"))
    _say({"checkpoint": str(out), "steps": chosen.steps, "images": len(samples)})


@app.command()
def evaluate(model: Model, coco: Coco, images: Images, seed: Seed = 0) -> None:
    """Print the mask mAP50 and mAP of a checkpoint on a labelled COCO file."""
    labels, samples = load_coco(coco, images)
    detector, _ = load_checkpoint(model, label_map=labels)
    _say(judge_detector(detector, samples, seed=seed).to_dict())


def _results(number: int, detection: Detection, categories: list[int]) -> list[dict[str, object]]:
    """One image's detections as COCO results, in the COCO file's own category ids."""
    rows = detection.instances
    return [
        {
            "image_id": number,
            "category_id": categories[int(label) - 1],
            "score": float(score),
            "bbox": [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])],
            "segmentation": encode(mask),
        }
        for label, score, box, mask in zip(
            rows.labels, rows.scores, rows.boxes, detection.masks(), strict=True
        )
    ]


@app.command()
def predict(model: Model, coco: Coco, images: Images, out: Out) -> None:
    """Write COCO results (boxes, masks, scores) of every image of a COCO file."""
    labels, samples = load_coco(coco, images)
    detector, _ = load_checkpoint(model, label_map=labels)
    categories = sorted(samples.labels, key=samples.labels.__getitem__)
    found: list[dict[str, object]] = []
    for row, number in enumerate(samples.image_ids):
        found += _results(number, detector.detect([samples.image(row)])[0], categories)
    out.write_text(json.dumps(found), encoding="utf-8")
    _say({"results": str(out), "images": len(samples), "instances": len(found)})


@app.command()
def score(
    model: Model,
    coco: Coco,
    images: Images,
    out: Out,
    box: Annotated[
        bool, typer.Option(help="Embeddings of the box branch, not the mask's.")
    ] = False,
) -> None:
    """Run the model over a COCO file's images and write the pool (.npz) that `select` reads."""
    labels, samples = load_coco(coco, images)
    detector: Detector = load_checkpoint(model, label_map=labels)[0].fast()
    pairs = ((number, samples.image(row)) for row, number in enumerate(samples.image_ids))
    pool = score_pool(detector, pairs, embedding="box" if box else "mask")
    save_pool(out, pool)
    _say({"pool": str(out), "images": len(pool), "instances": len(pool.instances)})


@app.command()
def select(
    pool: Annotated[Path, typer.Argument(help="Pool (.npz) written by `score`.")],
    budget: Annotated[int, typer.Argument(help="Images to label next, B.")],
    strategy: Annotated[str, typer.Option(help="Query strategy.")] = "taudis",
    mean_instances: Annotated[
        float | None, typer.Option(help="Instances per labelled image; default: as detected.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Print the image ids of a pool in the order in which to label them, with reasons."""
    scored = load_pool(pool)
    mean = mean_instances
    if mean is None:
        confident = int((scored.instances.scores >= 0.5).sum())
        mean = confident / len(scored) if len(scored) else 0.0
    chosen = query(
        strategy,
        scored,
        budget=budget,
        labelled=Labelled(float(mean)),
        params=SelectionParams(),
        seed=seed,
    )
    ids = np.asarray(scored.image_ids)[chosen.order].tolist()
    _say({
        "order": ids,
        "reasons": list(chosen.reasons[:budget]),
        "warnings": list(chosen.warnings),
    })  # fmt: skip


def run() -> None:
    """The entry point: a library error is one line on standard error and exit code 1."""
    try:
        app()
    except TaudisError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    run()
