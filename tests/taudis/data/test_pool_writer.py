"""A pool file appears when all of it is written; errors and kills leave no part of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from taudis.data import pool_writer
from taudis.data.pool_reader import load_pool, save_pool
from taudis.data.pool_writer import PoolWriter
from taudis.errors import DataError
from taudis.types import Pool
from tests.taudis.data.pool_cases import make_pool, same

ROOT = Path(__file__).resolve().parents[3]


def parts_of(pool: Pool) -> list[Pool]:
    return [pool.subset(np.array([row])) for row in range(len(pool))]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_an_image_at_a_time_equals_all_at_once(tmp_path, dtype):
    pool = make_pool(5, (2, 0, 3, 1, 0), dtype=np.dtype(dtype))
    path = tmp_path / "pool.safetensors"
    with PoolWriter(path, label_names=("a", "b"), embedding_dtype=dtype) as writer:
        writer.append(pool.subset(np.zeros(0, np.int64)))
        for part in parts_of(pool):
            writer.append(part)
        assert not path.exists() and (writer.images, writer.instances) == (5, 6)
    same(load_pool(path), pool)
    assert [left.name for left in tmp_path.iterdir()] == [path.name]


def test_embeddings_are_rounded_to_half_precision(tmp_path):
    pool, path = make_pool(), tmp_path / "pool.safetensors"
    with PoolWriter(path) as writer:
        writer.append(pool)
    found = load_pool(path).instances.embeddings
    assert found.dtype == np.float16
    assert np.array_equal(found, pool.instances.embeddings.astype(np.float16))


def with_instances(pool, **changed):
    return replace(pool, instances=replace(pool.instances, **changed))


PART = make_pool(first=90)
TOO_LARGE = PART.instances.embeddings.copy()
TOO_LARGE[3, 1] = -70000
TOO_SMALL = PART.instances.embeddings.copy()
TOO_SMALL[3] = [0, 6e-5, -1e-6, 0]
SMALL_IMAGE = PART.image_embeddings.copy()
SMALL_IMAGE[2] = -1e-9
BAD_PARTS = [
    (make_pool(first=11), "duplicates: 11 "),
    (make_pool(first=90, width=5), r"embeddings: .*\[4\].*\[5\]"),
    (make_pool(first=90, labels=3), r"class_probs: .*\[3\].*\[4\]"),
    (with_instances(PART, embeddings=TOO_LARGE), r"65504 .float16., got -70000 .*\[3, 1\]"),
    (with_instances(PART, embeddings=TOO_SMALL), r"^embeddings: .* 6e-05 in row 3; use float32"),
    (replace(PART, image_embeddings=SMALL_IMAGE), "image_embeddings: .* in row 2; use float32"),
    (
        with_instances(PART, class_probs=np.full((5, 3), 0.9)),
        "class_probs: .*sum to 1.* at row 5",
    ),
]


@pytest.mark.parametrize(("part", "message"), BAD_PARTS, ids=[m for _, m in BAD_PARTS])
def test_a_part_that_does_not_fit_adds_nothing(tmp_path, part, message):
    path = tmp_path / "pool.safetensors"
    with PoolWriter(path) as writer:
        writer.append(make_pool())
        with pytest.raises(DataError, match=message):
            writer.append(part)
        writer.append(make_pool(first=200))
    assert load_pool(path).image_ids.tolist() == [10, 11, 12, 200, 201, 202]


def test_small_embeddings_go_where_nothing_of_them_is_lost(tmp_path):
    path, rows = tmp_path / "pool.safetensors", PART.instances.embeddings.copy()
    rows[0] = [
        0,
        6.2e-5,
        1e-9,
        0,
    ]  # one number that float16 holds in full; the rest is nothing to it
    rows[1] = 0
    for dtype, held in [("float16", rows), ("float32", TOO_SMALL)]:
        with PoolWriter(path, embedding_dtype=dtype) as writer:
            writer.append(with_instances(PART, embeddings=held))
        assert np.array_equal(load_pool(path).instances.embeddings, held.astype(dtype))
    # What came in float16 has lost nothing on the way
    half = make_pool(dtype=np.float16)
    half = with_instances(half, embeddings=np.full((5, 4), 1e-6, np.float16))
    save_pool(path, half)
    same(load_pool(path), half)


def test_labels_without_a_name_are_refused(tmp_path):
    with pytest.raises(DataError, match="expected 2 columns"):
        save_pool(tmp_path / "pool.safetensors", make_pool(), label_names=("a",))
    with pytest.raises(DataError, match=r"\.safetensors, got \.npz"):
        save_pool(tmp_path / "pool.npz", make_pool())
    with (
        pytest.raises(DataError, match="at least one part"),
        PoolWriter(tmp_path / "pool.safetensors"),
    ):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("when", ["body", "join", "rename"])
def test_an_error_leaves_the_old_file_and_no_drafts(tmp_path, monkeypatch, when):
    path, pool = tmp_path / "pool.safetensors", make_pool()
    save_pool(path, pool)

    def fail(*_):
        raise OSError("No space left on device")

    if when == "join":
        monkeypatch.setattr(pool_writer.shutil, "copyfileobj", fail)
    if when == "rename":
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space"), PoolWriter(path) as writer:
        writer.append(make_pool(first=50))
        if when == "body":
            fail()
    monkeypatch.undo()
    same(load_pool(path), pool)
    assert [left.name for left in tmp_path.iterdir()] == [path.name]


KILLED = """
import sys, time
from pathlib import Path
from taudis.data.pool_writer import PoolWriter
from taudis.data.pool_reader import load_pool
source, path = map(Path, sys.argv[1:])
with PoolWriter(path) as writer:
    writer.append(load_pool(source))
    if {joined}:
        Path.replace = lambda *_: (print("ready", flush=True), time.sleep(60))
    else:
        print("ready", flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize("joined", [False, True])
def test_a_killed_writer_leaves_no_file_under_the_final_name(tmp_path, joined):
    pool, path = make_pool(), tmp_path / "out" / "pool.safetensors"
    path.parent.mkdir()
    save_pool(tmp_path / "source", pool)
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED.format(joined=joined), str(tmp_path / "source"), str(path)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with child:
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGKILL)
    left = list(path.parent.iterdir())
    assert left and not path.exists() and all(one.name.startswith(".") for one in left)
    save_pool(path, pool)
    same(load_pool(path), pool)
    assert [one.name for one in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["pool.safetensors", "pool[1].safetensors"])
def test_only_drafts_of_processes_that_are_gone_are_removed(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)  # a relative path too
    path, host = Path(name), socket.gethostname()
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        pass
    gone, parent, own = child.pid, os.getppid(), os.getpid()
    left = [f".{name}.parts-{host}-{pid}-abc" for pid in (gone, own)]
    kept = [
        f".{name}.parts-{owner}-abc" for owner in (f"{host}-{parent}", f"else.where-{gone}", "")
    ]
    kept += [f".other.{name}.parts-{host}-{gone}-abc", ".pool1.safetensors.parts-abc"]
    for folder in (*left, *kept):
        (tmp_path / folder).mkdir()
    save_pool(path, make_pool())
    assert {one.name for one in tmp_path.iterdir()} == {name, *kept}


def test_two_writers_of_one_name_leave_each_other_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, late = Path("pool.safetensors"), make_pool(seed=3)
    with PoolWriter(path, embedding_dtype="float32") as writer:
        save_pool(path, make_pool())
        same(load_pool(path), make_pool())
        writer.append(late)
    same(load_pool(path), late)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_a_writer_in_another_process_is_left_alone(tmp_path):
    source, path = tmp_path / "source", tmp_path / "out" / "pool.safetensors"
    path.parent.mkdir()
    save_pool(source, make_pool())
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED.format(joined=False), str(source), str(path)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with child:
        assert child.stdout.readline() == "ready\n"
        before = set(path.parent.iterdir())
        save_pool(path, make_pool())
        assert len(before) == 1 and set(path.parent.iterdir()) == {path, *before}
        child.terminate()
    save_pool(path, make_pool())
    assert list(path.parent.iterdir()) == [path]
