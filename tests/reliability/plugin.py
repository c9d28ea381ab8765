"""The pytest plugin of the fault tests: marker, fixtures, records, and figures at the end.

In a run with `RELIABILITY_COLLECT=FILE` and `--collect-only`, the tests of each row are written to
that file, each with the kind of Label Studio that it runs against.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.reliability import records
from tests.reliability.faults import ROWS
from tests.reliability.records import Figure, Outcome, Record
from tests.reliability.results import together
from tests.reliability.studios import StudioKind, kind_of

FIGURES = pytest.StashKey[dict[str, Figure]]()
REPORTS = pytest.StashKey[list[pytest.TestReport]]()
MARKER = (
    "fault(row, *parts, studio=kind): shows a row of tests/reliability/faults.py, or these parts of"
    " it; studio: real, fake or none, if the test's imports do not tell"
)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", MARKER)


def rows_of(item: pytest.Item) -> dict[str, list[str]]:
    """Row -> its parts that a test shows. Raises UsageError for a name that is not in `ROWS`."""
    found: dict[str, list[str]] = {}
    for mark in item.iter_markers("fault"):
        row, *parts = mark.args
        if row not in ROWS:
            raise pytest.UsageError(f"{item.nodeid}: expected a row of F1 to F23, got {row!r}.")
        wrong = set(parts) - set(ROWS[row].parts)
        if wrong:
            raise pytest.UsageError(
                f"{item.nodeid}: expected parts of {row}, {sorted(ROWS[row].parts)}, got"
                f" {sorted(wrong)}."
            )
        found[row] = sorted({*found.get(row, []), *(parts or ROWS[row].parts)})
    return found


def studio_of(item: pytest.Item) -> StudioKind:
    """The kind of Label Studio that a test runs against."""
    for mark in item.iter_markers("fault"):
        named: StudioKind | None = mark.kwargs.get("studio")
        if named:
            return named
    markers = {mark.name for mark in item.iter_markers()}
    return kind_of(markers, getattr(item, "fixturenames", ()), item.path)


def test_of(item: pytest.Item) -> str:
    """The id that pytest takes in the root of the repository, also for a test of elsewhere."""
    return "::".join([os.path.relpath(item.path, records.ROOT), *item.nodeid.split("::")[1:]])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Check every marker; write the tests of each row to the file that was asked for."""
    tests: dict[str, dict[str, StudioKind]] = {row: {} for row in ROWS}
    for item in items:
        for row in rows_of(item):
            tests[row][test_of(item)] = studio_of(item)
    wanted = os.environ.get("RELIABILITY_COLLECT")
    if wanted:
        Path(wanted).write_text(json.dumps(tests), encoding="utf-8")


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Callable[..., None]:
    """A function that records figures of the test's row: `figures(kills=200, lost=0)`.

    Names that end in _ms, _s, _mb or _ratio are units: of several tests of a row, the largest
    counts. Others are counts, and are added.
    """
    kept = request.node.stash.setdefault(FIGURES, {})

    def keep(**found: Figure) -> None:
        kept.update(found)

    return keep


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether this is the full form of `make torture`, not the short one of `make test`."""
    return records.form() == "full"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[pytest.TestReport]:
    """Write the records of a fault test when it has ended."""
    report = yield
    if item.get_closest_marker("fault"):
        reports = item.stash.setdefault(REPORTS, [])
        reports.append(report)
        if report.when == "teardown":
            for row, parts in rows_of(item).items():
                record = _record(item, row, parts, reports)
                records.write(record)
                report.user_properties.append(("fault", asdict(record)))
            del item.stash[REPORTS]
    return report


def _record(
    item: pytest.Item, row: str, parts: list[str], reports: list[pytest.TestReport]
) -> Record:
    outcome, reason = _outcome(reports)
    return Record(
        row, test_of(item), parts, outcome, records.form(), records.commit(),
        round(sum(report.duration for report in reports), 2), time.time(), reason,
        dict(item.stash.get(FIGURES, {})),
    )  # fmt: skip


def _outcome(reports: list[pytest.TestReport]) -> tuple[Outcome, str]:
    """The outcome of all phases, and the first line of the reason if the test did not pass."""
    for report in reports:
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            reason = crash.message if crash else str(report.longrepr)
            return "failed", reason.strip().splitlines()[0][:300]
    for report in reports:
        if report.skipped:
            reason = (
                report.longrepr[2] if isinstance(report.longrepr, tuple) else "expected to fail"
            )
            return "skipped", str(reason)[:300]
    return "passed", ""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures of every row, of the tests of all workers of pytest-xdist."""
    found = {
        (record["row"], record["test"]): Record(**record)
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, record in getattr(report, "user_properties", [])
        if name == "fault"
    }
    if not found:
        return
    terminalreporter.section(f"figures of the fault tests, {records.form()} form")
    for row in ROWS:
        kept = [record for key, record in found.items() if key[0] == row]
        figures = ", ".join(f"{name}={value}" for name, value in together(kept).items())
        passed = sum(record.outcome == "passed" for record in kept)
        if kept:
            terminalreporter.write_line(f"{row} {passed} of {len(kept)} passed: {figures}")
