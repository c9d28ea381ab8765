"""Durations, times, names of steps and states, in words."""

from __future__ import annotations

from datetime import UTC, datetime

from backend.store.rounds import Round

STEP_WORDS = {
    "synced": "reading labels",
    "embedded": "looking at the images for a first order",
    "trained": "training",
    "evaluated": "evaluating the new model",
    "scored": "looking at the unlabelled images",
    "selected": "choosing the order",
    "published": "publishing the order",
    "flipped": "switching annotators to the new order",
    "pruned": "tidying up",
    "compared": "comparing the queue's arms (the new order is served already)",
}
KIND_WORDS = {"first": "first order", "train": "training", "refresh": "new order, no training"}


def moment(seconds: float) -> str:
    """A time in UTC; `seconds` since 1970."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def minute(seconds: float) -> str:
    """A time in UTC to the minute, for tables."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def machine_moment(seconds: float) -> str:
    """A time in UTC for the HTML attribute `datetime`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def duration(seconds: float) -> str:
    """A duration in words."""
    whole = max(0, round(seconds))
    if whole < 90:
        return f"{whole} s"
    return f"{round(whole / 60)} min" if whole < 5400 else f"{whole / 3600:.1f} h"


def outcome(round_: Round) -> str:
    """A round's outcome; `open` while it runs."""
    return round_.outcome or "open"
