"""The library on the command line, over COCO files: python -m taudis COMMAND --help.

torch is imported by the commands that use a model, inside them: it takes hundreds of MB, which
`select` has better use for.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taudis.arguments import Coco, Images, Model, Out, Seed, bars, say
from taudis.errors import TaudisError
from taudis.select_command import select, strategies, why

if TYPE_CHECKING:
    from taudis.mask_rcnn import Detection, Embedding

WITHOUT_MODEL = ("select", "strategies")

app = typer.Typer(no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)


@app.callback()
def main(
    context: typer.Context,
    threads: Annotated[
        int,
        typer.Option(
            help="CPU threads of the model; more than one hurts shared cores. The selection "
            "(select, why) uses every core: set the environment variable OMP_NUM_THREADS to limit "
            "it."
        ),
    ] = 1,
) -> None:
    """TAUDIS on COCO files: train, judge, predict, score a pool, select what to label next."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    if context.invoked_subcommand not in WITHOUT_MODEL:
        import torch

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
    import torch

    from taudis.checkpoint import save_checkpoint
    from taudis.coco import load_coco
    from taudis.recipes import choose
    from taudis.training import Progress
    from taudis.training import train as train_detector
    from taudis.training_state import clear_states

    labels, samples = load_coco(coco, images)
    gpu = torch.cuda.is_available()
    chosen = choose(recipe, samples.statistics(), gpu=gpu, weights=weights, backbone=backbone)
    if steps is not None:
        chosen = dataclasses.replace(chosen, steps=steps)
    with bars() as bar:
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
    say({"checkpoint": str(out), "steps": chosen.steps, "images": len(samples)})


@app.command()
def evaluate(model: Model, coco: Coco, images: Images, seed: Seed = 0) -> None:
    """Print the mask mAP50 and mAP of a checkpoint on a labelled COCO file."""
    from taudis.checkpoint import load_checkpoint
    from taudis.coco import load_coco
    from taudis.evaluation import evaluate as judge_detector

    labels, samples = load_coco(coco, images)
    detector, _ = load_checkpoint(model, label_map=labels)
    say(judge_detector(detector, samples, seed=seed).to_dict())


def _results(number: int, detection: Detection, categories: list[int]) -> list[dict[str, object]]:
    """One image's detections as COCO results, in the COCO file's own category ids."""
    from taudis.coco import encode

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
    from taudis.checkpoint import load_checkpoint
    from taudis.coco import load_coco

    labels, samples = load_coco(coco, images)
    detector, _ = load_checkpoint(model, label_map=labels)
    categories = sorted(samples.labels, key=samples.labels.__getitem__)
    found: list[dict[str, object]] = []
    for row, number in enumerate(samples.image_ids):
        found += _results(number, detector.detect([samples.image(row)])[0], categories)
    out.write_text(json.dumps(found), encoding="utf-8")
    say({"results": str(out), "images": len(samples), "instances": len(found)})


@app.command()
def score(
    model: Model,
    coco: Coco,
    images: Images,
    out: Annotated[Path, typer.Argument(help="Pool to write, NAME.safetensors.")],
    box: Annotated[
        bool, typer.Option("--box", help="Embeddings of the box branch, not the mask's.")
    ] = False,
) -> None:
    """Run the model over a COCO file's images and write the pool that `select` reads.

    The file grows image by image, whatever its size, and has its name only when all is written.
    """
    from taudis.checkpoint import load_checkpoint
    from taudis.coco import load_coco
    from taudis.scoring import score_to_file

    labels, samples = load_coco(coco, images)
    detector = load_checkpoint(model, label_map=labels)[0].fast()
    pairs = ((number, samples.image(row)) for row, number in enumerate(samples.image_ids))
    embedding: Embedding = "box" if box else "mask"
    about = f"checkpoint {model.name}, {detector.config.backbone}, {embedding} embeddings"
    with bars() as bar:
        task = bar.add_task("scoring", total=len(samples))
        count, instances = score_to_file(
            out,
            detector,
            pairs,
            embedding=embedding,
            on_image=lambda *_: bar.advance(task),
            about=about,
        )
    say({"pool": str(out), "images": count, "instances": instances})


app.command()(select)
app.command()(why)
app.command()(strategies)


def run() -> None:
    """The entry point: an error of the library or the disk is one line on stderr, exit code 1."""
    try:
        app()
    except (TaudisError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    run()
