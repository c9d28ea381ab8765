"""Refuses settings that are no longer environment variables, with the remedy."""

from __future__ import annotations

import json
from collections.abc import Mapping

from backend.errors import SettingsError
from taudis.selection.parameter import Parameter
from taudis.selection.params import PARAMETERS

MOVED = {
    "UNCERTAINTY": "uncertainty",
    "ALPHA": "alpha",
    "BETA": "beta",
    "ALPHA_IMG": "alpha_img",
    "SIGMA": "sigma",
    "SIGMA_RULE": "sigma_rule",
    "REMAINDER": "remainder",
    "CENTRE": "centre",
    "STANDARDISE": "standardise",
    "SKETCH": "sketch",
    "EDGE_MB": "edge_bytes",
}
"""Former variable of a selection hyper-parameter -> its key in the file of SELECTION.

The list is fixed, because later hyper-parameters were never variables.
"""


def refuse_moved(environment: Mapping[str, str]) -> None:
    """Raise SettingsError for variables of `MOVED`, with the file that replaces them.

    An empty variable counts as unset. As for other settings, the case of names does not matter.
    """
    given = {name.upper(): text for name, text in environment.items() if text}
    found = {each.name: each for each in PARAMETERS}
    moved = {key: _in_json(found[key], given[name]) for name, key in MOVED.items() if name in given}
    if not moved:
        return
    names = ", ".join(name for name in MOVED if name in given)
    raise SettingsError(
        f"Settings that have moved into a file: {names}. Unset them, write"
        f"\n  {json.dumps(moved)}\nto a file, for example selection.json, and set"
        " SELECTION=selection.json."
    )


def _in_json(parameter: Parameter, text: str) -> object:
    """The value of a variable for the JSON file; the text itself if it is invalid."""
    if parameter.kind is bool:
        return text.lower() in ("1", "true", "t", "yes", "y", "on")
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value * parameter.meaning.unit if isinstance(value, int) else value
