"""One hyper-parameter in words and numbers: what it means, which values it takes, their check.

A field of a dataclass is annotated with `Meaning`; `parameters_of` lists such fields. The command
line, the tables of the documentation and the checks of values are derived from that list, so that a
hyper-parameter is described once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from numbers import Integral, Real
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from taudis.errors import SelectionError

Kind = type[str] | type[bool] | type[int] | type[float]


@dataclass(frozen=True)
class Meaning:
    """What the annotation of a field does not say: its meaning and its range."""

    text: str  # one sentence or two
    above: float | None = None  # values are larger
    least: float | None = None  # values are as large or larger
    below: float | None = None  # values are smaller
    option: str = ""  # of the command line, without dashes; empty: the field's name
    unit: int = 1  # what 1 of the option stands for


@dataclass(frozen=True)
class Parameter:
    """A hyper-parameter as people see it."""

    name: str
    kind: Kind
    default: object
    choices: tuple[str, ...]  # of a text; else empty
    optional: bool  # whether None is a value
    meaning: Meaning

    @property
    def option(self) -> str:
        """The option of the command line, without dashes."""
        return self.meaning.option or self.name.replace("_", "-")

    @property
    def expected(self) -> str:
        """The values that it takes, in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.kind is bool:
            return "true or false"
        number = "a whole number" if self.kind is int else "a number"
        above, least, below = self.meaning.above, self.meaning.least, self.meaning.below
        if above is not None and below is not None:
            values = f"{number} with {above:g} < {self.name} < {below:g}"
        elif least is not None and below is not None:
            values = f"{number} with {least:g} <= {self.name} < {below:g}"
        elif above is not None:
            values = f"{number} above {above:g}"
        else:
            values = f"{number} of {least:,} or more"
        return f"{values} or None" if self.optional else values

    def check(self, value: object) -> None:
        """Raise SelectionError for a value of another type or out of range."""
        if not (self.optional and value is None) and not self._takes(value):
            raise SelectionError(f"{self.name}: expected {self.expected}, got {value!r}.")

    def _takes(self, value: object) -> bool:
        if self.choices:
            return value in self.choices
        if self.kind is bool or isinstance(value, bool | np.bool_):
            return self.kind is bool and isinstance(value, bool | np.bool_)
        if not isinstance(value, Integral if self.kind is int else Real):
            return False
        number: Any = value  # for mypy, numbers.Real has no comparisons
        above, least, below = self.meaning.above, self.meaning.least, self.meaning.below
        return bool(
            _is_finite(number)
            and (above is None or number > above)
            and (least is None or number >= least)
            and (below is None or number < below)
        )


def _is_finite(number: Any) -> bool:
    """Whether a number is neither infinite nor NaN nor a whole number too large for a float."""
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def parameters_of(dataclass_: type[Any]) -> tuple[Parameter, ...]:
    """The fields that are annotated with a `Meaning`, in their order."""
    hints = get_type_hints(dataclass_, include_extras=True)
    found = []
    for each in fields(dataclass_):
        hint, *extras = get_args(hints[each.name])
        kind, choices, optional = _taken_apart(hint)
        (meaning,) = extras
        found.append(Parameter(each.name, kind, each.default, choices, optional, meaning))
    return tuple(found)


def _taken_apart(hint: Any) -> tuple[Kind, tuple[str, ...], bool]:
    """The type of an annotation, its choices if it is a Literal, and whether it allows None."""
    if get_origin(hint) is Literal:
        return str, get_args(hint), False
    if isinstance(hint, UnionType):
        (kind,) = (each for each in get_args(hint) if each is not type(None))
        return kind, (), True
    return hint, (), False
