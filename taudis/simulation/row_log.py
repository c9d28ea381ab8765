"""The rows of a run: a file of JSON lines, to which all processes append under a lock.

All processes share one file. Under the lock a process sees all existing rows, so no row is written
twice, whatever happens to the claims. A line is written by a single call and flushed to the disk. A
process that is killed in this call leaves an incomplete last line. The next writer removes it, or
adds the line end if only this is missing.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from taudis.errors import DataError
from taudis.files import append_bytes
from taudis.simulation.claims import Lock
from taudis.simulation.jobs import Job

Row = dict[str, Any]


class RowLog:
    """The rows in a file, one for each job."""

    def __init__(self, path: Path, lock: Lock) -> None:
        self.path, self.lock = path, lock

    def read(self) -> dict[Job, Row]:
        """The complete rows. A last line without a line end is left out: it is being written.

        Raises DataError with the number of a line that is not a row, and OSError.
        """
        rows: dict[Job, Row] = {}
        for number, line in enumerate(self._lines(), start=1):
            try:
                row = json.loads(line)
                rows[Job.of_row(row)] = row
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"{self.path}, line {number}: expected a row: {error}. Delete the line: its"
                    " row is made again."
                ) from error
        return rows

    def append(self, row: Row) -> bool:
        """Write a row. Returns False and writes nothing if its job has a row. Raises OSError."""
        with self.lock.held():
            self._repair()
            if Job.of_row(row) in self.read():
                return False
            line = json.dumps(row, allow_nan=False).encode() + b"\n"
            append_bytes(self.path, line)
        return True

    def _lines(self) -> list[bytes]:
        """The lines with a line end."""
        if not self.path.exists():
            return []
        return self.path.read_bytes().split(b"\n")[:-1]

    def _repair(self) -> None:
        """Remove an incomplete last line, or add its line end if only this is missing.

        Needs the lock held.
        """
        data = self.path.read_bytes() if self.path.exists() else b""
        last = data.rpartition(b"\n")[2]
        if not last:
            return
        try:
            Job.of_row(json.loads(last))
        except (ValueError, KeyError, TypeError):
            os.truncate(self.path, len(data) - len(last))
            return
        with self.path.open("ab") as file:
            file.write(b"\n")
