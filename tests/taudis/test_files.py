"""A file or folder that is written at once is the old one or the new one, whatever happens."""

import ast
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from taudis import files
from taudis.errors import CheckpointError
from taudis.files import (
    append_bytes,
    draft_file,
    draft_folder,
    exchange,
    remove_drafts,
    scratch_folder,
    verify_sealed,
    write_bytes,
    write_json,
    write_sealed,
    write_text,
)

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("a.txt", "b.txt")
WRITER = """
import itertools, sys
from pathlib import Path
from taudis.files import write_sealed

def write(draft):
    for name in ("a.txt", "b.txt"):
        (draft / name).write_text(f"{number} " * 5000)

for number in itertools.count():
    write_sealed(Path(sys.argv[1]), write)
    if number == 0:
        print("ready", flush=True)
"""


def both(draft):
    for name in NAMES:
        (draft / name).write_text("first")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["file", "json", "folder", "sealed"])
def test_a_write_killed_at_any_line_leaves_the_old_content_or_the_new(tmp_path, kind):
    place = tmp_path / "v1"
    ran = subprocess.run(
        [sys.executable, "-m", "tests.taudis.killed_writes", kind, str(place)],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    *held, last = ran.stdout.splitlines()
    assert last == "done"
    assert len(held) > 15  # that many places were killed at
    assert set(held) == {"old", "new"}
    assert held == sorted(held, reverse=True)  # from one line on it is the new one
    remove_drafts(place)
    assert [path.name for path in tmp_path.iterdir()] == ["v1"]


def test_content_is_on_the_disk_before_it_has_its_name_and_then_the_name(tmp_path, monkeypatch):
    path, calls = tmp_path / "a.txt", []
    flush, replace = files.sync, Path.replace

    def logged_sync(what):
        calls.append(("sync", "folder" if what == tmp_path else what.read_text()))
        flush(what)

    def logged_replace(draft, to):
        calls.append(("replace", to.name))
        return replace(draft, to)

    monkeypatch.setattr(files, "sync", logged_sync)
    monkeypatch.setattr(Path, "replace", logged_replace)
    write_text(path, "whole")
    assert calls == [("sync", "whole"), ("replace", "a.txt"), ("sync", "folder")]
    calls.clear()
    write_bytes(path, b"of a cache", durable=False)
    assert calls == [("replace", "a.txt")]
    assert path.read_bytes() == b"of a cache"


@pytest.mark.parametrize("draft", [draft_file, draft_folder])
def test_an_error_in_the_block_leaves_what_was_there(tmp_path, draft):
    path = tmp_path / "a.txt"
    with draft(path) as first:
        (first / "x" if first.is_dir() else first).write_text("old")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ZeroDivisionError), draft(path) as second:
        (second / "y" if second.is_dir() else second).write_text("half")
        raise ZeroDivisionError
    assert sorted(tmp_path.rglob("*")) == before
    assert (path / "x" if path.is_dir() else path).read_text() == "old"


def test_a_value_that_json_cannot_hold_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": [1, 2.5, None]})
    with pytest.raises(TypeError):
        write_json(path, {"a": "much text, then", "b": object()})
    assert path.read_text() == '{"a": [1, 2.5, null]}'
    assert list(tmp_path.iterdir()) == [path]


def test_a_private_file_is_private_from_its_first_byte(tmp_path):
    path = tmp_path / "token"
    mask = os.umask(0o022)
    try:
        with draft_file(path, private=True) as draft:
            assert draft.stat().st_mode & 0o777 == 0o600
        assert path.stat().st_mode & 0o777 == 0o600
        write_text(path, "for all to read")
        assert path.stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(mask)


def test_a_draft_has_the_suffix_of_its_place(tmp_path):
    with draft_file(tmp_path / "a.b.png") as draft:
        assert draft.suffix == ".png"
        assert draft.parent == tmp_path


def test_bytes_are_added_or_it_is_an_error(tmp_path):
    path = tmp_path / "rows"
    append_bytes(path, b"one\n")
    append_bytes(path, b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"
    with pytest.raises(OSError, match=r"No space left|all of 3 bytes"):
        append_bytes(Path("/dev/full"), b"row")


def test_a_scratch_folder_is_gone_after_its_block(tmp_path):
    with pytest.raises(ZeroDivisionError), scratch_folder(tmp_path, "run-") as folder:
        (folder / "a").touch()
        assert folder.parent == tmp_path and folder.name.startswith("run-")
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_something_is_replaced_only_if_asked(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    with draft_folder(folder) as draft:  # an empty one is nobody's loss
        (draft / "ours").touch()
    with pytest.raises(OSError, match="not empty"), draft_folder(folder) as draft:
        (draft / "other").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "ours"]
    with draft_folder(folder, replace=True) as draft:
        (draft / "other").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "other"]


def test_drafts_of_other_names_stay(tmp_path):
    theirs = ["v10", ".v1.backup", ".v10.draft-0", ".xv1.draft-0"]
    for name in [*theirs, ".v1.draft-0", ".v1.draft-0.sqlite3-journal"]:
        (tmp_path / name).touch()
    (tmp_path / ".v1.draft-1").mkdir()
    remove_drafts(tmp_path / "v1")
    remove_drafts(tmp_path / "*")
    assert {path.name for path in tmp_path.iterdir()} == set(theirs)


def renames_in(tree):
    """Calls that give a file another name, and calls that make files with a random one."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name)):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        of_os = isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "os"
        # Path.replace takes one argument; str.replace two, dataclasses.replace names them
        moves = name == "replace" and len(node.args) == 1 and not node.keywords
        made = {"mkstemp", "NamedTemporaryFile", "TemporaryFile", "TemporaryDirectory", "fsync"}
        if moves or (of_os and name == "replace") or name in {"rename", "renames", "move", *made}:
            yield f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("package", ["taudis", "backend"])
def test_taudis_files_alone_puts_files_in_their_place(package):
    found = [
        f"{path.relative_to(ROOT)} {call}"
        for path in sorted((ROOT / package).rglob("*.py"))
        if path != Path(files.__file__)
        for call in renames_in(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found, "use taudis.files"


@pytest.mark.parametrize(
    ("source", "moves"),
    [
        ("os.replace(one, other)", True),
        ("path.replace(other)", True),
        ("Path(a).rename(b)", True),
        ("tempfile.mkstemp(dir=folder)", True),
        ("mkstemp()", True),
        ("shutil.move(a, b)", True),
        ("text.replace('a', 'b')", False),
        ("dataclasses.replace(recipe, steps=1)", False),
        ("replace(recipe, **chosen)", False),
        ("moment.replace(tzinfo=UTC)", False),
    ],
)
def test_the_scan_finds_renames(source, moves):
    assert bool(list(renames_in(ast.parse(source)))) == moves


@pytest.mark.slow
def test_a_writer_killed_at_any_instant_leaves_a_whole_folder(tmp_path):
    folder = tmp_path / "v1"
    rng = np.random.default_rng(0)
    readings = 0
    for _ in range(10):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder)],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout.readline() == "ready\n"
        pause = float(rng.uniform(0.01, 0.1))
        killer = threading.Timer(pause, os.kill, (process.pid, signal.SIGKILL))
        killer.start()
        while process.poll() is None:  # a reader beside the writer never sees a mixture
            verify_sealed(folder, NAMES)
            readings += 1
        process.stdout.close()
        assert process.wait() == -signal.SIGKILL
        verify_sealed(folder, NAMES)
        assert (folder / "a.txt").read_text() == (folder / "b.txt").read_text()
    print(f"10 kills, {readings} readings beside the writer, none in vain")
    write_sealed(folder, both)
    assert [path.name for path in tmp_path.iterdir()] == ["v1"]  # what killed writers left is gone


def test_where_names_cannot_be_swapped_two_renames_do_it(tmp_path, monkeypatch):
    folder = tmp_path / "v1"
    for swap in (exchange, lambda one, other: False):
        monkeypatch.setattr("taudis.files.exchange", swap)
        write_sealed(folder, both)
        write_sealed(folder, both)
        verify_sealed(folder, NAMES)
        assert [path.name for path in tmp_path.iterdir()] == ["v1"]


def test_names_are_swapped_or_left(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert exchange(tmp_path / "one", tmp_path / "other")
    assert (tmp_path / "one" / "other").exists()
    assert not exchange(tmp_path / "one", tmp_path / "none")
    assert (tmp_path / "one" / "other").exists()


def test_a_file_too_many_or_too_few_is_refused(tmp_path):
    folder = tmp_path / "v1"
    write_sealed(folder, both)
    with pytest.raises(CheckpointError, match="SHA256SUMS"):
        verify_sealed(folder, ("a.txt",))
    (folder / "b.txt").unlink()
    with pytest.raises(CheckpointError, match=r"b\.txt"):
        verify_sealed(folder, NAMES)
