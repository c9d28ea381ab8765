"""Reads the rows that `simulate` writes: one JSON object per line, format 1.

Only the fields for a comparison are kept; other keys are ignored. Each row is checked separately.
`paired_curves` checks that rows fit each other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from taudis.errors import DataError
from taudis.simulation.row_format import FORMAT, KINDS, Corrections

MOST = 10**12
"""Largest count in a row; sums of larger counts would not be exact as floats."""


@dataclass(frozen=True)
class ResultRow:
    """One trained and evaluated model."""

    where: str  # file and line
    grid: str  # hash of the settings that all rows of a grid share
    data: str
    kind: str  # one of KINDS
    seed: int
    strategy: str | None  # None unless kind is "round"
    round: int | None  # 1.. for kind "round", else None
    labelled_images: int
    labelled_objects: int
    map50: float  # 0..1
    chosen_images: int  # images added in this round; 0 unless kind is "round"
    chosen_objects: int
    corrections: Corrections | None  # of the chosen images; None if not computed


@dataclass(frozen=True)
class ResultFiles:
    """The rows of all files, in the order of the files."""

    rows: tuple[ResultRow, ...]
    half_written: int
    """Incomplete last lines: a run was stopped, or is still writing."""


def read_results(paths: Iterable[Path]) -> ResultFiles:
    """Read the rows of one or more files.

    An incomplete last line of a file is left out and counted. Raises DataError for a line that is
    not a row of format 1, and OSError.
    """
    rows: list[ResultRow] = []
    half_written = 0
    for path in paths:
        *lines, last = path.read_bytes().split(b"\n")
        numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
        rows += [_row(line, f"{path}, line {number}") for number, line in numbered]
        if last.strip():
            if _is_whole(last):
                rows.append(_row(last, f"{path}, line {len(lines) + 1}"))
            else:
                half_written += 1
    return ResultFiles(tuple(rows), half_written)


def _is_whole(line: bytes) -> bool:
    """Whether a line without a line end is complete: the part of a JSON object is not valid."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _row(line: bytes, where: str) -> ResultRow:
    """The row of one line. Raises DataError."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{where}: expected a JSON object, got {error}. If a stopped run left a part of a line"
            " there, delete that line; its row was never finished."
        ) from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        got = repr(found.get("format")) if isinstance(found, dict) else type(found).__name__
        raise DataError(
            f'{where}: expected a row of `simulate` with "format": {FORMAT}, got {got}. Compare it'
            " with the version of taudis that wrote it, or run the grid again."
        )
    return _Fields(found, where).row()


@dataclass(frozen=True)
class _Fields:
    """The JSON object of a line, read field by field. Every method raises DataError."""

    found: dict[str, Any]
    where: str

    def row(self) -> ResultRow:
        """The row that the object describes."""
        kind = self.text("kind")
        if kind not in KINDS:
            raise self.wrong("kind", f"one of {', '.join(KINDS)}", kind)
        in_round = kind == "round"
        return ResultRow(
            where=self.where,
            grid=self.text("grid"),
            data=self.text("data"),
            kind=kind,
            seed=self.count("seed"),
            strategy=self.text("strategy") if in_round else None,
            round=self.count("round", least=1) if in_round else None,
            labelled_images=self.count("labelled_images", least=1),
            labelled_objects=self.count("labelled_objects"),
            map50=self.share("map50"),
            chosen_images=self.length("chosen") if in_round else 0,
            chosen_objects=self.count("chosen_objects") if in_round else 0,
            corrections=self.corrections() if in_round else None,
        )

    def wrong(self, name: str, expected: str, got: object) -> DataError:
        """The error of a field."""
        return DataError(
            f"{self.where}: expected {name} to be {expected}, got {got!r:.80}. Was the file edited?"
            " Delete the line and let `simulate` run that row again."
        )

    def text(self, name: str) -> str:
        """A non-empty string."""
        value = self.found.get(name)
        if not isinstance(value, str) or not value:
            raise self.wrong(name, "a text", value)
        return value

    def count(self, name: str, *, least: int = 0) -> int:
        """A whole number, at least `least`."""
        value = self.found.get(name)
        if type(value) is not int or not least <= value <= MOST:
            raise self.wrong(name, f"a whole number from {least} on", value)
        return value

    def share(self, name: str) -> float:
        """A number in 0..1."""
        value = self.found.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
            return float(value)  # not NaN, which fails the comparison
        raise self.wrong(name, "a number from 0 to 1", value)

    def length(self, name: str) -> int:
        """The length of a list."""
        value = self.found.get(name)
        if not isinstance(value, list):
            raise self.wrong(name, "a list", value)
        return len(value)

    def corrections(self) -> Corrections | None:
        """The corrections; None if they were not computed."""
        value = self.found.get("corrections")
        if value is None:
            return None
        names = [each.name for each in fields(Corrections)]
        if not isinstance(value, dict):
            raise self.wrong("corrections", f"null or an object of {', '.join(names)}", value)
        inner = _Fields(value, f"{self.where}, corrections")
        return Corrections(**{name: inner.count(name) for name in names})
