"""The words of the project's names, and the sizes of its files and functions.

Names are in the words of the trade and of the paper. The words of earlier builds, often metaphors,
must not come back. The tests compare names that our code defines (files, classes, functions,
arguments, variables, attributes, keywords, keys of stored state), not prose.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("taudis", "backend", "demo", "benchmarks", "tests", "findings")
SUFFIXES = {".py", ".sh", ".html", ".css", ".js"}
FILE_LINES, FUNCTION_LINES = 350, 40
REASON = "# long: "
"""A longer function has a comment that begins so on the line above it (and its decorators)."""

METAPHORS = {
    "desk": "RoundContext, context",
    "bell": "event",
    "doorbell": "webhook, event",
    "rung": "record_event",
    "hear": "pending",
    "heard": "acknowledge",
    "clerk": "scheduler",
    "janitor": "cleaner",
    "trainer": "round runner",
    "news": "triggers",
    "referee": "OrderCheck",
    "cast": "Dataset, Annotators",
    "perform": "run",
    "set_aside": "unreadable",
    "may_arm": "may_connect",
    "round_called_for": "round_due",
}
"""Part of a name that is never used -> the word instead."""
VERBS = {
    "judged": "evaluated",
    "looks": "evaluations",
    "told": "reported",
    "shown": "visible",
    "steady": "process",
    "stage": "Environment",
    "trouble": "reason for waiting",
    "drift": "changed by a person",
}
"""The same for words that a sentence may have; the name of a test is a sentence."""
FUNCTIONS = {"ring": "record_event", "show": "Progress", "hold": "start"}
"""Name of a function or class that is never used -> the word instead."""
MODULES = {"units": "UnitVectors", "rows": "memmap", "show": "Progress"}
"""Name of a file or class that is never used -> the word instead."""
KEYS = {"judged", "set_aside", "trouble", "drift", "news", "bell"}
"""Keys of stored state that are never used."""

ALLOWED: dict[tuple[str, str], str] = {
    ("taudis/training/train.py", "_Trainer trainer"): "the trade's word for a training loop",
    ("benchmarks/gpu.py", "trainer"): "the trade's word for a training loop",
    ("taudis/detector/backbones.py", "stage"): "the trade's word for a part of a ResNet",
    ("demo/pictures.py", "_ring"): "geometry: a disc with a hole",
    ("tests/exporters/scene.py", "ring"): "geometry: the points of a closed polygon",
    ("tests/backend/label_studio/regions/test_polygon.py", "ring"): "geometry: a disc with a hole",
}
"""(file, names) -> the reason why the word is right there."""


def files() -> Iterator[Path]:
    """Every source file of ours."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SUFFIXES and path.is_file():
                yield path


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def trees() -> Iterator[tuple[str, ast.Module, list[str]]]:
    """Every Python file but this one: its name, its syntax tree, its lines."""
    for path in files():
        if path.suffix == ".py" and path != Path(__file__).resolve():
            text = path.read_text(encoding="utf-8")
            yield name_of(path), ast.parse(text), text.splitlines()


def in_parts(name: str) -> str:
    """An identifier in lower case, an underscore around each word: `_round_context_`."""
    spaced = re.sub(r"([a-z0-9])([A-Z])|([A-Z])([A-Z][a-z])", r"\1\3_\2\4", name)
    return "_" + "_".join(part for part in spaced.lower().split("_") if part) + "_"


def has_wrong_word(name: str, kind: str) -> bool:
    """Whether a name has a wrong word. `kind`: "module", "class", "function", "key" or "value"."""
    parts = in_parts(name)
    if kind == "key":
        return name in KEYS
    whole = {"module": MODULES, "class": FUNCTIONS | MODULES, "function": FUNCTIONS}.get(kind, {})
    words = METAPHORS if parts.startswith("_test_") and kind == "function" else METAPHORS | VERBS
    return any(f"_{word}_" in parts for word in words) or parts.strip("_") in whole


def defined_names(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Every name that a file defines, with its kind."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name):
                yield name, "class"
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name, "function"
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield name, "value"
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield name, "value"
            case ast.alias(asname=str(name)) | ast.keyword(arg=str(name)):
                yield name, "value"
            case ast.Constant(value=str(name)):
                yield name, "key"


def wrong_names() -> dict[str, str]:
    """File -> its wrong names, sorted, with spaces between."""
    found: dict[str, str] = {}
    for file, tree, _ in trees():
        names = {(Path(file).stem, "module"), *defined_names(tree)}
        wrong = {name for name, kind in names if has_wrong_word(name, kind)}
        if wrong:
            found[file] = " ".join(sorted(wrong, key=lambda name: (name.lower().strip("_"), name)))
    return found


def long_functions() -> dict[str, str]:
    """File -> its longer functions without a reason above them."""
    found: dict[str, str] = {}
    for file, tree, lines in trees():
        names = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                start = min([node.lineno, *(each.lineno for each in node.decorator_list)])
                reason = lines[start - 2].strip() if start > 1 else ""
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > FUNCTION_LINES and not re.match(rf"{REASON}\w+ \w+", reason):
                    names.add(node.name)
        if names:
            found[file] = " ".join(sorted(names))
    return found


def test_no_file_is_longer_than_350_lines() -> None:
    long = {
        name_of(path)
        for path in files()
        if len(path.read_text(encoding="utf-8").splitlines()) > FILE_LINES
    }
    assert not long, "split these by subject"


def test_no_function_is_longer_than_40_lines_without_a_reason() -> None:
    assert not long_functions(), f"split these, or write `{REASON}why` above each"


def test_no_name_has_a_word_of_an_earlier_build() -> None:
    found = wrong_names()
    allowed = {file: names for file, names in ALLOWED if found.get(file) == names}
    assert len(allowed) == len(ALLOWED), "an exception does not apply as it stands"
    rest = {file: names for file, names in found.items() if file not in allowed}
    assert not rest, "rename these; METAPHORS and VERBS name the word instead"


@pytest.mark.parametrize(
    ("name", "kind", "wrong"),
    [
        ("RoundDesk", "class", True),
        ("HTTPDesk", "class", True),
        ("_desk_of", "value", True),
        ("desktop", "value", False),
        ("set_aside_tasks", "value", True),
        ("set_them_aside", "value", False),
        ("ring", "function", True),
        ("ring", "value", False),
        ("polygon_ring", "function", False),
        ("rows", "module", True),
        ("rows", "function", False),
        ("test_a_fault_is_told", "function", False),
        ("test_a_desk_is_made", "function", True),
        ("fault_told", "function", True),
        ("drift", "key", True),
        ("a drift of the wind", "key", False),
    ],
)
def test_the_words_of_a_name_are_compared(name: str, kind: str, wrong: bool) -> None:
    assert has_wrong_word(name, kind) == wrong
