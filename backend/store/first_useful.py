"""The first useful pre-annotations of a project: when they came, and after how many labels.

Pre-annotations are useful where correcting them costs less than drawing every object. The step
`judge` records both costs of each new model, in drawings an image of the validation split
(`taudis.evaluation.thresholds`). The score thresholds were chosen on the same images, so a saving
is somewhat smaller on other images. Only rounds that were served count: nobody saw the others.

Everything here is read from the rows that rounds left. Rows of earlier builds may lack a figure,
which is None then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from backend.store.database import Store
from backend.store.rounds import Round


@dataclass(frozen=True)
class RoundCost:
    """A served round: the labels its model learnt from and was judged by, and both costs."""

    round: int
    images: int | None  # labelled images that could be used, of both splits
    objects: int | None  # objects in them
    seconds: float  # from the start of the project's first round, which connecting begins
    corrected: float  # drawings an image, with this model's pre-annotations
    by_hand: float  # drawings an image, without any

    @classmethod
    def of(cls, round_: Round, connected: float) -> RoundCost:
        """The costs of a round that has them. `connected`: seconds since 1970."""
        steps, evaluated = round_.steps, round_.steps["evaluated"]
        images, objects = _labels(steps.get("trained", {}), evaluated.get("metrics", {}))
        return cls(
            round=round_.number,
            images=images,
            objects=objects,
            seconds=max(0.0, round_.started + round_.seconds - connected),
            corrected=float(evaluated["correction"]["corrected"]),
            by_hand=float(evaluated["correction"]["by_hand"]),
        )

    def costs(self) -> str:
        """Both costs in words."""
        return (
            f"correcting costs {self.corrected:.2f} drawings an image, drawing everything"
            f" {self.by_hand:.2f}"
        )

    def labels(self) -> str:
        """The number of labels in words."""
        if self.images is None:
            return "an unknown number of labelled images"
        objects = "" if self.objects is None else f" ({self.objects} objects)"
        return f"{self.images} labelled images{objects}"


@dataclass(frozen=True)
class FirstUseful:
    """The first useful round and the newest served one; None where there is none yet."""

    first: RoundCost | None
    latest: RoundCost | None

    def in_words(self) -> str:
        """A sentence without its full stop."""
        first, latest = self.first, self.latest
        if latest is None:
            return "not yet: no model was judged and served"
        if first is None and not latest.by_hand:
            return "not yet: no object of a validation image is labelled, so no cost is known"
        if first is None:
            return f"not yet: after round {latest.round}, with {latest.labels()}, {latest.costs()}"
        text = (
            f"round {first.round}, with {first.labels()}, {_span(first.seconds)} after the project"
            f" was connected: {first.costs()}"
        )
        if latest == first or not latest.by_hand:
            return text
        return f"{text}. Round {latest.round}, with {latest.labels()}: {latest.costs()}"

    def to_json(self) -> dict[str, Any]:
        """{"first": {...} or None, "latest": {...} or None}."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FirstUseful:
        """The inverse of `to_json`, also after JSON."""
        first, latest = values["first"], values["latest"]
        return cls(
            None if first is None else RoundCost(**first),
            None if latest is None else RoundCost(**latest),
        )


def first_useful(store: Store, project: int) -> FirstUseful:
    """Read the first useful round of a project, and its newest served one."""
    connected = store.first_started(project)
    if connected is None:
        return FirstUseful(None, None)
    first, latest = store.first_useful_round(project), store.latest_evaluated_round(project)
    return FirstUseful(
        None if first is None else RoundCost.of(first, connected),
        None if latest is None else RoundCost.of(latest, connected),
    )


def _labels(
    trained: Mapping[str, Any], metrics: Mapping[str, Any]
) -> tuple[int | None, int | None]:
    """Images and objects of the training and the validation split; None where not recorded."""
    try:
        images = int(trained["images"]) + int(metrics["images"])
        learnt = round(trained["images"] * trained["mean_instances"])
        return images, learnt + int(metrics["instances"])
    except (KeyError, TypeError):
        return None, None


def _span(seconds: float) -> str:
    """A span for people."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
