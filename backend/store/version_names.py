"""Finds the version that a person names on the command line or on the status page."""

from __future__ import annotations

from collections.abc import Collection

from backend.errors import RoundError
from backend.similar_names import is_meant, nearest

ALMOST = 0.6
"""Similarity (difflib) from which another version is offered."""


def resolve(given: str, names: Collection[str], wanted: str = "a version") -> str:
    """The version that `given` names: in full, or by the beginning of this version alone.

    Args:
        given: the name, or its beginning, such as taudis-0003.
        names: the possible versions.
        wanted: what `names` are, for the message.

    Raises:
        RoundError: no version or several versions begin so. The message names the candidates.
    """
    if given in names:
        return given
    found = sorted(name for name in names if given and name.startswith(given))
    if len(found) == 1:
        return found[0]
    if found:
        raise RoundError(f"Expected {wanted}, got {given!r}, with which {_listed(found)} begin.")
    near = nearest(given, names, ALMOST)
    asked = f" ({is_meant(near)})" if near else ""
    raise RoundError(
        f"Expected {wanted}, got {given!r}{asked}; there are"
        f" {_listed(sorted(names, reverse=True)) or 'none yet'} (`python -m backend versions` lists"
        " all versions)."
    )


def _listed(names: Collection[str]) -> str:
    return ", ".join(names)
