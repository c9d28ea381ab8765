"""The two arms of the queue: a random control arm, and the arm that the strategy orders.

With CONTROL_SHARE, a hash of the task's id draws each task into one of the arms, once and
independently of any model. The strategy orders only the tasks of its arm, so its picks never
remove tasks from the random arm. The queue interleaves both arms at the stated share.
docs/decisions/0025-a-control-arm.md says why.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from backend.label_studio.queue import score_of
from backend.settings import Settings
from backend.store.arms import Arm
from backend.store.predictions import Place
from backend.store.rounds import Round
from backend.worker.common import Result
from backend.worker.context import RoundContext
from taudis.types import Pool

DRAWN = "control arm: drawn at random"
"""The reason of a place in the random arm."""


@dataclass(frozen=True)
class Draw:
    """Draws tasks of a project into the random arm: a pure function of these three fields."""

    project: int
    share: float  # of the tasks, above 0 and at most 0.5
    seed: int

    @property
    def name(self) -> str:
        """The draw's name in the store. Another share or seed makes another draw."""
        return f"share {self.share:g}, seed {self.seed}"

    def arm(self, task: int) -> Arm:
        """The arm of a task."""
        return "random" if self._unit("task", task) < self.share else "strategy"

    def in_random_order(self, tasks: Iterable[int]) -> list[int]:
        """Those of `tasks` that are in the random arm, in the order of that arm."""
        places = {task: self._unit("task", task) for task in tasks}
        found = [task for task, place in places.items() if place < self.share]
        return sorted(found, key=lambda task: (places[task], task))

    def random_places(self) -> Iterator[int]:
        """The places of the random arm in the queue, counted from 0, as an endless iterator.

        Each stretch of 1 / share places has one of them, at a random position. For every p, the
        number of them among the first p places is therefore within 1 of p * share.
        """
        stretch = 0
        while True:
            begin, end = math.ceil(stretch / self.share), math.ceil((stretch + 1) / self.share)
            yield begin + int(self._unit("place", stretch) * (end - begin))
            stretch += 1

    def _unit(self, what: str, number: int) -> float:
        """A number in [0, 1) that depends only on the seed, the project, `what` and `number`."""
        text = f"taudis-control:{self.seed}:{self.project}:{what}:{number}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / (1 << 48)


def draw_of(settings: Settings, project: int) -> Draw | None:
    """The draw by the settings; None without CONTROL_SHARE."""
    share = settings.control_share
    return Draw(project, share, settings.seed) if share else None


def drawn_in(context: RoundContext, round_: Round) -> Draw | None:
    """The draw of a round's order. None for a first order, which is random as a whole."""
    return None if round_.kind == "first" else draw_of(context.settings, context.project_id)


def divided(
    draw: Draw | None, pool: Pool, rest: Sequence[int]
) -> tuple[Pool, list[int], list[int]]:
    """Split the tasks by arm: the strategy's pool, its rest, and the random arm in its order.

    Args:
        draw: the draw of the order; None puts every task into the strategy's arm.
        pool: the images that can be ordered.
        rest: task ids that are not scored yet, in their previous order.
    """
    if draw is None:
        return pool, list(rest), []
    ids = pool.image_ids.tolist()
    mine = [row for row, task in enumerate(ids) if draw.arm(task) == "strategy"]
    behind = [task for task in rest if draw.arm(task) == "strategy"]
    return pool.subset(np.array(mine, np.int64)), behind, draw.in_random_order([*ids, *rest])


def interleaved(
    draw: Draw, by_strategy: Sequence[Place], at_random: Sequence[int], last: int = 0
) -> list[Place]:
    """Interleave both arms into one order. When one arm runs out, the other fills all places.

    Args:
        draw: the draw of the order.
        by_strategy: the places of the strategy's arm, rank 1 first.
        at_random: the task ids of the random arm, in its order.
        last: the number of places at the end of `by_strategy` that stay behind both arms.
    """
    count = len(by_strategy) - last
    total = len(by_strategy) + len(at_random)
    random = (Place(task, 0, 0.0, DRAWN) for task in at_random)
    strategy, wanted = iter(by_strategy[:count]), draw.random_places()
    following, found = next(wanted), list[Place]()
    for number in range(total - last):
        first, second = (random, strategy) if number == following else (strategy, random)
        following = next(wanted) if number == following else following
        found.append(next(first, None) or next(second))
    return [
        replace(place, rank=rank, score=score_of(rank, total))
        for rank, place in enumerate([*found, *by_strategy[count:]], start=1)
    ]


def budget_of_strategy(budget: int, draw: Draw | None) -> int:
    """How many of the next `budget` images the strategy picks, at least 1."""
    return budget if draw is None else max(1, round(budget * (1 - draw.share)))


def described(context: RoundContext, draw: Draw | None, at_random: Collection[int]) -> Result:
    """The arms' entry in the row of the step `selected`; {} without a control arm."""
    if draw is None:
        return {}
    return {
        "control": {
            "draw": draw.name,
            "share": draw.share,
            "tasks": len(at_random),
            "served_before": served_draw(context),
        }
    }


def served_draw(context: RoundContext) -> str:
    """The name of the draw of the order that is served now; '' if it has none.

    Also '' if a person chose another version in Label Studio, because its order is unknown.
    """
    state = context.load_project().state
    if not state.serving or state.changed_by_person:
        return ""
    made = {
        row.version: row.round for row in context.store.versions(context.project_id, pruned=True)
    }
    if state.serving not in made:
        return ""
    chosen = context.store.round(made[state.serving]).steps.get("selected", {})
    return str(chosen.get("control", {}).get("draw", ""))


def first_at_random(context: RoundContext, tasks: Iterable[int]) -> set[int]:
    """The random arm's tasks at its head, at most `budget` of them. They are scored first."""
    draw = draw_of(context.settings, context.project_id)
    found = draw.in_random_order(tasks) if draw else []
    return set(found[: context.settings.budget])
