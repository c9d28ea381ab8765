"""A pool file is read as it was written, from any writer; documentation and examples are right."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from taudis.data import pool_reader
from taudis.data.pool_format import ARRAYS, PoolHeader
from taudis.data.pool_reader import load_pool, read_header, save_pool
from taudis.data.pool_writer import PoolWriter
from taudis.errors import DataError
from taudis.memmap import take
from tests.taudis.data.pool_cases import arrays_of, make_pool, same, write_arrays

ROOT = Path(__file__).resolve().parents[3]


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


def test_the_documentation_names_every_array_and_its_examples_run(tmp_path, monkeypatch):
    page = (ROOT / "docs" / "pools.md").read_text(encoding="utf-8")
    for name, array in ARRAYS.items():
        shape = "[" + ", ".join(map(str, array.axes)) + "]"
        assert f"| `{name}` | {shape} |" in page
    monkeypatch.chdir(tmp_path)
    path, names = tmp_path / "pool.safetensors", {"arrays": None}
    first, second = (part.split("```")[0] for part in page.split("```python\n")[1:])
    exec(first, names)
    pool = load_pool(path)
    assert len(pool) == 3000 and len(pool.instances) == 6000
    names["arrays"] = {name: np.asarray(a) for name, a in arrays_of(pool).items()}
    exec(second, names)
    same(load_pool(path), pool)
