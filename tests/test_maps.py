"""The maps of the code are true: every path in a document exists, every folder is on its map."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import backend
import taudis

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path
    for path in (
        ROOT / "README.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "findings").glob("*.md"),
    )
)
WRITTEN_BY_A_PERSON = {"docker/.env"}
PATH = re.compile(r"`((?:taudis|backend|tests|benchmarks|demo|docs|docker|findings)/[\w./-]*)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    named = set(PATH.findall(page.read_text(encoding="utf-8")))
    assert not {name for name in named - WRITTEN_BY_A_PERSON if not (ROOT / name).exists()}


@pytest.mark.parametrize("package", [taudis, backend], ids=lambda package: package.__name__)
def test_every_folder_is_on_the_map_of_its_package(package) -> None:
    folder = Path(package.__file__).parent
    folders = {path.parent.name for path in folder.glob("*/__init__.py")}
    assert folders == set(re.findall(r"^    (\w+)/ ", package.__doc__, re.M))
    single = {path.stem for path in folder.glob("[!_]*.py")}
    assert single == single & set(re.findall(r"\w+", package.__doc__))


@pytest.mark.parametrize("package", ["taudis", "backend"])
def test_every_folder_says_in_its_docstring_what_it_holds(package: str) -> None:
    for path in (ROOT / package).rglob("__init__.py"):
        assert path.read_text(encoding="utf-8").startswith('"""'), path
