"""Pool files: what goes in comes out, whatever is wrong is told, and memory stays bounded."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from taudis.data import pool_reader, pool_writer
from taudis.data.pool_format import ARRAYS, INSTANCES, MEASURES, POOL, PoolHeader
from taudis.data.pool_reader import load_pool, read_header, save_pool
from taudis.data.pool_writer import PoolWriter
from taudis.errors import DataError
from taudis.memmap import take
from taudis.types import Instances, Pool, Uncertainty

ROOT = Path(__file__).resolve().parents[3]
METADATA = {"format": "taudis-pool", "format_version": "1"}


def make_pool(
    images=3, found=(2, 0, 3), *, labels=2, width=4, seed=0, dtype=np.float32, first=10
) -> Pool:
    """A pool of random numbers with `found[i]` instances in image i."""
    rng, n = np.random.default_rng(seed), sum(found)
    probs = rng.dirichlet(np.ones(labels + 1), n).astype(np.float32)
    corner = rng.uniform(0, 30, (n, 2)).astype(np.float32)
    picked = rng.integers(1, labels + 1, n)
    instances = Instances(
        image_index=np.repeat(np.arange(images), found),
        boxes=np.concatenate([corner, corner + 5], axis=1),
        scores=probs[np.arange(n), picked],
        labels=picked,
        class_probs=probs.reshape(n, labels + 1),
        embeddings=rng.normal(size=(n, width)).astype(dtype),
    )
    return Pool(
        image_ids=np.arange(first, first + images),
        sizes=np.tile([48, 64], (images, 1)),
        instances=instances,
        uncertainty=Uncertainty(*rng.uniform(0, 0.69, (3, n)).astype(np.float32)),
        mask_areas=rng.uniform(1, 25, n).astype(np.float32),
        image_embeddings=rng.normal(size=(images, 6)).astype(dtype),
    )


def arrays_of(pool: Pool) -> dict[str, np.ndarray]:
    owners = dict.fromkeys(POOL, pool) | dict.fromkeys(INSTANCES, pool.instances)
    owners |= dict.fromkeys(MEASURES, pool.uncertainty)
    return {name: np.asarray(getattr(owners[name], name)) for name in ARRAYS}


def same(one: Pool, other: Pool, *, dtypes: bool = True) -> None:
    for name, array in arrays_of(one).items():
        theirs = arrays_of(other)[name]
        assert array.shape == theirs.shape and np.array_equal(array, theirs), name
        assert not dtypes or array.dtype == theirs.dtype, name


def write_arrays(path, arrays, metadata=METADATA):
    """A pool file by other hands than ours: safetensors' own writer."""
    save_file({name: np.ascontiguousarray(a) for name, a in arrays.items()}, path, metadata)


# --- what goes in comes out ------------------------------------------------------------------


@given(
    found=st.lists(st.integers(0, 4), max_size=5),
    labels=st.integers(1, 3),
    width=st.integers(1, 5),
    dtype=st.sampled_from([np.float32, np.float16]),
    suffix=st.sampled_from([".safetensors", ".npz"]),
    seed=st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
def test_a_pool_survives_its_file(tmp_path_factory, found, labels, width, dtype, suffix, seed):
    folder = tmp_path_factory.mktemp("pool")
    pool = make_pool(len(found), found, labels=labels, width=width, dtype=dtype, seed=seed)
    path = folder / f"pool{suffix}"
    if suffix == ".npz":
        np.savez(path, **arrays_of(pool))
    else:
        save_pool(path, pool)
    same(load_pool(path), pool)
    assert [left.name for left in folder.iterdir()] == [path.name]


def test_our_file_is_a_safetensors_file_and_the_other_way_round(tmp_path):
    pool, path = make_pool(), tmp_path / "pool.safetensors"
    save_pool(path, pool, label_names=("cät", "dog"), model="Mask R-CNN")
    for name, array in load_file(path).items():
        assert np.array_equal(array, arrays_of(pool)[name])
    assert read_header(path) == PoolHeader(("cät", "dog"), "Mask R-CNN")
    write_arrays(tmp_path / "theirs", arrays_of(pool))
    same(load_pool(tmp_path / "theirs"), pool)
    assert read_header(tmp_path / "theirs") == PoolHeader()


def test_each_array_begins_at_a_multiple_of_its_item_size(tmp_path):
    path = tmp_path / "pool.safetensors"
    with PoolWriter(path, model="x") as writer:
        writer.append(make_pool(1, (3,), width=3))
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    sizes = {"F16": 2, "F32": 4, "I64": 8}
    header.pop("__metadata__")
    assert set(header) == set(ARRAYS)
    for entry in header.values():
        assert (8 + length + entry["data_offsets"][0]) % sizes[entry["dtype"]] == 0


def test_large_arrays_are_maps_of_the_file_that_cannot_be_written_to(tmp_path):
    path = tmp_path / "pool.safetensors"
    save_pool(path, pool := make_pool())
    back = load_pool(path)
    for array in (back.instances.embeddings, back.instances.class_probs, back.image_embeddings):
        assert isinstance(array, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    rows = np.array([4, 0, 2])
    assert np.array_equal(take(back.instances.embeddings, rows), pool.instances.embeddings[rows])
    assert not isinstance(back.instances.boxes, np.memmap)


def test_a_pool_whose_file_was_replaced_says_so(tmp_path):
    path, rows = tmp_path / "pool.safetensors", np.array([1, 0])
    save_pool(path, make_pool())
    old = load_pool(path)
    save_pool(path, make_pool(seed=1))
    new = load_pool(path)
    maps = (old.instances.embeddings, old.instances.class_probs, old.image_embeddings)
    for array in maps:
        with pytest.raises(DataError, match=r"pool\.safetensors: .*it was replaced; load the pool"):
            take(array, rows)
    same(new, make_pool(seed=1))
    assert np.array_equal(take(new.image_embeddings, rows), new.image_embeddings[rows])


def test_a_file_that_is_replaced_while_it_is_loaded_is_no_mixture(tmp_path, monkeypatch):
    path, entries = tmp_path / "pool.safetensors", pool_reader._entries
    save_pool(path, make_pool())

    def slow(path):
        found = entries(path)
        save_pool(path, make_pool(seed=1))
        return found

    monkeypatch.setattr(pool_reader, "_entries", slow)
    with pytest.raises(DataError, match=r"pool\.safetensors: expected the file that was opened"):
        load_pool(path)


def test_a_link_to_another_file_does_not_change_a_pool_that_is_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second, link = Path("first"), Path("second"), Path("link")
    save_pool(first, pool := make_pool())
    save_pool(second, make_pool(seed=1))
    link.symlink_to(first)
    back = load_pool(link)
    link.unlink()
    link.symlink_to(second)
    rows = np.array([1, 0])
    assert np.array_equal(take(back.image_embeddings, rows), pool.image_embeddings[rows])


def test_harmless_dtypes_are_converted(tmp_path):
    pool = make_pool()
    arrays = arrays_of(pool)
    for name in ("image_ids", "image_index", "labels"):
        arrays[name] = arrays[name].astype(np.int32)
    arrays["sizes"] = arrays["sizes"].astype(np.uint16)
    arrays["boxes"] = arrays["boxes"].astype(np.float64)
    arrays["class_probs"] = arrays["class_probs"].astype(np.float16)
    arrays["se"] = arrays["se"].astype(np.float16)
    arrays["cm"] = arrays["cm"].astype(np.float64)
    write_arrays(tmp_path / "pool", arrays)
    back = load_pool(tmp_path / "pool")
    assert back.image_ids.dtype == back.sizes.dtype == back.instances.labels.dtype == np.int64
    assert back.instances.boxes.dtype == back.uncertainty.se.dtype == np.float32
    assert back.instances.class_probs.dtype == np.float16
    assert back.uncertainty.cm.dtype == np.float64
    assert np.array_equal(back.instances.boxes, pool.instances.boxes)
    assert np.array_equal(back.image_ids, pool.image_ids)


def test_an_npz_may_carry_label_names_and_text(tmp_path):
    np.savez(
        tmp_path / "pool.npz", **arrays_of(make_pool()), label_names=["a", "b"], model="some model"
    )
    assert read_header(tmp_path / "pool.npz") == PoolHeader(("a", "b"), "some model")
    assert PoolHeader(("a", "b")).name(2) == "b" and PoolHeader().name(2) == "2"


# --- every fault has a clear error that names the file -----------------------------------------


def change(name, edit):
    def changed(arrays):
        arrays[name] = edit(arrays[name].copy())

    return changed


def put(value, *place):
    def edit(array):
        array[place] = value
        return array

    return edit


FAULTS = {
    "missing array": (lambda a: a.pop("boxes"), "missing: boxes"),
    "wrong number of axes": (change("scores", lambda a: a[:, None]), r"scores: .*\[N\].*\[5, 1\]"),
    "wrong width": (change("boxes", lambda a: a[:, :3]), r"boxes: .*\[N, 4\].*\[5, 3\]"),
    "embeddings of another length": (
        change("embeddings", lambda a: a[:4]), r"embeddings: .*N = 5 as in image_index.*\[4, 4\]"),
    "image embeddings of another length": (
        change("image_embeddings", lambda a: a[:2]), r"image_embeddings: .*I = 3 as in image_ids"),
    "a measure of another length": (change("se", lambda a: a[:4]), "se: .*N = 5"),
    "no label": (change("class_probs", lambda a: np.ones((5, 1), a.dtype)), "K\\+1 >= 2"),
    "float ids": (
        change("image_ids", lambda a: a.astype(np.float32)),
        "image_ids: expected dtype int64 or .*got float32"),
    "integer scores": (
        change("scores", lambda a: a.astype(np.int32)), "scores: .*float32.*got int32"),
    "wide embeddings": (
        change("embeddings", lambda a: a.astype(np.float64)),
        "embeddings: expected dtype float32 or float16, got float64"),
    "NaN in embeddings": (
        change("embeddings", put(np.nan, 3, 1)), r"embeddings: .*NaN .* at index \[3, 1\]"),
    "infinity in image embeddings": (
        change("image_embeddings", put(np.inf, 2, 0)), r"image_embeddings: .*index \[2, 0\]"),
    "NaN in class_probs": (
        change("class_probs", put(np.nan, 1, 2)), r"class_probs: .*NaN .* \[1, 2\]"),
    "NaN in boxes": (change("boxes", put(np.nan, 4, 3)), r"boxes: .*index \[4, 3\]"),
    "NaN in a measure": (change("ce", put(np.nan, 2)), r"ce: .*index \[2\]"),
    "NaN in areas": (change("mask_areas", put(np.nan, 0)), r"mask_areas: .*index \[0\]"),
    "logits": (change("class_probs", lambda a: a * 9 - 4), "class_probs: .*softmax"),
    "rows that do not sum to 1": (
        change("class_probs", put(0.0, 3)), "class_probs: .*sum 0 at row 3"),
    "label 0": (change("labels", put(0, 2)), r"labels: expected 1\.\.2 .*got 0 at 2"),
    "label beyond class_probs": (change("labels", put(3, 2)), r"labels: expected 1\.\.2 .*got 3"),
    "image_index out of range": (change("image_index", put(3, 4)), r"image_index: expected 0\.\.2"),
    "negative image_index": (change("image_index", put(-1, 0)), r"image_index: expected 0\.\.2"),
    "duplicate image ids": (change("image_ids", put(10, 2)), "image_ids: .*duplicates"),
    "ids beyond int64": (
        change("image_ids", lambda a: a.astype(np.uint64) + np.uint64(2**63)),
        "image_ids: .*int64"),
    "boxes beyond float32": (
        change("boxes", lambda a: a.astype(np.float64) + 1e300), "boxes: .*float32.*index"),
}  # fmt: skip


@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_with_the_file_and_the_array(tmp_path, fault, suffix):
    spoil, message = FAULTS[fault]
    arrays, path = arrays_of(make_pool()), tmp_path / f"spoilt.{suffix}"
    spoil(arrays)
    if suffix == "npz":
        np.savez(path, **arrays)
    else:
        write_arrays(path, arrays)
    with pytest.raises(DataError, match=rf"(?s)spoilt\.{suffix}: .*{message}"):
        load_pool(path)


METADATA_FAULTS = [
    (None, "format 'taudis-pool', got None"),
    ({"format": "pt"}, "got 'pt'"),
    ({"format": "taudis-pool"}, "format_version 1"),
    ({**METADATA, "format_version": "one"}, "format_version 1"),
    ({**METADATA, "format_version": "2"}, "1 or older, got 2; a newer taudis"),
    ({**METADATA, "label_names": "cat,dog"}, "label_names as JSON"),
    ({**METADATA, "label_names": '{"cat": 1}'}, "label_names as JSON"),
    ({**METADATA, "label_names": '["cat", "cat"]'}, "different label_names"),
    ({**METADATA, "label_names": '["cat"]'}, "expected 2 columns.*cat.*got 3"),
    ({**METADATA, "label_names": '["a", "b", "c"]'}, "expected 4 columns"),
]


@pytest.mark.parametrize(("metadata", "message"), METADATA_FAULTS)
def test_a_faulty_header_is_told(tmp_path, metadata, message):
    write_arrays(tmp_path / "odd", arrays_of(make_pool()), metadata)
    with pytest.raises(DataError, match=f"odd: .*{message}"):
        load_pool(tmp_path / "odd")


def test_a_dtype_that_numpy_lacks_is_named(tmp_path):
    path = tmp_path / "odd"
    write_arrays(path, arrays_of(make_pool(dtype=np.float16)))
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    longer = content[8:].replace(b'"F16"', b'"BF16"', 1)
    path.write_bytes((length + 1).to_bytes(8, "little") + longer)
    with pytest.raises(DataError, match=r"odd: .*float16, got BF16"):
        load_pool(path)


@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_a_file_cut_anywhere_is_told(tmp_path, suffix):
    path = tmp_path / f"cut.{suffix}"
    if suffix == "npz":
        np.savez(path, **arrays_of(make_pool()))
    else:
        save_pool(path, make_pool())
    content = path.read_bytes()
    places = {0, 1, 4, 8, 9, 40, len(content) - 1, *range(0, len(content), len(content) // 23)}
    for place in sorted(places):
        path.write_bytes(content[:place])
        with pytest.raises(DataError, match=rf"cut\.{suffix}: "):
            load_pool(path)
    path.write_bytes(content)
    load_pool(path)


def test_a_cut_says_how_much_is_missing(tmp_path):
    path = tmp_path / "pool.safetensors"
    save_pool(path, make_pool())
    content = path.read_bytes()
    for piece, message in [
        (content[:-5], f"expected {len(content)} bytes, got {len(content) - 5}: the file is cut"),
        (content + b"x", f"got {len(content) + 1}: the file is longer"),
        (content[:100], "cut in its header"),
    ]:
        path.write_bytes(piece)
        with pytest.raises(DataError, match=message):
            load_pool(path)


def test_other_files_are_told_apart(tmp_path):
    path = tmp_path / "file"
    for content, message in [
        (b"some text that is no pool at all", "another kind of file"),
        (b"PK\x03\x04 nearly a zip", "npz of plain arrays"),
        (b"\x10\0\0\0\0\0\0\0{not json at all}", "header is damaged"),
        (b'\x06\0\0\0\0\0\0\0{"a":1', "header is damaged"),
        (b'\x08\0\0\0\0\0\0\0{"a":{}}', "header"),
    ]:
        path.write_bytes(content)
        for read in (load_pool, read_header):
            with pytest.raises(DataError, match=f"file: .*{message}"):
                read(path)
    with pytest.raises(DataError, match=r"none: .*found none"):
        load_pool(tmp_path / "none")
    with pytest.raises(DataError, match=tmp_path.name):
        load_pool(tmp_path)


def test_objects_in_an_npz_are_never_unpickled(tmp_path):
    arrays = arrays_of(make_pool()) | {"labels": np.array([print] * 5, object)}
    np.savez(tmp_path / "evil.npz", **arrays)
    with pytest.raises(DataError, match=r"evil\.npz: .*plain arrays"):
        load_pool(tmp_path / "evil.npz")


# --- the writer --------------------------------------------------------------------------------


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


# --- memory --------------------------------------------------------------------------------------

MEASURE = """
import sys
from pathlib import Path
import numpy as np
from taudis.data.pool_writer import PoolWriter
from taudis.data.pool_reader import load_pool
from taudis.memmap import blocks

def peak():
    # not getrusage: its ru_maxrss goes on from that of the process that started this one
    status = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))

before, path = peak(), Path(sys.argv[1])
{work}
print(peak() - before)
"""
LOAD = """
pool = load_pool(path)
assert not any(rows.any() for _, rows in blocks(pool.instances.embeddings))
"""
COPY = """
pool = load_pool(path)
with PoolWriter(path.with_name("copy.safetensors")) as writer:
    writer.append(pool)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A file of over 200 MB: 200,000 instances with embeddings of 512 zeros, written in blocks."""
    path, n = tmp_path_factory.mktemp("large") / "pool.safetensors", 20_000
    small = make_pool(1, (1,), width=512)
    with PoolWriter(path) as writer:
        for block in range(10):
            ids, rows = np.array([block]), small.instances.filter(np.zeros(n, int))
            light = replace(rows, embeddings=np.zeros((n, 512), np.float16))
            measures = Uncertainty(*[np.zeros(n, np.float32)] * 3)
            writer.append(
                replace(
                    small, image_ids=ids, instances=light, uncertainty=measures,
                    mask_areas=np.ones(n, np.float32),
                )
            )  # fmt: skip
    yield path
    path.unlink()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("work", [LOAD, COPY], ids=["load", "copy"])
def test_a_large_file_is_read_and_written_in_bounded_memory(large, work):
    done = subprocess.run(
        [sys.executable, "-c", MEASURE.format(work=work), str(large)],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert large.stat().st_size > 200e6
    # 200,000 instances with 52 bytes each in memory, and a few blocks of 16 MB
    assert int(done.stdout) < 120e6, done.stdout


# --- docs/pools.md -----------------------------------------------------------------------------


def test_the_documentation_names_every_array_and_its_examples_run(tmp_path):
    page = (ROOT / "docs" / "pools.md").read_text(encoding="utf-8")
    for name, array in ARRAYS.items():
        shape = "[" + ", ".join(map(str, array.axes)) + "]"
        assert f"| `{name}` | {shape} |" in page
    path = tmp_path / "pool.safetensors"
    names = {"np": np, "rng": np.random.default_rng(0), "path": path, "arrays": None}
    first, second = (part.split("```")[0] for part in page.split("```python\n")[1:])
    exec(first, names)
    pool = load_pool(path)
    assert len(pool) == 3000 and len(pool.instances) == 6000
    names["arrays"] = {name: np.asarray(a) for name, a in arrays_of(pool).items()}
    exec(second, names)
    same(load_pool(path), pool)
