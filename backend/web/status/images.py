"""The numbers of labelled, unlabelled and left-out images, and the coverage of the order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backend.label_studio.left_out import Part, latest_summary
from backend.store.rounds import Round
from backend.store.state import ProjectState
from backend.web.status.charts import (
    Chart,
    horizontal,
    polyline,
    round_numbers,
    upper_end,
    vertical,
)

PARTS: tuple[tuple[Part, str], ...] = (("labels", "Labelled"), ("unlabelled", "Unlabelled"))


@dataclass(frozen=True)
class LeftOutPart:
    """What was left out of the labelled or of the unlabelled tasks."""

    counts: str
    first: Sequence[str]  # the first reasons
    more: int  # number of further reasons
    round: int


def counted(rounds: Sequence[Round], state: ProjectState) -> str:
    """How many tasks the last round read, and how the last training used the labelled tasks."""
    last = next((r for r in rounds if "synced" in r.steps), None)
    if last is None:
        return "not read yet"
    found, labels = last.steps["synced"], latest_summary(state.left_out, "labels")
    used = ""
    if labels is not None:
        when = "" if labels.round == last.number else f"in round {labels.round} "
        used = f" ({when}{labels.split()})"
    counts = [f"{found.get('labelled', 0)} labelled{used}", f"{found.get('pool', 0)} unlabelled"]
    counts += _not_scored(rounds, state) + _blank(rounds, state)
    if found.get("skipped"):
        counts.append(f"{found['skipped']} skipped")
    if found.get("superseded"):
        counts.append(f"annotations not used, their task has a newer one: {found['superseded']}")
    return f"when round {last.number} began: {', '.join(counts)}"


def _maker(rounds: Sequence[Round], state: ProjectState) -> Round | None:
    """The round that published the served order; None if it is not in `rounds`."""
    return next(
        (r for r in rounds if r.steps.get("published", {}).get("version") == state.serving), None
    )


def _not_scored(rounds: Sequence[Round], state: ProjectState) -> list[str]:
    """How many images of the served order the time limit left unscored; [] if none."""
    made = _maker(rounds, state)
    rest = made.steps.get("scored", {}).get("rest", 0) if made else 0
    return [f"{rest} of them not scored yet"] if rest else []


def _blank(rounds: Sequence[Round], state: ProjectState) -> list[str]:
    """How many tasks of the served order are blank (BLANK_SHARE); [] if none."""
    made = _maker(rounds, state)
    blank = made.steps.get("selected", {}).get("blank", 0) if made else 0
    return [f"{blank} of them without pre-annotations (BLANK_SHARE)"] if blank else []


def left_out(state: ProjectState) -> list[LeftOutPart]:
    """Counts and first reasons of the labelled and the unlabelled tasks that were left out."""
    found = [(name, latest_summary(state.left_out, part)) for part, name in PARTS]
    return [
        LeftOutPart(
            f"{summary.headline(f'{name} tasks')} ({summary.counted()})",
            summary.first,
            sum(summary.kinds.values()) - len(summary.first),
            summary.round,
        )
        for name, summary in found
        if summary
    ]


def beyond_queries(trainings: Sequence[Round]) -> str:
    """A sentence if training images have more objects than the model can find; else ''."""
    last = next((each for each in trainings if "trained" in each.steps), None)
    found = last.steps["trained"].get("beyond_queries") if last else None
    if not (last and found):
        return ""
    return (
        f"Images with more objects than the model has queries: {found['images']} of those that"
        f" round {last.number} trained on (the densest has {found['densest']} objects, the model"
        f" finds at most {found['queries']} in an image)"
    )


def coverage(rounds: Sequence[Round], state: ProjectState) -> Chart | None:
    """The share of instances similar to the served order's picks; None if not recorded."""
    made = _maker(rounds, state)
    chosen = made.steps.get("selected", {}) if made else {}
    curve = [(int(picks), float(share)) for picks, share in chosen.get("coverage_curve") or ()]
    if not curve:
        return None
    found = chosen.get("diagnostics") or {}
    reach = float(found.get("coverable") or 0.0)
    picks, share = curve[-1]
    x, y = horizontal(0, picks), vertical(0.0, upper_end(max(reach, share)))
    words = (
        f"The first {picks} picks of the cover resemble {share:.0%} of all detected instances"
        f" (cosine of at least {found.get('sigma', 0):g});"
        f" all candidates together reach {reach:.0%}"
    ).replace("%", " %")
    return Chart(
        "What the order covers",
        words,
        "picked instances",
        "share of the pool",
        x.ticks(round_numbers(0, picks)),
        y.ticks(round_numbers(0.0, y.high)),
        polyline([(x(0), y(0)), *((x(n), y(s)) for n, s in curve)]),
        limit=y(reach) if reach else None,
        limit_words="what the candidates reach",
    )
