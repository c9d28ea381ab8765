"""Which folder may import which, as folder rules; imports count wherever they stand in a file.

Each rule names a folder (or a file) and everything of ours that it may import. A module may always
import its own folder. What a rule allows is checked for each direct import; what selection may not
reach (torch) is checked through every chain of imports.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BASE = {"taudis"} | {
    f"taudis.{name}" for name in ("types", "files", "masks", "memmap", "errors", "time_left")
}
DETECTOR = BASE | {"taudis.data", "taudis.detector"}
BACKEND = {"backend", "backend.clock", "backend.errors", "backend.logs", "backend.process"} | {
    "backend.settings",
    "backend.similar_names",
}
LABEL_STUDIO = BACKEND | {"backend.label_studio"}
LOWER = LABEL_STUDIO | {"backend.images", "backend.store"}
RULES = {
    "taudis": BASE,  # the files of the folder itself: __init__, types, files, masks, memmap, errors
    "taudis.data": BASE,
    "taudis.selection": BASE | {"taudis.data"},
    "taudis.detector": DETECTOR,
    "taudis.training": DETECTOR,
    "taudis.evaluation": DETECTOR | {"taudis.training"},
    "taudis.scoring": DETECTOR | {"taudis.selection"},
    "taudis.simulation": DETECTOR
    | {"taudis.selection", "taudis.training", "taudis.evaluation", "taudis.scoring"},
    "taudis.distributed": DETECTOR
    | {"taudis.selection", "taudis.scoring", "taudis.simulation", "taudis.training"},
    "taudis.cli": {"taudis"},
    "taudis.__main__": {"taudis"},
    "backend": BACKEND,
    "backend.label_studio": LABEL_STUDIO,
    "backend.images": LABEL_STUDIO | {"backend.images"},
    "backend.store": BACKEND,
    "backend.web": LOWER,
    "backend.worker": LOWER,
    "backend.commands": {"backend"},
    "backend.__main__": {"backend"},
}
"""Folder -> what of its own package it may import, besides itself. All of `backend` may import all
of `taudis`; `taudis` imports nothing of `backend`."""
WHOLE = {"taudis.cli", "taudis.__main__", "backend.commands", "backend.__main__"}
"""These may import their whole package."""
WEB = {"flask", "werkzeug", "requests", "label_studio_ml", "sqlalchemy", "pydantic_settings"}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    name_of(path): path
    for package in ("taudis", "backend")
    for path in sorted((ROOT / package).rglob("*.py"))
}


@cache
def imports(path: Path) -> frozenset[str]:
    """Every module that a file imports, also inside functions; ours by their full names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{path}: name the package, not a dot"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in MODULES else node.module)
    return frozenset(found)


def ours(name: str) -> set[str]:
    """The modules of the product that a module imports."""
    return {found for found in imports(MODULES[name]) if found in MODULES} - {name}


def packages_of(name: str) -> set[str]:
    """The packages around a module: Python runs their `__init__` before it."""
    parts = name.split(".")
    return {".".join(parts[:n]) for n in range(1, len(parts))}


def folder_of(name: str) -> str:
    """The rule that a module falls under: the longest that its name starts with."""
    fitting = [rule for rule in RULES if name == rule or name.startswith(rule + ".")]
    return max(fitting, key=len)


def allowed(importer: str, imported: str) -> bool:
    rule, package = folder_of(importer), importer.split(".")[0]
    if imported.split(".")[0] != package:
        return package == "backend" and imported.split(".")[0] == "taudis"
    if rule in WHOLE or folder_of(imported) == rule:
        return True
    return any(
        imported == name or ("." in name and imported.startswith(name + "."))
        for name in RULES[rule]
    )


def arrows() -> Iterator[tuple[str, str]]:
    for name in MODULES:
        for imported in sorted(ours(name)):
            yield name, imported


def test_every_import_follows_the_folder_rules() -> None:
    wrong = {f"{one} -> {other}" for one, other in arrows() if not allowed(one, other)}
    assert not wrong


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("taudis.data.coco", "taudis.detector.mask_rcnn"),
        ("taudis.data.images", "taudis.selection.cover"),
        ("taudis.selection.cover", "taudis.detector.adapter"),
        ("taudis.detector.adapter", "taudis.selection.cover"),
        ("taudis.detector.adapter", "taudis.training.train"),
        ("taudis.training.train", "taudis.evaluation.metrics"),
        ("taudis.evaluation.metrics", "taudis.simulation.run"),
        ("taudis.simulation.run", "taudis.cli.simulate"),
        ("taudis.scoring", "taudis.distributed.cluster"),
        ("taudis.simulation.run", "taudis.distributed.cluster"),
        ("taudis.types", "taudis.data.images"),
        ("taudis.scoring", "backend.errors"),
        ("backend.store.database", "backend.label_studio.client"),
        ("backend.label_studio.client", "backend.store.database"),
        ("backend.web.app", "backend.worker.context"),
        ("backend.worker.round", "backend.web.status.page"),
        ("backend.images.source", "backend.store.database"),
    ],
)
def test_the_rules_refuse(importer: str, imported: str) -> None:
    assert not allowed(importer, imported)


def reachable(name: str, *, packages: bool = False) -> set[str]:
    """Every module of ours that a module imports; with `packages`, all that Python runs for it."""
    seen: set[str] = set()
    todo = [name]
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo += ours(module) | (packages_of(module) if packages else set())
    return seen


def test_no_circle_of_imports() -> None:
    circles = {
        tuple(sorted((one, other)))
        for one in MODULES
        for other in reachable(one) - {one}
        if one in reachable(other)
    }
    assert not circles


def packages_reached(name: str) -> set[str]:
    """The packages, others' too, that a module imports through every chain of our files."""
    modules = reachable(name, packages=True)
    return {part.split(".")[0] for module in modules for part in imports(MODULES[module])}


@pytest.mark.parametrize("name", [n for n in MODULES if n.startswith("taudis.selection")])
def test_selection_reaches_numpy_and_scipy_alone(name: str) -> None:
    assert not packages_reached(name) & {"torch", "torchvision", *WEB}


def test_comparing_strategies_reaches_no_torch() -> None:
    """Whoever reads rows that another machine made needs no model."""
    assert not packages_reached("taudis.cli.compare") & {"torch", "torchvision", *WEB}
    assert "torch" in packages_reached("taudis.simulation.run")


def test_reading_a_coco_file_imports_no_torch() -> None:
    code = "import taudis.data.coco, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


def test_one_folder_imports_ray() -> None:
    """Ray is optional, and slow to import: who does not ask for it never meets it."""
    using = {
        name for name in MODULES if "ray" in {part.split(".")[0] for part in imports(MODULES[name])}
    }
    assert using == {"taudis.distributed.cluster"}


def test_one_machine_imports_no_ray() -> None:
    """Not the commands, nor the worker with its steps, before a cluster is named."""
    code = (
        "import taudis.__main__, taudis.cli.score, taudis.scoring, taudis.simulation.run,"
        " backend.worker.worker, sys; assert not {'ray', 'taudis.distributed'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=300)


def test_the_web_process_starts_without_torch_and_scipy() -> None:
    """They take seconds, in which Label Studio gets no answer from a process that was killed."""
    code = "import backend.web.app, sys; assert not {'torch', 'scipy'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


@pytest.mark.parametrize("name", [n for n in MODULES if n.split(".")[0] == "taudis"])
def test_taudis_knows_nothing_of_label_studio_the_web_or_the_environment(name: str) -> None:
    path = MODULES[name]
    roots = {part.split(".")[0] for part in imports(path)}
    assert not roots & ({"backend", "demo", "_wsgi", "tests"} | WEB)
    assert not reads_environment(path)


@pytest.mark.parametrize("name", [n for n in MODULES if n.split(".")[0] == "backend"])
def test_backend_imports_neither_the_demo_nor_the_tests(name: str) -> None:
    roots = {part.split(".")[0] for part in imports(MODULES[name])}
    assert not roots & {"demo", "_wsgi", "tests", "benchmarks"}


def reads_environment(path: Path) -> bool:
    names = {"environ", "getenv"}
    return any(
        (isinstance(node, ast.Attribute) and node.attr in names)
        or (isinstance(node, ast.ImportFrom) and {each.name for each in node.names} & names)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    )


def test_settings_alone_read_the_environment() -> None:
    """`commands.serve` passes the whole environment on to its children; nothing else reads it."""
    reading = {name for name in MODULES if reads_environment(MODULES[name])}
    assert reading <= {"backend.settings", "backend.commands.serve"}
