"""The arrows between the layers: taudis <- backend <- _wsgi, and torch only where it belongs."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SELECTION = {
    "instances", "rows", "uncertainty", "similarity", "cover", "vote", "params", "select",
    "units", "prefix", "sketch", "graph", "explain", "cover_images", "why",
    "pools", "pool_format", "pool_writer", "ranked",
    "image_order", "baselines", "core_set", "taudis_img", "strategies",
}  # fmt: skip
BOTH_HALVES = {"scoring", "__main__", "simulate"}
WEB = {"flask", "werkzeug", "requests", "label_studio_ml", "sqlalchemy", "pydantic_settings"}


def imports(path: Path) -> set[str]:
    """Every module that a file imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def inside(path: Path, package: str) -> set[str]:
    """The modules of a package that a file imports, by their first name inside it."""
    prefix = package + "."
    return {
        name.removeprefix(prefix).split(".")[0] for name in imports(path) if name.startswith(prefix)
    }


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


FILES = sorted((ROOT / "taudis").rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_taudis_knows_nothing_of_label_studio_the_web_or_the_environment(path: Path) -> None:
    assert not roots(path) & ({"backend", "demo", "_wsgi"} | WEB)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"environ", "getenv"}, f"{path.name}:{node.lineno}"


@pytest.mark.parametrize("name", sorted(SELECTION))
def test_selection_does_not_import_the_detector(name: str) -> None:
    seen, todo = set(), {name}
    while todo:
        module = todo.pop()
        seen.add(module)
        path = ROOT / "taudis" / f"{module}.py"
        assert "torch" not in roots(path) and "torchvision" not in roots(path), module
        known = {n for n in inside(path, "taudis") if (ROOT / "taudis" / f"{n}.py").exists()}
        todo |= known - seen
    assert "scoring" not in seen and "mask_rcnn" not in seen


def test_scoring_alone_imports_both_halves() -> None:
    half = {"uncertainty", "similarity", "cover", "vote", "select", "strategies"}
    both = {
        path.stem
        for path in FILES
        if inside(path, "taudis") & half and inside(path, "taudis") & {"mask_rcnn", "training"}
    }
    assert both <= BOTH_HALVES


def test_backend_does_not_import_the_demo() -> None:
    for path in (ROOT / "backend").rglob("*.py"):
        assert not roots(path) & {"demo", "_wsgi", "tests"}, path


def test_settings_alone_read_the_environment() -> None:
    """`backend.serve` passes the whole environment on to its children; nothing else touches it."""
    allowed = {"settings.py", "serve.py"}
    for path in (ROOT / "backend").rglob("*.py"):
        if path.name in allowed:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                assert node.attr not in {"environ", "getenv"}, f"{path.name}:{node.lineno}"
