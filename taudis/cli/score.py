"""The command `score`, which runs a model over the images of a COCO file and writes a pool."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taudis.cli.coco_options import SkipBad
from taudis.cli.options import Coco, Images, Model, progress_bars, threads_of, write_result
from taudis.cli.ray_options import Actors, RayAddress
from taudis.errors import DataError

if TYPE_CHECKING:
    from taudis.data.coco import CocoSamples
    from taudis.data.pool_manifest import Manifest
    from taudis.distributed.blocks import PartsFolder
    from taudis.distributed.score_parts import Progress, Scored, Work
    from taudis.types import Embedding


# long: half of it are arguments, the options of the command.
def score(
    context: typer.Context,
    model: Model,
    coco: Coco,
    images: Images,
    out: Annotated[
        Path,
        typer.Argument(
            help="Pool to write, NAME.safetensors; with --ray also a manifest, NAME.json."
        ),
    ],
    box: Annotated[
        bool, typer.Option("--box", help="Embeddings of the box branch, not the mask's.")
    ] = False,
    query: Annotated[
        bool, typer.Option("--query", help="Embeddings are a mask2former's query states.")
    ] = False,
    skip_bad: SkipBad = False,
    ray: RayAddress = None,
    actors: Actors = None,
) -> None:
    """Run the model over a COCO file's images and write the pool that `select` reads.

    The pool is written image by image and never held in memory. The file gets its name when it is
    complete. With --ray, several processes score blocks of images into parts in the folder
    NAME.parts; the same command goes on with a run that was stopped.
    """
    if box and query:
        raise DataError("expected --box or --query, got both.")
    embedding: Embedding = "box" if box else "query" if query else "mask"
    if ray is None:
        _score_here(model, coco, images, out, embedding, skip_bad)
        return
    threads = threads_of(context)
    _score_by_ray(
        ray, model, coco, images, out, embedding, skip_bad, actors=actors, threads=threads
    )


def _score_here(
    model: Path, coco: Path, images: Path, out: Path, embedding: Embedding, skip_bad: bool
) -> None:
    """Score in this process."""
    from taudis.cli.coco_check import for_model, open_images
    from taudis.data.pool_writer import check_pool_path
    from taudis.detector.checkpoint import load_checkpoint
    from taudis.detector.device import device_of_this_process
    from taudis.scoring import score_to_file

    check_pool_path(out)
    checked = open_images(coco, images, skip_bad)
    detector = load_checkpoint(model, device=device_of_this_process())[0].fast()
    samples = for_model(checked, detector.label_map)
    pairs = ((number, samples.image(row)) for row, number in enumerate(samples.image_ids))
    with progress_bars() as bar:
        task = bar.add_task("scoring", total=len(samples))
        count, instances = score_to_file(
            out,
            detector,
            pairs,
            embedding=embedding,
            on_image=lambda *_: bar.advance(task),
            about=_about(model, detector.config.backbone, embedding),
        )
    result = {"pool": str(out), "images": count, "instances": instances}
    write_result({**result, "coco": checked.to_dict()})


def _score_by_ray(
    address: str,
    model: Path,
    coco: Path,
    images: Path,
    out: Path,
    embedding: Embedding,
    skip_bad: bool,
    *,
    actors: int | None,
    threads: int,
) -> None:
    """Score by actors of a cluster. This command holds the lock of the parts until the end."""
    from taudis.cli.coco_check import for_model, open_images
    from taudis.data.pool_manifest import is_manifest, write_manifest
    from taudis.data.pool_writer import check_pool_path
    from taudis.detector.card import read_card
    from taudis.detector.registry import read_config
    from taudis.distributed.score_parts import Work, only_driver
    from taudis.types import LabelMap

    check_pool_path(out)
    card = read_card(model)
    checked = open_images(coco, images, skip_bad)
    samples = for_model(checked, LabelMap(tuple(card["labels"])))
    # With the suffix in the name, because pool.json and pool.safetensors are different runs.
    parts = out.parent.resolve() / f"{out.name}.parts"
    about = _about(model, read_config(card["model"]).backbone, embedding)
    work = Work(model.resolve(), parts, embedding, about, threads)
    with only_driver(parts):
        scored = _scored(address, work, _absolute(samples), actors)
        _report(out, parts, scored.manifest)
        if is_manifest(out):
            write_manifest(out, scored.manifest)
        else:
            _join(out, work.folder, scored.manifest)
    work.folder.remove_retired()
    write_result({"pool": str(out), **_figures(scored), "coco": checked.to_dict()})


def _scored(address: str, work: Work, samples: CocoSamples, actors: int | None) -> Scored:
    """Score by the cluster at an address, with a progress bar. Needs `only_driver` of the parts."""
    from taudis.distributed.cluster import connected
    from taudis.distributed.score_parts import score_parts

    with connected(address) as cluster, progress_bars() as bar:
        task = bar.add_task("starting the actors", total=len(samples))

        def update(progress: Progress) -> None:
            text = f"{progress.rate:.1f} images/s, {progress.actors} actors"
            bar.update(task, completed=progress.done, description=text)

        return score_parts(cluster, work, samples, actors=actors, held=True, on_progress=update)


def _absolute(samples: CocoSamples) -> CocoSamples:
    """The samples with absolute paths, because actors run in other folders."""
    return dataclasses.replace(samples, paths=tuple(path.absolute() for path in samples.paths))


def _about(model: Path, backbone: str, embedding: Embedding) -> str:
    """The text about the model that is stored in the pool."""
    return f"checkpoint {model.name}, {backbone}, {embedding} embeddings"


def _report(out: Path, parts: Path, manifest: Manifest) -> None:
    """Report the images that are left out, with the reasons."""
    left = manifest.unreadable
    for number, why in left.items():
        sys.stderr.write(f"warning: image {number} is left out: {why}\n")
    if left:
        sys.stderr.write(
            f"warning: {out} lacks {len(left)} of {manifest.images + len(left)} images. The parts"
            f" stay in {parts}: the same command looks at these images again.\n"
        )


def _join(out: Path, folder: PartsFolder, manifest: Manifest) -> None:
    """Write the parts as a single file, equal to that of a run without ray.

    The parts are removed if no image is left out.
    """
    from taudis.data.pool_reader import load_pool
    from taudis.data.pool_writer import PoolWriter

    header = manifest.header
    with PoolWriter(out, label_names=header.label_names, model=header.model) as writer:
        for part in manifest.parts:
            writer.append(load_pool(folder.path.parent / part.file))
    if not manifest.unreadable:
        folder.retire()


def _figures(scored: Scored) -> dict[str, Any]:
    """The figures of a run, for the output of the command."""
    manifest, seconds = scored.manifest, scored.seconds
    return {
        "images": manifest.images,
        "instances": manifest.instances,
        "unreadable": len(manifest.unreadable),
        "parts": len(manifest.parts),
        "actors": scored.actors,
        "images_scored_now": scored.made,
        "images_per_second": round(scored.made / seconds, 2) if seconds else 0.0,
        "cpu_seconds": round(scored.cpu_seconds, 2),
        "blocks_again": scored.redone,
    }
