"""One record a fault test and form: what it measured, when, of which commit."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from taudis.files import write_text

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"
Form = Literal["short", "full"]
Outcome = Literal["passed", "failed", "skipped"]
Figure = int | float | str | bool


def folder() -> Path:
    """Where the records are; `RELIABILITY_DIR` names another folder."""
    return Path(os.environ.get("RELIABILITY_DIR") or ROOT / "artefacts" / "reliability")


def form() -> Form:
    """`full` if `TORTURE` is 1, else `short`."""
    return "full" if os.environ.get("TORTURE") == "1" else "short"


@dataclass(frozen=True)
class Record:
    """What one run of one test showed of one row. seconds: with its fixtures."""

    row: str
    test: str
    parts: list[str]
    outcome: Outcome
    form: Form
    commit: str
    seconds: float
    ended: float
    reason: str = ""
    figures: dict[str, Figure] = field(default_factory=dict)


def path_of(record: Record) -> Path:
    """A record's file: one line of JSON, replaced by the test's next run of the same form."""
    test = hashlib.sha256(record.test.encode()).hexdigest()[:16]
    return folder() / f"{record.row}.{record.form}.{test}.jsonl"


def write(record: Record) -> None:
    """Keep a record in place of the one of the test's run before, atomically."""
    folder().mkdir(parents=True, exist_ok=True)
    write_text(path_of(record), json.dumps(asdict(record)) + "\n")


def read(wanted: Form) -> Iterator[Record]:
    """All records of a form, of any commit, by the time when they ended."""
    found = [
        Record(**json.loads(line))
        for path in folder().glob(f"F*.{wanted}.*.jsonl")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    yield from sorted(found, key=lambda record: record.ended)


@cache
def commit() -> str:
    """The commit of the working tree; "+changes" after it if files differ; "unknown" without git.

    The page that a run writes is no change. `RELIABILITY_COMMIT` names the commit at which a run
    began, so that all its records are of one.
    """
    if os.environ.get("RELIABILITY_COMMIT"):
        return os.environ["RELIABILITY_COMMIT"]
    head = _git("rev-parse", "HEAD")
    if not head:
        return "unknown"
    changed = _git("status", "--porcelain", "--", ".", f":!{PAGE.relative_to(ROOT)}")
    return f"{head}+changes" if changed else head


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
