"""The rounds of a project: a timeline of bars, and a table in pages."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from backend.store.rounds import Round
from backend.web.status.words import KIND_WORDS, duration, machine_moment, minute, moment, outcome

ROUNDS = 8  # rows of the table's first page
MORE = 40  # rows of each further page
BARS = 200  # bars of the timeline
WIDTH, HEIGHT, GAP = 800, 72, 1
OUTCOMES = ("served", "kept", "stopped", "failed", "open")


@dataclass(frozen=True)
class Bar:
    """A round of the timeline: its position in the view box, its outcome and its text."""

    x: float
    y: float
    width: float
    height: float
    outcome: str
    words: str


@dataclass(frozen=True)
class Timeline:
    """The newest rounds from left to right. The height of a bar shows the round's duration."""

    bars: Sequence[Bar]
    words: str
    first: str
    last: str
    width: int = WIDTH
    height: int = HEIGHT


def timeline(rounds: Sequence[Round], now: float) -> Timeline | None:
    """The timeline of `rounds`, which come newest first; None until one has ended.

    Heights are logarithmic in the seconds, so that a first order of 5 s and a training of half an
    hour are both visible. A round's duration excludes the comparison of the arms.
    """
    if all(round_.ended is None for round_ in rounds):
        return None
    some = list(reversed(rounds[:BARS]))
    took = [r.seconds if r.ended else max(0.0, now - r.started) for r in some]
    longest = max(math.log1p(seconds) for seconds in took) or 1.0
    pitch = min(WIDTH / len(some), 40.0)
    bars = []
    for row, (round_, seconds) in enumerate(zip(some, took, strict=True)):
        height = round(6 + (HEIGHT - 6) * math.log1p(seconds) / longest, 1)
        words = (
            f"Round {round_.number}, {KIND_WORDS[round_.kind]}: {outcome(round_)},"
            f" {duration(seconds)}, {moment(round_.started)}"
        )
        bars.append(
            Bar(
                round(row * pitch, 1),
                round(HEIGHT - height, 1),
                round(max(1.0, pitch - GAP), 1),
                height,
                outcome(round_),
                words,
            )
        )
    return Timeline(bars, _words(some, took), str(some[0].number), str(some[-1].number))


def _words(some: Sequence[Round], took: Sequence[float]) -> str:
    counted = Counter(outcome(round_) for round_ in some)
    counts = ", ".join(f"{counted[name]} {name}" for name in OUTCOMES if counted[name])
    noun = "round" if len(some) == 1 else "rounds"
    half = duration(median(took))
    return f"{len(some)} {noun}: {counts}. Half of them took up to {half}"


@dataclass(frozen=True)
class Entry:
    """An ended round."""

    number: int
    started: str
    machine_started: str
    took: str
    kind: str
    reason: str
    outcome: str
    message: str


@dataclass(frozen=True)
class Listing:
    """A part of the table of rounds."""

    entries: Sequence[Entry]
    before: int | None  # the round number from which the next page continues; None at the end
    whole: bool  # whether this is a further page


def listing(rounds: Sequence[Round], before: int | None) -> Listing:
    """The ended rounds before a number, newest first; the newest ones for None."""
    over = [r for r in rounds if r.ended is not None and (before is None or r.number < before)]
    some = over[: ROUNDS if before is None else MORE]
    more = len(over) > len(some)
    return Listing(
        [_entry(round_) for round_ in some], some[-1].number if more else None, before is not None
    )


def _entry(round_: Round) -> Entry:
    took = (round_.ended or round_.started) - round_.started
    return Entry(
        round_.number,
        minute(round_.started),
        machine_moment(round_.started),
        duration(took),
        KIND_WORDS[round_.kind],
        round_.reason,
        outcome(round_),
        round_.message,
    )
