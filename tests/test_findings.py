"""The form of the scripts in findings/ (its README says it); none is run here."""

import os
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "findings"
SCRIPTS = sorted(FOLDER.glob("*.sh"))
ROWS = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", (FOLDER / "README.md").read_text(), re.M))
HEADER = ["# Expected: ", "# Happens: ", "# Version and source: ", "# The product: "]

scripts = pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)


def install_words(text: str) -> list[str]:
    """What pip is asked to install: the words of the one install command without its options."""
    (command,) = re.findall(r"pip install ((?:.*\\\n)*.*)$", text, re.M)
    words = command.replace("\\\n", " ").split()
    assert "--quiet" in words
    return [word for word in words if not word.startswith("--")]


def test_the_readme_lists_every_script_and_no_other() -> None:
    assert SCRIPTS
    assert list(ROWS) == [path.stem for path in SCRIPTS]
    assert {path.name for path in FOLDER.iterdir()} == {"README.md", *(p.name for p in SCRIPTS)}


@scripts
def test_a_row_has_version_sentence_and_date(path: Path) -> None:
    package, sentence, date = ROWS[path.stem].split(" | ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", date)
    assert sentence.endswith(".")
    installed = {pin.replace("==", " ") for pin in install_words(path.read_text())}
    assert {*package.split(", ")} <= installed


@scripts
def test_a_script_is_executable_bash_that_stops_at_errors_and_is_short(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert os.access(path, os.X_OK)
    assert lines[0] == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in lines
    assert len(lines) < 80


@scripts
def test_a_script_begins_with_what_is_expected_and_what_happens(path: Path) -> None:
    comment = path.read_text().split("set -euo pipefail")[0].splitlines()[1:]
    assert all(line.startswith("# ") for line in comment)
    parts = [line for line in comment if not line.startswith("#   ")]
    assert len(parts) == len(HEADER)
    assert all(part.startswith(start) for part, start in zip(parts, HEADER, strict=True))


@scripts
def test_a_script_works_in_a_temporary_folder_that_it_removes(path: Path) -> None:
    text = path.read_text()
    assert 'folder=$(mktemp -d)\ntrap \'rm -rf "$folder"\' EXIT\ncd "$folder"\n' in text


@scripts
def test_a_script_pins_its_packages_and_says_their_versions(path: Path) -> None:
    text = path.read_text()
    pins = install_words(text)
    assert pins
    assert all(re.fullmatch(r"[\w-]+==\d+(\.\d+)+", pin) for pin in pins)
    assert 'version("' in text


@scripts
def test_a_script_fails_with_a_sentence_where_the_behaviour_changed(path: Path) -> None:
    assert re.search(r'sys\.exit\(f?"Changed: expected ', path.read_text())


@scripts
def test_a_script_names_no_machine_no_registry_and_nothing_of_ours(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"https?:|index-url|extra-index|find-links|pypi|trusted-host", text)
    assert not re.search(r"/(work|home|root|opt|tmp|usr(?!/bin/env bash))\b", text)
    assert not re.search(r"^\s*(import|from)\s+(taudis|backend|demo|benchmarks)\b", text, re.M)
