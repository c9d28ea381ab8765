"""A sealed folder is the old one or the new one, whatever happens to its writer."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from taudis.errors import CheckpointError
from taudis.files import exchange, verify_sealed, write_sealed

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


def test_a_writer_killed_at_any_instant_leaves_a_whole_folder(tmp_path):
    folder = tmp_path / "v1"
    rng = np.random.default_rng(0)
    looks = 0
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
            looks += 1
        process.stdout.close()
        assert process.wait() == -signal.SIGKILL
        verify_sealed(folder, NAMES)
        assert (folder / "a.txt").read_text() == (folder / "b.txt").read_text()
    print(f"10 kills, {looks} looks beside the writer, none in vain")
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
