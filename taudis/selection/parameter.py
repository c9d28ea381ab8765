"""The description of a hyper-parameter: its meaning, its range, and the check of a value.

A dataclass annotates its fields with `Meaning`, and `parameters_of` lists these fields. The command
line options, the tables in docs/ and the checks of values all come from that list.
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
    """The meaning and the range of a hyper-parameter, which its type does not say."""

    text: str  # one or two sentences
    above: float | None = None  # value > above
    least: float | None = None  # value >= least
    below: float | None = None  # value < below
    option: str = ""  # command line option without dashes; empty: the field's name
    unit: int = 1  # value of the field = value of the option x unit


@dataclass(frozen=True)
class Parameter:
    """A field of a dataclass that is annotated with a `Meaning`."""

    name: str
    kind: Kind
    default: object
    choices: tuple[str, ...]  # allowed texts; empty for numbers and bools
    optional: bool  # whether None is allowed
    meaning: Meaning

    @property
    def option(self) -> str:
        """The command line option, without dashes."""
        return self.meaning.option or self.name.replace("_", "-")

    @property
    def expected(self) -> str:
        """The allowed values, in words."""
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
        """Raise SelectionError for a value of the wrong type or out of range."""
        if not (self.optional and value is None) and not self._takes(value):
            raise SelectionError(f"{self.name}: expected {self.expected}, got {value!r}.")

    def _takes(self, value: object) -> bool:
        if self.choices:
            return value in self.choices
        if self.kind is bool or isinstance(value, bool | np.bool_):
            return self.kind is bool and isinstance(value, bool | np.bool_)
        if not isinstance(value, Integral if self.kind is int else Real):
            return False
        number: Any = value  # mypy: numbers.Real defines no comparison with float
        above, least, below = self.meaning.above, self.meaning.least, self.meaning.below
        return bool(
            _is_finite(number)
            and (above is None or number > above)
            and (least is None or number >= least)
            and (below is None or number < below)
        )


def _is_finite(number: Any) -> bool:
    """Whether a number is finite as a float; false for an int that is too large for a float."""
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def parameters_of(dataclass_: type[Any]) -> tuple[Parameter, ...]:
    """The fields of a dataclass, each annotated with a `Meaning`, in their order."""
    hints = get_type_hints(dataclass_, include_extras=True)
    found = []
    for each in fields(dataclass_):
        hint, *extras = get_args(hints[each.name])
        kind, choices, optional = _parts_of(hint)
        (meaning,) = extras
        found.append(Parameter(each.name, kind, each.default, choices, optional, meaning))
    return tuple(found)


def _parts_of(hint: Any) -> tuple[Kind, tuple[str, ...], bool]:
    """The type of a type hint, the choices of a Literal, and whether None is allowed."""
    if get_origin(hint) is Literal:
        return str, get_args(hint), False
    if isinstance(hint, UnionType):
        (kind,) = (each for each in get_args(hint) if each is not type(None))
        return kind, (), True
    return hint, (), False
