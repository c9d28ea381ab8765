"""The commands that rank a pool: `select`, `why`, and the tables of strategies and parameters."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from taudis.cli.coco_options import SkipBad
from taudis.cli.options import Coco, Images, Model, Seed, StrategyBars, progress_bars, write_result
from taudis.cli.ranking_file import (
    check_ranked_path,
    read_image_ids,
    rows_of,
    summary,
    write_ranked,
)
from taudis.cli.ray_options import RayAddress
from taudis.cli.selection_options import with_selection_options
from taudis.cli.why import why as explained
from taudis.data.coco import CocoSamples
from taudis.data.pool_format import PoolHeader
from taudis.data.pool_reader import load_pool, read_header
from taudis.errors import DataError
from taudis.selection.graph import using_edges
from taudis.selection.params import Labelled, SelectionParams, parameters_table
from taudis.selection.strategies import STRATEGIES, find, query, strategies_table
from taudis.selection.variants import embeddings_of_objects
from taudis.types import Pool, Selection

PoolFile = Annotated[
    Path,
    typer.Argument(
        help="Pool file that `score` wrote; docs/pools.md has the format.", metavar="POOL"
    ),
]
Budget = Annotated[int, typer.Argument(help="Images to label next, B.")]
Strategy = Annotated[str, typer.Option(help=", ".join(STRATEGIES))]
MeanInstances = Annotated[
    float | None,
    typer.Option(
        help="Mean number of instances a labelled image; default: of detections with a score of 0.5"
        " or more."
    ),
]
LabelledPool = Annotated[
    Path | None, typer.Option(help="Pool of the labelled images, scored by the same model.")
]
Only = Annotated[Path | None, typer.Option(help="File of image ids, one a line: rank those alone.")]


@with_selection_options
def select(
    pool: PoolFile,
    budget: Budget,
    strategy: Strategy = "taudis",
    *,
    params: SelectionParams,  # becomes an option for each hyper-parameter
    mean_instances: MeanInstances = None,
    labelled: LabelledPool = None,
    only: Only = None,
    out: Annotated[
        Path | None, typer.Option(help="FILE.csv or FILE.json to write; default: a short JSON.")
    ] = None,
    seed: Seed = 0,
    ray: RayAddress = None,
) -> None:
    """Rank the images of a pool, the next to label first, with a reason for each.

    POOL is one file, or a manifest of parts. With --ray, tasks compute the similarities, each to
    rows of one part. The last line on standard output is JSON; progress and warnings go to
    standard error.
    """
    if out is not None:
        check_ranked_path(out)
    with _edges_by(ray, pool, strategy, params, only) as moved:
        ranked = _rank(pool, budget, strategy, params, mean_instances, labelled, only, seed)
    chosen, figures = ranked.selection, {"moved": moved()} if ray is not None else {}
    if out is None:
        write_result(summary(chosen, ranked.pool) | figures)
        return
    write_ranked(
        out, chosen, ranked.pool, ranked.header, params, seed=seed, labelled=ranked.labelled
    )
    write_result({
        "ranked": str(out),
        "strategy": chosen.strategy,
        "images": len(ranked.pool),
        "budget": chosen.budget,
        "warnings": list(chosen.warnings),
        **figures,
    })  # fmt: skip


def _check_ray(pool: Path, strategy: str, params: SelectionParams, only: Path | None) -> None:
    """Raise DataError for options that cannot be used with --ray, before a cluster starts."""
    graphs = [name for name, known in STRATEGIES.items() if known.edges]
    if not find(strategy).edges:
        raise DataError(
            f"--ray: expected a strategy that computes similarities ({', '.join(graphs)}), got"
            f" {strategy}, for which a cluster does nothing. Leave --ray out."
        )
    for option, given in (("--only", only is not None), ("--least-score", params.least_score > 0)):
        if given:
            raise DataError(
                f"--ray: expected no {option}: tasks read the embeddings in the pool's files, and"
                f" {option} copies a part of them into memory. Leave one of the two out."
            )
    if pool.suffix == ".npz":
        raise DataError(f"--ray: {pool} is read into memory. Give a manifest, or .safetensors.")


@contextmanager
def _edges_by(
    address: str | None, pool: Path, strategy: str, params: SelectionParams, only: Path | None
) -> Iterator[Callable[[], dict[str, int]]]:
    """Let selections in the block compute edges on the cluster at an address (None: here).

    Yields a function that gives the numbers of bytes sent and read.
    """
    if address is None:
        yield dict
        return
    _check_ray(pool, strategy, params, only)
    from taudis.distributed.cluster import connected
    from taudis.distributed.edges import RayEdges

    with connected(address) as cluster, using_edges(edges := RayEdges(cluster)):
        yield edges.moved.to_dict


# long: a third of it are arguments, the options of the command.
@with_selection_options
def why(
    model: Model,
    coco: Coco,
    images: Images,
    pool: PoolFile,
    budget: Budget,
    out: Annotated[Path, typer.Option(help="Picture to write: FILE.png or FILE.jpg.")],
    top: Annotated[int, typer.Option(help="Ranks to show, from 1 on; at most the budget.")] = 10,
    strategy: Strategy = "taudis",
    *,
    params: SelectionParams,  # becomes an option for each hyper-parameter
    mean_instances: MeanInstances = None,
    labelled: LabelledPool = None,
    only: Only = None,
    seed: Seed = 0,
    skip_bad: SkipBad = False,
) -> None:
    """Draw the first images that `select` ranks, with the chosen instances outlined.

    It takes the options of `select`. MODEL must be the model that scored POOL: a pool holds no
    masks, so the model detects them again. The last line on standard output is JSON.
    """
    from taudis.cli.coco_check import for_model, open_images
    from taudis.cli.why_picture import check_picture_path, draw, look_again
    from taudis.detector.checkpoint import load_checkpoint
    from taudis.detector.device import device_of_this_process

    check_picture_path(out)
    checked = open_images(coco, images, skip_bad)
    detector = load_checkpoint(model, device=device_of_this_process())[0].fast()
    names, samples = detector.label_map.names, for_model(checked, detector.label_map)
    ranked = _rank(pool, budget, strategy, params, mean_instances, labelled, only, seed)
    reasons = explained(
        ranked.pool,
        ranked.selection,
        top=min(top, ranked.selection.budget),
        labelled=ranked.labelled,
        measure=params.uncertainty,
    )
    rows = _rows_of_images(coco, samples, [reason.image_id for reason in reasons])
    with progress_bars() as bar:
        seen = look_again(reasons, detector, (samples.image(row) for row in rows))
        draw(out, bar.track(seen, len(reasons), description="drawing"), names)
    write_result({
        "picture": str(out),
        "strategy": ranked.selection.strategy,
        "why": [reason.sentence(names) for reason in reasons],
        "warnings": list(ranked.selection.warnings),
    })  # fmt: skip


def _rows_of_images(coco: Path, samples: CocoSamples, ids: list[int]) -> list[int]:
    """The samples' rows of these image ids. Raises DataError for ids that are not in the file."""
    place = {number: row for row, number in enumerate(samples.image_ids)}
    missing = [number for number in ids if number not in place]
    if missing:
        raise DataError(f"{coco}: expected the images that were chosen, got none of id {missing}.")
    return [place[number] for number in ids]


def strategies() -> None:
    """Print the query strategies that `select --strategy` takes, and when to use each."""
    sys.stdout.write(strategies_table() + "\n")


def parameters() -> None:
    """Print the hyper-parameters of the query strategies, as docs/strategies.md has them."""
    sys.stdout.write(parameters_table() + "\n")


@dataclasses.dataclass(frozen=True, eq=False)
class _Ranked:
    """The result of a strategy on a pool file, with its inputs."""

    header: PoolHeader
    pool: Pool  # without the images that `--only` excludes
    labelled: Labelled
    selection: Selection


def _rank(
    path: Path,
    budget: int,
    strategy: str,
    params: SelectionParams,
    mean_instances: float | None,
    labelled: Path | None,
    only: Path | None,
    seed: int,
) -> _Ranked:
    """Read the files and run the strategy. Warnings are written to standard error."""
    header, pool = read_header(path), load_pool(path)
    if only is not None:
        pool = pool.subset(rows_of(pool, read_image_ids(only)))
    known = _labelled(labelled, pool, header, mean_instances)
    with StrategyBars() as bars:
        selection = query(
            strategy,
            pool,
            budget=budget,
            labelled=known,
            params=params,
            seed=seed,
            progress=bars,
        )
    if budget > selection.budget:
        warning = f"The budget is {budget:,} images of {len(pool):,}: all are chosen."
        selection = dataclasses.replace(selection, warnings=(warning, *selection.warnings))
    for warning in selection.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    return _Ranked(header, pool, known, selection)


def _labelled(
    path: Path | None, pool: Pool, header: PoolHeader, mean_instances: float | None
) -> Labelled:
    """The facts about labelled images for the strategy.

    path: pool file of the labelled images, or None. mean_instances: instances per labelled image;
    None: count detections with a score of 0.5 or more, without `path` those of the unlabelled pool.
    """
    seen = pool if path is None else load_pool(path)
    mean = mean_instances
    if mean is None:
        confident = int((seen.instances.scores >= 0.5).sum())
        mean = confident / len(seen) if len(seen) else 0.0
    if path is None:
        return Labelled(float(mean))
    theirs = read_header(path)
    widths = seen.image_embeddings.shape[1], pool.image_embeddings.shape[1]
    if widths[0] != widths[1]:
        raise DataError(
            f"{path}: expected image embeddings of width {widths[1]} as in the pool, got "
            f"{widths[0]}; score both with one model."
        )
    if theirs != header:
        sys.stderr.write(f"warning: {path} was scored by another model or for other labels.\n")
    vectors = np.asarray(seen.image_embeddings, np.float32)
    objects = embeddings_of_objects(seen)
    return Labelled(float(mean), vectors, seen.image_ids, objects, images=len(seen))
