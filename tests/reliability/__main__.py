"""Runs the fault tests row by row, and writes docs/reliability.md.

    python -m tests.reliability run            the full form, as `make torture` does
    python -m tests.reliability run --short    the short form
    python -m tests.reliability run F1 F6      these rows alone
    python -m tests.reliability page [--short] the page from the records that are there
    python -m tests.reliability studios        the page's column Label Studio from the tests' code

A test that passed in this form at this commit is not run again. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from taudis.files import write_text
from tests.reliability import records
from tests.reliability.faults import ROWS
from tests.reliability.results import page, results, with_studios
from tests.reliability.studios import StudioKind

PYTEST = (sys.executable, "-m", "pytest", "--rootdir=.", "-c", "pyproject.toml")
ROW_SECONDS = 45 * 60
"""The longest that one row may take before its process is ended."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 if a row of those asked for is not well."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability")
    parser.add_argument("command", choices=("run", "page", "studios"))
    parser.add_argument("rows", nargs="*", metavar="ROW", help="F1 to F23; all by default")
    parser.add_argument("--short", action="store_true", help="the short form of each test")
    parser.add_argument("--tests", default="tests", help="the folder of the tests")
    given = parser.parse_intermixed_args(arguments)
    wrong = set(given.rows) - set(ROWS)
    if wrong:
        parser.error(f"expected rows of F1 to F23, got {sorted(wrong)}")
    form: records.Form = "short" if given.short else "full"
    tests = collected(given.tests)
    if given.command == "studios":
        write_text(records.PAGE, with_studios(records.PAGE.read_text(encoding="utf-8"), tests))
        return 0
    if given.command == "run":
        for row in given.rows or ROWS:
            run(row, list(tests[row]), form)
    here = [record for record in records.read(form) if record.commit == records.commit()]
    made = results(tests, here, form)
    if not given.rows and given.tests == "tests":
        write_text(records.PAGE, page(made, form, records.commit()))
    chosen = [result for result in made if result.row in (given.rows or ROWS)]
    print(json.dumps({"rows": {result.row: result.as_json() for result in chosen}}))
    return int(any(result.why for result in chosen))


def collected(where: str) -> dict[str, dict[str, StudioKind]]:
    """Row -> its tests -> the kind of Label Studio that they run against."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "tests.json"
        environment = {**os.environ, "RELIABILITY_COLLECT": str(found)}
        done = subprocess.run(
            [*PYTEST, "--collect-only", "-q", where], cwd=records.ROOT,
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode or not found.exists():
            raise SystemExit(f"Expected pytest to collect the tests, got:\n{done.stdout[-4000:]}")
        tests: dict[str, dict[str, StudioKind]] = json.loads(found.read_text(encoding="utf-8"))
        return tests


def run(row: str, tests: list[str], form: records.Form) -> None:
    """Run the tests of a row that did not pass at this commit yet, in a process of their own."""
    passed = {
        record.test
        for record in records.read(form)
        if (record.row, record.outcome) == (row, "passed")
        and record.commit == records.commit()
        and not record.commit.endswith("+changes")  # other changes, maybe
    }
    left = [test for test in tests if test not in passed]
    if not left:
        print(f"{row}: {'passed before' if tests else 'no test'}", flush=True)
        return
    print(f"{row}: {len(left)} tests", flush=True)
    environment = {
        **os.environ,
        "TORTURE": "1" if form == "full" else "0",
        "RELIABILITY_COMMIT": records.commit(),
    }
    began = time.monotonic()
    process = subprocess.Popen(
        [*PYTEST, *left], cwd=records.ROOT, env=environment,
        start_new_session=True,
    )  # fmt: skip
    try:
        process.wait(ROW_SECONDS)
    except BaseException as error:  # also at Ctrl-C: its processes end with it
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        print(f"{row}: ended after {ROW_SECONDS} s", flush=True)
    print(f"{row}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
