"""The names of all settings, their table in docs/settings.md, and the check for misspelt names."""

from __future__ import annotations

import types
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo

from backend.moved_settings import MOVED
from backend.settings import Settings
from backend.similar_names import is_meant, nearest

ALMOST = 0.87
"""Similarity (difflib) from which a name counts as misspelt. BUGET has 0.91, BASIC_AUTH_PASSWORD
0.88."""
OTHERS = ("LABEL_STUDIO_PORT",)
"""Similar names with another meaning: Kubernetes sets this variable for a service's port."""


def setting_names() -> set[str]:
    """All environment variables that are settings, or former settings that are refused now."""
    found = set(MOVED)
    for name, field in Settings.model_fields.items():
        found.update(_variables(name, field))
    return found


def misspelt(names: Collection[str]) -> dict[str, str]:
    """Misspelt variable -> the setting that it resembles."""
    every = setting_names()
    now = sorted(every - set(MOVED))
    found = {}
    for name in sorted(set(names) - set(OTHERS)):
        if name.upper() in every:
            continue
        if near := nearest(name.upper(), now, ALMOST):
            found[name] = near
    return found


def misspelt_in_words(found: Mapping[str, str]) -> str:
    """One sentence about the variables that `misspelt` found."""
    each = (f"{name} ({is_meant(near)})" for name, near in found.items())
    return f"Variables that are no setting and change nothing: {', '.join(each)}."


def settings_table() -> str:
    """Every setting as a Markdown table: name, default, values, meaning (docs/settings.md)."""
    rows = ["| variable | default | values | meaning |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        variables = _variables(name, field)
        default = field.default
        if isinstance(default, SecretStr) or default in (None, "", ()):
            default = ""
        text = str(default).lower() if isinstance(default, bool) else default
        cell = f"`{text}`" if default != "" else ""
        others = " or ".join(f"`{each}`" for each in variables[1:])
        also = f" (or {others})" if others else ""
        rows.append(f"| `{variables[0]}`{also} | {cell} | {_values(field)} | {field.description} |")
    return "\n".join(rows)


def _variables(name: str, field: FieldInfo) -> list[str]:
    """The environment variables of a setting, in the order of precedence."""
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        return [str(choice) for choice in alias.choices]
    return [name.upper()]


def _values(field: FieldInfo) -> str:
    """The values that a setting accepts, in words; '' if its description has them."""
    kind = _without_none(field.annotation)
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind) if value != "")
    if kind is bool:
        return "`true`, `false`"
    if kind is Path:
        return "a path"
    if kind not in (int, float):
        return ""
    limits = [_limit(each) for each in field.metadata]
    return " ".join(["a whole number" if kind is int else "a number", *filter(None, limits)])


def _without_none(annotation: Any) -> Any:
    """The type of a setting without None."""
    if get_origin(annotation) in (Union, types.UnionType):
        return next(each for each in get_args(annotation) if each is not type(None))
    return annotation


def _limit(found: object) -> str:
    """One limit of a number, in words."""
    match found:
        case annotated_types.Ge(ge=least):
            return f"from {least}"
        case annotated_types.Gt(gt=below):
            return f"above {below}"
        case annotated_types.Le(le=most):
            return f"to {most}"
        case annotated_types.Lt(lt=above):
            return f"below {above}"
    return ""
