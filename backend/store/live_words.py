"""The live evaluation in words and as a table, for the status page and the demo."""

from __future__ import annotations

from backend.store.live_evaluation import (
    ENOUGH,
    KIND_WORDS,
    AnnotatorTimes,
    LiveEvaluation,
    Total,
    VersionChanges,
)
from taudis.selection.reasons import counted

HEADINGS = (
    "Version",
    "Annotations",
    "Regions",
    "Accepted",
    "of them unchanged",
    "Reshaped",
    "Relabelled",
    "Removed",
    "Objects",
    "Added",
)
"""Column headings of the table. Shares are in per cent of the regions; `added`, of the objects."""
ALL, BLANK, RANDOM = "all versions", "blank tasks", "random tasks"
BESIDE = "versions with blank tasks"


def table(evaluation: LiveEvaluation, *, by_label: bool = False) -> list[tuple[str, ...]]:
    """The rows under HEADINGS: each version, its random tasks, if `by_label` its labels, the sum of
    all versions, the sum of the versions with blank tasks, and the blank tasks.
    """
    rows = list[tuple[str, ...]]()
    for each in evaluation.versions:
        rows.append(_cells(each.version, each.total))
        if each.random.annotations:
            rows.append(_cells(f"{each.version}: {RANDOM}", each.random))
        rows += _labels(each) if by_label else []
    if len(evaluation.versions) > 1:
        rows.append(_cells(ALL, evaluation.total))
    if evaluation.blank.annotations:
        rows.append(_cells(BESIDE, evaluation.beside_blank))
        rows.append(_cells(BLANK, evaluation.blank))
    return rows


def _labels(version: VersionChanges) -> list[tuple[str, ...]]:
    return [_cells(f"{version.version}: {name}", each) for name, each in version.labels.items()]


def _cells(name: str, total: Total) -> tuple[str, ...]:
    shares = {
        field: _per_cent(total.share(field))
        for field in ("accepted", "unchanged", "reshaped", "relabelled", "removed", "added")
    }
    first = [shares[f] for f in ("accepted", "unchanged", "reshaped", "relabelled", "removed")]
    counts = [str(total.annotations), str(total.regions)]
    return (name, *counts, *first, str(total.objects), shares["added"])


def _per_cent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}".replace("%", " %")


def sentences(evaluation: LiveEvaluation) -> list[str]:
    """Sentences below the table: what is not compared, and the times. [] without annotations."""
    if not evaluation.kinds:
        return []
    others = [
        f"{number} {KIND_WORDS[kind]}"
        for kind, number in evaluation.kinds.items()
        if kind != "visible"
    ]
    compared = counted(evaluation.kinds.get("visible", 0), "annotation")
    found = [f"Compared with what was given: {compared}."]
    if others:
        found.append(f"Annotations that are not: {', '.join(others)}.")
    if any(each.random.annotations for each in evaluation.versions):
        found.append(
            f"The {RANDOM} are those of the control arm, a random sample of the pool: their shares"
            " may be compared between versions. The other tasks were chosen by the order."
        )
    if evaluation.blank.annotations:
        found.append(
            f"In the row {BLANK!r}, the regions that were withheld are compared with what people"
            " drew without seeing them: nobody could accept a wrong one. Compare it with the row"
            f" {BESIDE!r}: other versions may be better or worse."
        )
    if evaluation.outdated:
        found.append(
            f"{evaluation.outdated} annotations were edited after their pre-annotation was pruned;"
            " they count as they were before."
        )
    return found + _times(evaluation)


def _times(evaluation: LiveEvaluation) -> list[str]:
    """The lead times in words; [] without blank tasks."""
    if not evaluation.times:
        return []
    timed, few = evaluation.timed, len(evaluation.times) - len(evaluation.timed)
    found = [
        f"Annotator {each.annotator}: {_seconds(each.given_median)} with pre-annotations"
        f" ({each.given}), {_seconds(each.blank_median)} without ({each.blank}),"
        f" {each.ratio:.2f} times as long."
        for each in timed
    ]
    if timed:
        slower = round((evaluation.not_faster or 0) * len(timed))
        share = _per_cent(evaluation.not_faster)
        found.append(
            f"Not faster with pre-annotations: {slower} of {len(timed)} annotators ({share}),"
            " by the median lead time."
        )
    if few:
        so_far = ", ".join(_so_far(each) for each in evaluation.times if each.ratio is None)
        found.append(
            f"Lead times are not compared yet for {few} annotators, who need {ENOUGH} annotations"
            f" each with and without pre-annotations ({so_far})."
        )
    if evaluation.untimed:
        found.append(f"{evaluation.untimed} annotations have no lead time.")
    return found


def _so_far(times: AnnotatorTimes) -> str:
    return f"annotator {times.annotator}: {times.given} and {times.blank}"


def _seconds(seconds: float | None) -> str:
    return "no time" if seconds is None else f"{seconds:.1f} s"
