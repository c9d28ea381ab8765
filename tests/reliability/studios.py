"""Which Label Studio a fault test runs against, by the test's own code."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable
from functools import cache
from pathlib import Path
from typing import Literal

from tests.reliability.records import ROOT

StudioKind = Literal["real", "fake", "none"]
FAKE = "tests.fake_label_studio"
FAKE_FIXTURE = "make_loop"
"""The fixture that starts the fake Label Studio for a test; the fixture `loop` asks for it."""
SAYS = {
    frozenset({"real"}): "real Label Studio",
    frozenset({"fake"}): "fake Label Studio",
    frozenset({"real", "fake"}): "real and fake Label Studio",
    frozenset[str](): "no Label Studio",
}


def kind_of(markers: Collection[str], fixtures: Collection[str], file: Path) -> StudioKind:
    """The kind by a test's markers, its fixtures and what its file imports.

    A test with the marker `studio` or `browser` starts a real server. A file that imports the fake
    server, also through other files of `tests`, runs on that.
    """
    if {"studio", "browser"} & set(markers):
        return "real"
    return "fake" if FAKE_FIXTURE in fixtures or _reaches_fake(file) else "none"


def words(kinds: Iterable[StudioKind]) -> str:
    """What the page says of the tests of a row."""
    return SAYS[frozenset(kinds) - {"none"}]


def _reaches_fake(file: Path) -> bool:
    """Whether a file imports the fake server, directly or through other files of `tests`."""
    seen: set[Path] = set()
    left = [file]
    while left:
        path = left.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in _imports(path):
            if name == FAKE or name.startswith(f"{FAKE}."):
                return True
            found = ROOT / f"{name.replace('.', '/')}.py"
            if name.startswith("tests.") and found.exists():
                left.append(found)
    return False


@cache
def _imports(path: Path) -> frozenset[str]:
    """The modules that a file imports, wherever in it; of `from a import b`, a and a.b."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return frozenset(found)
