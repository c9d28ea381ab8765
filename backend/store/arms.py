"""The arms of labelled tasks, and the comparisons of both arms.

A labelled task is in one arm if it was labelled while an order with arms was served. Every other
labelled task belongs to both arms, mainly the seed set, which was labelled before.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from backend.store.lease import Lease, check_lease
from backend.store.transactions import META, Transactions
from taudis.evaluation.next_labels import USUAL_NOISE

Arm = Literal["random", "strategy"]
ARMS: tuple[Arm, ...] = ("random", "strategy")
Membership = Literal["random", "strategy", "both"]
IN_A_ROW = 2
"""Number of consecutive comparisons that must agree. A single comparison is wrong too often, since
every round can make one. benchmarks/arm_verdicts.py has the error rates."""
TRAININGS = 1.96 * math.sqrt(2) * USUAL_NOISE
"""Half-width of the 95 % interval of the mAP50 difference between two equal trainings."""

arms_table = sa.Table(
    "control_arms",
    META,
    sa.Column("project", sa.Integer, primary_key=True),
    sa.Column("task", sa.Integer, primary_key=True),
    sa.Column("draw", sa.Text, nullable=False),
    sa.Column("arm", sa.Text, nullable=False),  # random | strategy | both
)
comparisons_table = sa.Table(
    "control_comparisons",
    META,
    sa.Column("project", sa.Integer, primary_key=True),
    sa.Column("round", sa.Integer, primary_key=True),
    sa.Column("draw", sa.Text, nullable=False),
    sa.Column("result", sa.Text, nullable=False),
)


@dataclass(frozen=True)
class ArmComparison:
    """One comparison of both arms, by models with equal recipe, steps and number of labels.

    mAP50 is measured on the same validation images. None if it is unknown.
    """

    round: int  # id of the round whose labels these are
    number: int  # of that round
    version: str  # the order that the round published
    draw: str
    strategy: str
    common: int  # training images common to both arms, mainly the seed set
    images: int  # further training images of each arm
    labelled: Mapping[str, int]  # arm -> its available training images, of which `images` are used
    validation: int  # validation images
    steps: int  # of each training
    map50: Mapping[str, float | None]  # arm -> mAP50
    intervals: Mapping[str, Sequence[float | None]]  # arm -> 95 % interval of mAP50
    difference: float | None  # mAP50 of the strategy's arm minus that of the random arm. Like
    # `interval`, it covers only the labels that three or more validation images show.
    interval: Sequence[float | None]  # 95 % interval of the difference, paired by image

    @property
    def labels(self) -> int:
        """Training images of each model."""
        return self.common + self.images

    @property
    def better(self) -> Arm | None:
        """The arm that is better beyond chance; None if neither is.

        `interval` covers the chance in the choice of validation images. It is widened by the chance
        in two trainings. The result is also None if mAP50 over all labels says the opposite,
        because labels that too few validation images show then decide.
        """
        low, high = (math.nan if end is None else end for end in self.interval)
        if self.contradicted:
            return None
        middle, reach = (low + high) / 2, math.hypot((high - low) / 2, TRAININGS)
        return "strategy" if middle > reach else "random" if -middle > reach else None

    @property
    def contradicted(self) -> bool:
        """Whether the difference in mAP50 over all labels has the opposite sign of `difference`."""
        strategy, random = self.map50["strategy"], self.map50["random"]
        if self.difference is None or strategy is None or random is None:
            return False
        return self.difference * (strategy - random) < 0

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


class Arms(Transactions):
    """Records the arms of labelled tasks and the results of comparisons."""

    def record_arms(
        self, lease: Lease, project: int, draw: str, arms: Mapping[int, Membership]
    ) -> None:
        """Record the arms of labelled tasks. Arms recorded before do not change."""
        rows = [
            {"project": project, "task": task, "draw": draw, "arm": arm}
            for task, arm in arms.items()
        ]
        with self.writing() as db:
            check_lease(db, lease)
            if rows:
                keys = ["project", "task"]
                db.execute(insert(arms_table).on_conflict_do_nothing(index_elements=keys), rows)

    def arms(self, project: int, draw: str) -> dict[int, Membership]:
        """Task -> its arm in a draw. A task labelled in another draw belongs to both arms."""
        query = sa.select(arms_table.c.task, arms_table.c.draw, arms_table.c.arm)
        with self.reading() as db:
            rows = db.execute(query.where(arms_table.c.project == project)).all()
        return {row.task: row.arm if row.draw == draw else "both" for row in rows}

    def random_tasks(self, project: int) -> set[int]:
        """The labelled tasks of the random arms of all draws: a random sample of the pool."""
        query = sa.select(arms_table.c.task).filter_by(project=project, arm="random")
        with self.reading() as db:
            return set(db.execute(query).scalars())

    def add_comparison(self, lease: Lease, project: int, found: ArmComparison) -> None:
        """Record a comparison. It replaces an earlier comparison of the same round."""
        values = {"draw": found.draw, "result": json.dumps(found.to_json())}
        with self.writing() as db:
            check_lease(db, lease)
            db.execute(
                insert(comparisons_table)
                .values(project=project, round=found.round, **values)
                .on_conflict_do_update(index_elements=["project", "round"], set_=values)
            )

    def comparisons(self, project: int, draw: str = "") -> list[ArmComparison]:
        """The comparisons of a draw, oldest first; of the newest compared draw if `draw` is ''."""
        query = sa.select(comparisons_table).where(comparisons_table.c.project == project)
        with self.reading() as db:
            rows = db.execute(query.order_by(comparisons_table.c.round)).all()
        wanted = draw or (rows[-1].draw if rows else "")
        return [ArmComparison(**json.loads(row.result)) for row in rows if row.draw == wanted]


def verdict(found: Sequence[ArmComparison]) -> Literal["pays", "does not pay", "cannot be told"]:
    """Whether the strategy's order pays, by the comparisons of one draw, oldest first."""
    last = {one.better for one in found[-IN_A_ROW:]} if len(found) >= IN_A_ROW else {None}
    if last == {"strategy"}:
        return "pays"
    return "does not pay" if last == {"random"} else "cannot be told"


def in_words(found: Sequence[ArmComparison]) -> str:
    """The verdict with the newest figures, as a sentence without its full stop."""
    if not found:
        return "cannot be told yet: the arms were not compared yet"
    newest = found[-1]
    figures = _figures(newest)
    said = verdict(found)
    if said == "pays":
        return f"it pays: {figures}, and the comparison before agrees"
    if said == "does not pay":
        return f"it does not pay, the random arm is better: {figures}, and the one before agrees"
    if newest.contradicted:
        return (
            f"cannot be told yet: {figures}. Labels that too few validation images show say the"
            " opposite of the interval"
        )
    if newest.better:
        arm = "the strategy's arm" if newest.better == "strategy" else "the random arm"
        return (
            f"cannot be told yet: {figures}. {arm.capitalize()} is better, in this comparison alone"
        )
    low, high = newest.interval
    if low is not None and high is not None and (low > 0 or high < 0):
        return f"cannot be told yet: {figures}. Two trainings may differ by as much"
    return f"cannot be told yet: {figures}"


def _figures(newest: ArmComparison) -> str:
    """mAP50 of both arms and the interval of the difference."""
    both = f"with {newest.labels} labels each ({newest.common} of them in common)"
    scores = [newest.map50[arm] for arm in ("strategy", "random")]
    if None in scores:
        return f"{both}, no validation image shows an object"
    low, high = newest.interval
    known = (
        "no interval is known"
        if low is None or high is None
        else f"95 % interval of the difference {low:+.3f} to {high:+.3f}"
    )
    return (
        f"{both}, mAP50 is {scores[0]:.3f} by {newest.strategy} and {scores[1]:.3f} at random"
        f" ({known}, on {newest.validation} validation images)"
    )
