"""Breaks conditions of the loop one by one and shows which fast test notices.

    .venv/bin/python -m tests.mutations             all of them
    .venv/bin/python -m tests.mutations publish     those whose file or text holds this word
    .venv/bin/python -m tests.mutations --check     only look whether every text is found

A mutation replaces a text that stands once in a file. It is made in a copy of the tree, so that
the working tree is never touched. If a text is not found, or found twice, nothing is run: give the
mutation the condition's new text.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.mutations.table import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("backend", "taudis", "demo", "tests", "pyproject.toml")
LOCAL = "not studio and not browser and not exporters"


def main() -> int:
    """Run the mutations that the command line asks for; the number of those that nobody noticed."""
    if {each for each in sys.argv[1:] if each.startswith("-")} - {"--check"}:
        print(__doc__)
        return 0
    wanted = [each for each in sys.argv[1:] if not each.startswith("-")]
    chosen = [each for each in MUTATIONS if all(w in each.file + each.what for w in wanted)]
    missing = [each for each in chosen if (ROOT / each.file).read_text().count(each.old) != 1]
    for each in missing:
        print(f"{each.file}: expected this text once: {each.old!r}", file=sys.stderr)
    if missing or "--check" in sys.argv:
        return len(missing)
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        copy = Path(folder) / "tree"
        copy_tree(copy)
        _import_libraries()
        print("| condition | mutation | caught by |\n|---|---|---|")
        missed = 0
        for each in chosen:
            caught = run(copy, each)
            missed += not caught
            old, new = (" ".join(text.split()) for text in (each.old, each.new))
            place = each.file.removeprefix("backend/")
            change = f"`{place}`: `{old}` -> `{new}`".replace("|", "\\|")
            print(f"| {each.what} | {change} | {caught or 'NOBODY'} |", flush=True)
    print(f"\n{len(chosen) - missed} of {len(chosen)} caught.")
    return missed


def copy_tree(copy: Path) -> None:
    """The parts of the tree that tests need, without caches."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)


def run(copy: Path, mutation: Mutation) -> str:
    """The first test that fails with a mutation and its seconds; '' if all pass."""
    file, began = copy / mutation.file, time.monotonic()
    whole = file.read_text()
    file.write_text(whole.replace(mutation.old, mutation.new))
    try:
        log = copy / "log"
        child = multiprocessing.get_context("fork").Process(
            target=_tests, args=(copy, mutation.tests, log)
        )
        child.start()
        child.join()
    finally:
        file.write_text(whole)
    said = log.read_text()
    failed = re.search(r"^(?:FAILED|ERROR) \S*?(test_\w+\.py\S*)", said, re.MULTILINE)
    if child.exitcode == 0:
        return ""
    if failed is None:
        raise RuntimeError(f"The tests of {mutation.file} did not run:\n{said[-3000:]}")
    return f"`{failed[1]}` ({time.monotonic() - began:.0f} s)"


def _import_libraries() -> None:
    """What takes seconds to import and is never mutated, once for all children."""
    for name in ("torch", "torchvision", "scipy.sparse", "typer"):
        importlib.import_module(name)
    importlib.import_module("torch").set_num_threads(1)


def _tests(copy: Path, tests: tuple[str, ...], log: Path) -> None:
    """In a child: run the tests of a copy and leave with pytest's status."""
    with log.open("w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    os.chdir(copy)
    sys.dont_write_bytecode = True
    for name in [name for name in sys.modules if name.split(".")[0] in COPIED]:
        del sys.modules[name]
    sys.path[:] = [str(copy), *(each for each in sys.path if Path(each or ".").resolve() != ROOT)]
    import pytest

    status = pytest.main([*tests, "-x", "-q", "-m", LOCAL, "--tb=line", "-p", "no:cacheprovider"])
    os._exit(int(status))


if __name__ == "__main__":
    sys.exit(main())
