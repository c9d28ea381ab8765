"""The live evaluation of a project: how people changed pre-annotations, and how long it took.

It adds up the worker's rows (`backend.store.live`): the changes by version and label, and the lead
times with and without pre-annotations. It needs no extra labels. The tasks are those that the queue
served, so a version is measured on the images that its order put first. Blank tasks are compared
only with tasks of versions that had blank tasks, because models improve and people get faster over
time.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from backend.store.database import Store
from backend.store.live import KINDS, Kind, LiveRow

FIELDS = ("accepted", "unchanged", "reshaped", "relabelled", "removed", "added")
"""The counts, defined in `taudis.evaluation.changes.Changes`."""
ENOUGH = 10
"""An annotator counts with at least so many annotations each with and without pre-annotations."""
KIND_WORDS: dict[Kind, str] = {
    "visible": "compared with their pre-annotation",
    "blank": "made without one (BLANK_SHARE)",
    "no_model": "of images that no model had scored, or that take no regions by the config",
    "other_model": "made from another model's predictions",
    "before": "older than the first order",
    "converted": "equal to a prediction and without a lead time: Label Studio itself made them",
    "unknown": "of which Label Studio does not say what they began with",
    "unreadable": "with a region that cannot be read",
}


@dataclass(frozen=True)
class Total:
    """The sum of the changes in some annotations."""

    annotations: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)  # FIELDS -> number

    def __getitem__(self, name: str) -> int:
        return self.counts.get(name, 0)

    @property
    def regions(self) -> int:
        """The number of regions in the pre-annotations."""
        return self["accepted"] + self["reshaped"] + self["relabelled"] + self["removed"]

    @property
    def objects(self) -> int:
        """The number of objects that people submitted."""
        return self["accepted"] + self["reshaped"] + self["relabelled"] + self["added"]

    def share(self, name: str) -> float | None:
        """One of FIELDS as a share of `regions`; `added` as one of `objects`. None for 0 / 0."""
        of = self.objects if name == "added" else self.regions
        return self[name] / of if of else None

    def to_json(self) -> dict[str, Any]:
        """Counts and shares (0 to 1, or None)."""
        shares = {name: self.share(name) for name in FIELDS}
        return {
            "annotations": self.annotations,
            "regions": self.regions,
            "objects": self.objects,
            **{name: self[name] for name in FIELDS},
            "shares": {k: None if v is None else round(v, 4) for k, v in shares.items()},
        }


@dataclass(frozen=True)
class VersionChanges:
    """The changes in the pre-annotations of one version."""

    version: str
    total: Total
    labels: Mapping[str, Total]
    random: Total = field(default_factory=Total)  # only tasks of the control arm

    def to_json(self) -> dict[str, Any]:
        """The totals of all tasks, of each label and of the random tasks, as JSON values."""
        labels = {name: each.to_json() for name, each in self.labels.items()}
        return {
            "version": self.version,
            **self.total.to_json(),
            "labels": labels,
            "random": self.random.to_json(),
        }


@dataclass(frozen=True)
class AnnotatorTimes:
    """The lead times of one person: medians in seconds, None without annotations."""

    annotator: int  # id of the user in Label Studio
    given: int  # annotations of tasks that may have pre-annotations
    blank: int  # annotations of blank tasks
    given_median: float | None
    blank_median: float | None

    @property
    def ratio(self) -> float | None:
        """Median with pre-annotations / median without. None with fewer than ENOUGH of a kind."""
        if min(self.given, self.blank) < ENOUGH or not self.blank_median:
            return None
        return float(self.given_median or 0.0) / self.blank_median

    def to_json(self) -> dict[str, Any]:
        """All fields, and the ratio."""
        return {**vars(self), "ratio": self.ratio}


@dataclass(frozen=True)
class LiveEvaluation:
    """The live evaluation of one project."""

    versions: Sequence[VersionChanges]  # oldest first
    blank: Total  # withheld regions, compared with what people drew without seeing them
    beside_blank: Total  # the visible pre-annotations of versions with blank tasks
    times: Sequence[AnnotatorTimes]
    kinds: Mapping[Kind, int]
    outdated: int  # annotations edited after their pre-annotation was pruned; older counts are kept
    untimed: int  # annotations without a lead time, in the versions whose times are compared

    @property
    def total(self) -> Total:
        """The sum over all versions."""
        return _sum([each.total for each in self.versions])

    @property
    def timed(self) -> list[AnnotatorTimes]:
        """The annotators with ENOUGH annotations of both kinds."""
        return [each for each in self.times if each.ratio is not None]

    @property
    def not_faster(self) -> float | None:
        """The share of `timed` who are not faster with pre-annotations; None if it is empty."""
        timed = self.timed
        return sum((each.ratio or 0) >= 1 for each in timed) / len(timed) if timed else None

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values; `not_compared` counts the annotations of other kinds."""
        return {
            "versions": [each.to_json() for each in self.versions],
            "total": self.total.to_json(),
            "blank": self.blank.to_json(),
            "beside_blank": self.beside_blank.to_json(),
            "times": [each.to_json() for each in self.times],
            "enough": ENOUGH,
            "not_faster": self.not_faster,
            "kinds": dict(self.kinds),
            "outdated": self.outdated,
            "untimed": self.untimed,
        }


def live_evaluation(store: Store, project: int) -> LiveEvaluation:
    """Read a project's live evaluation from the store."""
    names = [row.version for row in reversed(store.versions(project, pruned=True))]
    return evaluate(store.live_rows(project), names, store.random_tasks(project))


def evaluate(
    rows: Sequence[LiveRow], versions: Sequence[str], random: Collection[int] = ()
) -> LiveEvaluation:
    """Add up the rows of a project.

    Args:
        rows: one for each annotation.
        versions: the names of the project's versions, oldest first.
        random: the labelled tasks of the control arm.
    """
    visible = [row for row in rows if row.kind == "visible" and row.counts is not None]
    by_version: dict[str, list[LiveRow]] = {name: [] for name in versions}
    for row in visible:
        by_version.setdefault(row.version, []).append(row)
    both = {row.version for row in rows if row.kind == "blank"}  # versions with blank tasks
    timed = [r for r in rows if r.kind in ("visible", "blank") and r.version in both]
    withheld = [r for r in rows if r.kind == "blank" and r.counts is not None]
    blank_versions = {row.version for row in withheld}
    counted = Counter(row.kind for row in rows)
    return LiveEvaluation(
        versions=[_changes(name, some, random) for name, some in by_version.items() if some],
        blank=_total(withheld),
        beside_blank=_total([row for row in visible if row.version in blank_versions]),
        times=_times([row for row in timed if row.lead_time is not None]),
        kinds={kind: counted[kind] for kind in KINDS if counted[kind]},
        outdated=sum(row.outdated for row in rows),
        untimed=sum(row.lead_time is None for row in timed),
    )


def _changes(version: str, rows: Sequence[LiveRow], random: Collection[int]) -> VersionChanges:
    names = sorted({label for row in rows for label in row.counts or {}})
    labels = {each: _total(rows, each) for each in names}
    sample = [row for row in rows if row.task in random]
    return VersionChanges(version, _total(rows), labels, _total(sample))


def _total(rows: Sequence[LiveRow], label: str | None = None) -> Total:
    """The sum over all labels, or for one label over the annotations that have it."""
    found = [
        [counts for name, counts in (row.counts or {}).items() if label in (None, name)]
        for row in rows
    ]
    summed = Counter[str]()
    for counts in (each for some in found for each in some):
        summed.update(counts)
    return Total(sum(bool(some) or label is None for some in found), dict(summed))


def _sum(totals: Iterable[Total]) -> Total:
    summed, annotations = Counter[str](), 0
    for each in totals:
        summed.update(each.counts)
        annotations += each.annotations
    return Total(annotations, dict(summed))


def _times(rows: Sequence[LiveRow]) -> list[AnnotatorTimes]:
    """The lead times of each annotator, by id.

    Medians are used because an editor left open for hours distorts a mean.
    """
    seconds: dict[int, dict[Kind, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.annotator is not None and row.lead_time is not None:
            seconds[row.annotator][row.kind].append(row.lead_time)
    return [
        AnnotatorTimes(
            who,
            len(some["visible"]),
            len(some["blank"]),
            median(some["visible"]) if some["visible"] else None,
            median(some["blank"]) if some["blank"] else None,
        )
        for who, some in sorted(seconds.items())
    ]
