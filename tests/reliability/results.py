"""The state of every row by the records of a run, as JSON and as docs/reliability.md."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from tests.reliability.faults import ROWS, Row
from tests.reliability.records import Figure, Form, Record
from tests.reliability.studios import StudioKind, words

UNITS = ("_ms", "_s", "_mb", "_ratio")
STUDIOS = (
    "The column Label Studio says, by the code of a row's tests, whether they ran against a real"
    " server, against the fake one of the tests (`tests/fake_label_studio`), or without one."
)
HEAD = "| row | what happens | what must hold | Label Studio | figures | |"


@dataclass(frozen=True)
class Result:
    """One row's state: its figures, and why it is not well ("" if it is).

    studio: the Label Studio of its tests that passed, in words; "" if none did.
    """

    row: str
    figures: dict[str, Figure]
    why: str
    studio: str = ""

    def as_json(self) -> dict[str, Figure]:
        """The row's object in the last line of a run."""
        studio: dict[str, Figure] = {"label_studio": self.studio} if self.studio else {}
        why: dict[str, Figure] = {"why": self.why} if self.why else {}
        return {"ok": not self.why, **studio, **self.figures, **why}


def results(
    tests: Mapping[str, Mapping[str, StudioKind]], found: Iterable[Record], form: Form
) -> list[Result]:
    """Every row's result.

    Args:
        tests: row -> its tests -> the kind of their Label Studio.
        found: the records of one commit; those of other tests do not count.
        form: the form of the records.
    """
    of_test = {(record.row, record.test): record for record in found}
    made = []
    for name, row in ROWS.items():
        kept = [of_test[name, test] for test in tests[name] if (name, test) in of_test]
        figures = together(kept)
        passed = [tests[name][each.test] for each in kept if each.outcome == "passed"]
        why = _why(row, tests[name], kept, figures, form)
        made.append(Result(name, figures, why, words(passed) if passed else ""))
    return made


def together(kept: list[Record]) -> dict[str, Figure]:
    """The figures of a row's tests as those of the row; see the fixture `figures`."""
    found: dict[str, Figure] = {}
    for record in kept:
        for name, value in record.figures.items():
            before = found.get(name)
            if before is None or isinstance(value, str | bool) or isinstance(before, str):
                found[name] = value
            elif name.endswith(UNITS):
                found[name] = max(before, value)
            else:
                found[name] = before + value
    return found


def _why(
    row: Row, tests: Collection[str], kept: list[Record], figures: dict[str, Figure], form: Form
) -> str:
    """Why a row is not well, in sentences; "" if it is."""
    if not tests:
        return "No test."
    reasons = [
        f"{record.test.rsplit('/', 1)[-1]} {record.outcome}: {record.reason.rstrip('.')}."
        for record in kept
        if record.outcome != "passed"
    ]
    missing = len(tests) - len(kept)
    if missing:
        reasons.append(f"{missing} of {len(tests)} tests have no record of this commit.")
    seen = {part for record in kept if record.outcome == "passed" for part in record.parts}
    reasons += [f"No test shows: {text}." for part, text in row.parts.items() if part not in seen]
    reasons += _beyond(row, figures, form)
    return " ".join(reasons)


def _beyond(row: Row, figures: dict[str, Figure], form: Form) -> list[str]:
    """A sentence for each figure beyond its bound."""
    numbers = {name: value for name, value in figures.items() if not isinstance(value, str)}
    found = [
        f"Expected {name} of at most {bound:g}, got {numbers[name]:g}."
        for name, bound in row.at_most.items()
        if name in numbers and not numbers[name] <= bound
    ]
    if form == "full":
        found += [f"No test gives {name}." for name in row.at_most if name not in numbers]
        found += [
            f"Expected {name} of at least {bound:g}, got {numbers.get(name, 0):g}."
            for name, bound in row.at_least.items()
            if not numbers.get(name, 0) >= bound
        ]
    return found


def page(made: list[Result], form: Form, commit: str) -> str:
    """docs/reliability.md."""
    well = sum(not result.why for result in made)
    changes = " with changes" if commit.endswith("+changes") else ""
    command = "make torture" if form == "full" else "python -m tests.reliability run --short"
    lines = [
        "# Reliability",
        "",
        "What the product must survive, a row each, and what the tests of the row measured.",
        f"`{command}` wrote this page from the records of its run; nobody edits it.",
        f"It ran the {form} form of each test at commit {commit[:12]}{changes}.",
        f"{well} of {len(made)} rows are ok.",
        STUDIOS,
        "",
        HEAD,
        "|---|---|---|---|---|---|",
    ]
    for result in made:
        row = ROWS[result.row]
        found = ", ".join(f"{name} {_text(value)}" for name, value in result.figures.items())
        state = "FAILING" if result.why else "ok"
        cells = (result.row, row.happens, row.holds, result.studio, found, state)
        lines.append(f"| {' | '.join(cells)} |")
    failing = [f"- **{result.row}**: {_cell(result.why)}" for result in made if result.why]
    if failing:
        lines += ["", "## Why rows are FAILING", "", *failing]
    return "\n".join(lines) + "\n"


def with_studios(text: str, tests: Mapping[str, Mapping[str, StudioKind]]) -> str:
    """A page with its column Label Studio written anew, by the tests' code; figures stay.

    For a page whose records are gone, also for one from before it had the column.
    """
    lines = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| row |"):
            lines.append(HEAD)
        elif line.startswith("|---"):
            lines.append("|---|---|---|---|---|---|")
        elif cells[0] in tests:
            row, happens, holds, *_, figures, state = cells
            found = (row, happens, holds, words(tests[row].values()), figures, state)
            lines.append(f"| {' | '.join(found)} |")
        elif line != STUDIOS:
            lines.append(line)
            if line.endswith(" rows are ok."):
                lines.append(STUDIOS)
    return "\n".join(lines) + "\n"


def _text(value: Figure) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cell(text: str) -> str:
    """A reason as one line of Markdown without the machine's paths."""
    from tests.reliability.records import ROOT

    return " ".join(text.replace(str(ROOT), ".").replace("|", "/").replace("`", "'").split())
