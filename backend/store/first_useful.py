"""The first useful pre-annotations of a project: when they came, and after how many labels.

Pre-annotations are useful if correcting them costs less than drawing every object. The step `judge`
records both costs of each new model, in drawings per validation image
(`taudis.evaluation.thresholds`). The score thresholds were chosen on the same images, so the saving
on other images is somewhat smaller. Only served rounds count, because nobody saw the others.

All figures come from the rows of the rounds. Rows of earlier builds may lack a figure, which is
then None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from backend.store.database import Store
from backend.store.rounds import Round


@dataclass(frozen=True)
class RoundCost:
    """A served round: the labels for training and evaluation of its model, and both costs."""

    round: int
    images: int | None  # usable labelled images of both splits
    objects: int | None  # objects in these images
    seconds: float  # since the start of the project's first round, shortly after connecting
    corrected: float  # drawings per image, with this model's pre-annotations
    by_hand: float  # drawings per image, without pre-annotations
    measured: int | None = None  # validation images that gave both costs; None if not recorded

    @classmethod
    def of(cls, round_: Round, connected: float) -> RoundCost:
        """The costs of a round that recorded them. `connected`: seconds since 1970."""
        steps, evaluated = round_.steps, round_.steps["evaluated"]
        images, objects = _labels(steps.get("trained", {}), evaluated.get("metrics", {}))
        return cls(
            round=round_.number,
            images=images,
            objects=objects,
            seconds=max(0.0, round_.started + round_.seconds - connected),
            corrected=float(evaluated["correction"]["corrected"]),
            by_hand=float(evaluated["correction"]["by_hand"]),
            measured=evaluated.get("metrics", {}).get("images"),
        )

    def costs(self) -> str:
        """Both costs in words."""
        return (
            f"correcting an image costs as much as drawing {self.corrected:.2f} objects"
            f"{self._less()}{self._measured()}"
        )

    def _measured(self) -> str:
        """On how many images, as " (measured on 4 images)"."""
        if self.measured is None:
            return ""
        return f" (measured on {self.measured} image{'' if self.measured == 1 else 's'})"

    def _less(self) -> str:
        """The saving, as ", 29 % less than drawing all 3.50"."""
        if not self.by_hand:
            return ""
        saved = round(100 * (1 - self.corrected / self.by_hand))
        size = (
            "as much as" if not saved else f"{abs(saved)} % {'less' if saved > 0 else 'more'} than"
        )
        return f", {size} drawing all {self.by_hand:.2f}"

    def labels(self) -> str:
        """The number of labels in words."""
        if self.images is None:
            return "an unknown number of labelled images"
        objects = "" if self.objects is None else f" ({self.objects} objects)"
        return f"{self.images} labelled images{objects}"


@dataclass(frozen=True)
class FirstUseful:
    """The first useful round and the newest served round; None if there is none yet."""

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
        """The inverse of `to_json`, also after a round trip through JSON text."""
        first, latest = values["first"], values["latest"]
        return cls(
            None if first is None else RoundCost(**first),
            None if latest is None else RoundCost(**latest),
        )


def first_useful(store: Store, project: int) -> FirstUseful:
    """Read the first useful round and the newest served round of a project."""
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
    """Number of images and objects in both splits; None if not recorded."""
    try:
        images = int(trained["images"]) + int(metrics["images"])
        learnt = round(trained["images"] * trained["mean_instances"])
        return images, learnt + int(metrics["instances"])
    except (KeyError, TypeError):
        return None, None


def _span(seconds: float) -> str:
    """A duration in words."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
