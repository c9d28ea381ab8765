"""Finds the name that a person probably meant."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches


def nearest(name: str, names: Collection[str], least: float) -> str:
    """The most similar of `names`; '' if none has at least `least` similarity (difflib, 0 to 1)."""
    return next(iter(get_close_matches(name, sorted(names), 1, least)), "")


def is_meant(name: str) -> str:
    """The question whether `name` was meant."""
    return f"is {name} meant?"
