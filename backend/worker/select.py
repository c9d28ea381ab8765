"""The step `selected`: put the unlabelled tasks of a round into the order of annotation.

The query strategy ranks the images of the pool file. Ranks, scores and reasons of all tasks are
written to the round's predictions file.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from backend.label_studio.queue import score_of
from backend.store import predictions
from backend.store.blank import is_blank
from backend.store.predictions import Place
from backend.store.rounds import Round
from backend.worker.anytime import (
    POOL_FILE,
    UNREADABLE_FILE,
    empty_pool,
    ranks_unseen,
    rest_of,
)
from backend.worker.arms import (
    Draw,
    budget_of_strategy,
    described,
    divided,
    drawn_in,
    interleaved,
)
from backend.worker.common import Report, Result
from backend.worker.context import RoundContext, read_json, version_name, write_json
from backend.worker.score import LABELLED_FILE
from backend.worker.sync import load_snapshot
from taudis.data.pool_reader import load_pool
from taudis.detector.integer_product import fast_integer_product
from taudis.errors import DataError
from taudis.selection.graph import using_integer_product
from taudis.selection.params import Labelled
from taudis.selection.strategies import STRATEGIES, query
from taudis.selection.variants import embeddings_of_objects
from taudis.types import Pool, Selection

logger = logging.getLogger(__name__)

FIRST_PICKS = 2_000
CURVE_POINTS = 60
HYPER_PARAMETERS = "such settings stand in a file that SELECTION names (docs/settings.md)"
"""Added to a strategy's warnings, which may advise to change a hyper-parameter."""
NOT_SCORED = "not scored yet: behind the scored images, in the previous order"
NOT_LOOKED_AT = "not looked at yet; seeded random place"


# long: the row of the step
def select(context: RoundContext, round_: Round, report: Report) -> Result:
    """Rank the pool by the query strategy, add the other tasks, and write the order."""
    whole, unreadable, rest, strategy = _pool_of(context, round_)
    draw = drawn_in(context, round_)
    pool, rest, at_random = divided(draw, whole, rest)
    known, missing = labelled_of(context, round_, strategy, pool)
    with using_integer_product(fast_integer_product()):  # by PyTorch, which the worker has loaded
        selection = query(
            strategy,
            pool,
            budget=_budget(context, round_, pool, draw),
            labelled=known,
            params=context.settings.selection_params,
            seed=context.settings.seed,
        )
    hint = HYPER_PARAMETERS if selection.warnings else ""
    if missing:
        logger.warning("Project %s, round %s: %s", context.project_id, round_.number, missing)
        selection = replace(
            selection,
            diagnostics={**selection.diagnostics, "labelled_missing": missing},
            warnings=(*selection.warnings, missing),
        )
    version = version_name(round_)
    path = predictions.path_of(context.data, context.project_id, version)
    if round_.kind == "first":  # no model has written a file with regions
        with predictions.writing(path):
            pass
    why = NOT_LOOKED_AT if round_.kind == "first" else NOT_SCORED
    ranked: Iterable[Place] = places(selection, pool.image_ids.tolist(), unreadable, rest, why)
    if draw is not None:
        ranked = interleaved(draw, list(ranked), at_random, last=len(unreadable))
    count, blank = predictions.set_order(path, ranked), _set_blank(context, round_, path)
    write_json(context.round_dir(round_) / "selection.json", describe(selection, pool))
    return {
        "version": version,
        "tasks": count,
        "strategy": selection.strategy,
        "warnings": list(selection.warnings),
        "hint": hint,
        "diagnostics": dict(selection.diagnostics),
        "coverage_curve": coverage_curve(selection, len(pool.instances)),
        **({"behind": len(rest)} if rest_of(context, round_) else {}),
        **described(context, draw, at_random),
        **({"blank": blank} if blank else {}),
    }


def _set_blank(context: RoundContext, round_: Round, path: Path) -> int:
    """Mark the tasks of BLANK_SHARE. Returns how many; 0 in a first order, which has no regions."""
    share, seed = context.settings.blank_share, context.settings.seed
    if round_.kind == "first" or not share:
        return 0
    tasks = predictions.ranks(path)
    return predictions.set_blank(path, (task for task in tasks if is_blank(task, share, seed)))


def _budget(context: RoundContext, round_: Round, pool: Pool, draw: Draw | None) -> int:
    """How many images the strategy picks.

    In a first order it picks FIRST_PICKS images, at least the budget and at most the pool, because
    the number of images that people label before the first model is unknown.
    """
    if round_.kind == "first":
        return max(context.settings.budget, min(len(pool), FIRST_PICKS))
    return budget_of_strategy(context.settings.budget, draw)


def places(
    selection: Selection,
    task_ids: Sequence[int],
    unreadable: Mapping[int, str],
    rest: Sequence[int] = (),
    why: str = NOT_SCORED,
) -> Iterator[Place]:
    """The place of every task: first the selection, then the rest, last the unreadable images.

    Args:
        selection: an order of the rows of the pool.
        task_ids: [I] task id of each row.
        unreadable: task id -> why its image could not be read. These tasks are ordered by id.
        rest: task ids that are not scored yet, in the order of their places.
        why: the reason text for the places of `rest`.
    """
    total = len(task_ids) + len(rest) + len(unreadable)
    rank = 0
    for rank, (row, reason) in enumerate(zip(selection, selection.reasons, strict=True), start=1):
        yield Place(int(task_ids[row]), rank, score_of(rank, total), reason)
    behind = [(task, why) for task in rest]
    behind += [(task, f"unreadable image: {unreadable[task]}") for task in sorted(unreadable)]
    for last, (task, reason) in enumerate(behind, start=rank + 1):
        yield Place(task, last, score_of(last, total), reason)


def _pool_of(context: RoundContext, round_: Round) -> tuple[Pool, dict[int, str], list[int], str]:
    """The pool to rank, the unreadable images, the rest, and the name of the query strategy.

    Before the first model the pool has only image embeddings, or only task ids for a random order.
    The pool also has only task ids if some images are not scored yet and the strategy needs no
    scores: it then ranks these images too, and the rest is empty.
    """
    folder, strategy = context.round_dir(round_), context.settings.strategy
    if round_.kind == "first":
        strategy = str(round_.steps["embedded"]["strategy"])
        if strategy == "random":
            tasks = np.array(sorted(map(int, read_json(folder / "pool.json"))), np.int64)
            return empty_pool(tasks), {}, [], strategy
    unreadable = {int(task): why for task, why in read_json(folder / UNREADABLE_FILE).items()}
    pool, rest = load_pool(folder / POOL_FILE), rest_of(context, round_)
    if rest and ranks_unseen(strategy):
        return empty_pool(np.array([*pool.image_ids, *rest], np.int64)), unreadable, [], strategy
    return pool, unreadable, rest, strategy


def labelled_of(
    context: RoundContext, round_: Round, strategy: str, pool: Pool
) -> tuple[Labelled, str]:
    """The strategy's input about the labelled images, and a warning if some of it is missing.

    The warning is '' if nothing is missing.
    """
    nothing = Labelled(mean_instances=_seed_mean(context, round_))
    if STRATEGIES[strategy].labelled_count:
        _, annotated, _ = load_snapshot(context, round_)
        nothing = replace(nothing, images=len(annotated))
    if not STRATEGIES[strategy].reads_labelled or not len(pool):
        return nothing, ""
    without = f"{strategy} went without the labelled images"
    path = context.round_dir(round_) / LABELLED_FILE
    if not path.exists():
        why = "this round was scored under another STRATEGY"
        return nothing, f"{without}: {why}; the next round looks at them"
    try:
        seen = load_pool(path)
    except DataError as error:
        return nothing, f"{without}: {error}"
    looked = "embedded" if round_.kind == "first" else "scored"
    count = int(round_.steps[looked].get("labelled", 0))
    if count and not len(seen):
        return nothing, f"{without}: none of the {count} can be read; the worker's log tells why"
    known = replace(
        nothing,
        image_embeddings=seen.image_embeddings,
        image_ids=seen.image_ids,
        instance_embeddings=embeddings_of_objects(seen),
    )
    missing = max(0, count - len(seen))
    why = f"{strategy} went without {missing} of {count} labelled images, which cannot be read"
    return known, why if missing else ""


def _seed_mean(context: RoundContext, round_: Round) -> float:
    """Mean instances per image of the seed set, fixed at the first training (Appendix C)."""
    frozen = context.load_project().state.seed_mean_instances
    if frozen is None and "trained" in round_.steps:
        frozen = round_.steps["trained"]["mean_instances"]
        context.store.update_project(context.project_id, seed_mean_instances=frozen)
    return float(frozen or 1.0)


def coverage_curve(selection: Selection, instances: int) -> list[tuple[int, float]]:
    """Points (number of picks in the cover's first layer, share of all instances covered).

    At most CURVE_POINTS points, evenly spaced, including the last; [] for a strategy without a
    cover.
    """
    covered = np.cumsum(selection.gains[selection.layers == 0])
    if not len(covered) or not instances:
        return []
    rows = np.unique(np.linspace(0, len(covered) - 1, CURVE_POINTS).round().astype(int))
    return [(int(row) + 1, round(float(covered[row]) / instances, 5)) for row in rows]


def describe(selection: Selection, pool: Pool) -> Result:
    """A selection as JSON: the order, votes, reasons, diagnostics and warnings."""
    ids = pool.image_ids
    votes = selection.votes if len(selection.votes) else np.zeros(len(ids))
    return {
        "strategy": selection.strategy,
        "budget": selection.budget,
        "order": [int(ids[row]) for row in selection],
        "votes": [float(votes[row]) for row in selection],
        "reasons": list(selection.reasons),
        "diagnostics": dict(selection.diagnostics),
        "warnings": list(selection.warnings),
    }
