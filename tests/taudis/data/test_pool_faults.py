"""Every fault of a pool file has an error that names the file and the array."""

from __future__ import annotations

import numpy as np
import pytest

from taudis.data.pool_reader import load_pool, read_header, save_pool
from taudis.errors import DataError
from tests.taudis.data.pool_cases import METADATA, arrays_of, make_pool, write_arrays


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
