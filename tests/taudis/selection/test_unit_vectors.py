"""Rows of length 1, in the order asked for, from memory or from a file, in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taudis import memmap as rows_module
from taudis.errors import DataError
from taudis.memmap import blocks, identity_of, map_file, take
from taudis.selection import unit_vectors as unit_vectors_module
from taudis.selection.unit_vectors import UnitVectors, to_unit_length


@given(st.lists(st.tuples(*[st.sampled_from((0.0, 1e-25, 1e-3, 1.0, 1e20))] * 3), max_size=12))
def test_lengths_are_one_at_any_scale(values):
    raw = np.array(values, np.float32).reshape(-1, 3)
    got = to_unit_length(raw.copy())
    exact = raw.astype(np.float64)
    length = np.linalg.norm(exact, axis=1, keepdims=True)
    assert np.allclose(got, exact / np.where(length > 0, length, 1), atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("how", [{}, {"centre": True}, {"standardise": True}])
def test_nan_and_infinity_are_refused(bad, how):
    raw = np.array([[1, 0], [bad, 0]], np.float32)
    with pytest.raises(DataError, match="NaN or infinity"):
        UnitVectors.of(raw, **how)[:]


@pytest.mark.parametrize("wrong", [np.zeros((2, 3), int), np.zeros(4, np.float32), [[1.0]]])
def test_what_is_no_float_matrix_is_refused(wrong):
    with pytest.raises(DataError, match=r"float matrix \[n, D\], got"):
        UnitVectors.of(wrong)


def test_centring_and_standardising_are_the_textbook_formulas(monkeypatch):
    monkeypatch.setattr(unit_vectors_module, "BLOCK", 64)
    rng = np.random.default_rng(5)
    raw = (rng.normal(size=(200, 6)) * [1, 10, 0.1, 3, 1, 0] + 5).astype(np.float32)
    order = rng.permutation(200)[:150]
    wanted = raw[order].astype(np.float64)
    wanted -= wanted.mean(axis=0)
    everything = slice(None)
    assert np.allclose(
        UnitVectors.of(raw, order, centre=True).prepared(everything), wanted, atol=2e-5
    )
    spread = wanted.std(axis=0)
    wanted[:, :5] /= spread[:5]
    got = UnitVectors.of(raw, order, standardise=True)
    assert np.allclose(got.prepared(everything), wanted, atol=1e-3)
    assert not got.prepared(everything)[:, 5].any()  # a constant dimension says nothing
    lengths = np.linalg.norm(got.head(10)[:], axis=1)
    assert np.allclose(lengths, 1, atol=1e-6)
    assert np.array_equal(got.pick(np.array([3, 1]))[:], got[np.array([3, 1])])


@pytest.mark.parametrize("how", [{"centre": True}, {"standardise": True}])
def test_equal_rows_become_zero_not_noise(how):
    row = np.random.default_rng(0).normal(size=(1, 64)).astype(np.float32)
    equal = np.repeat(row, 1001, axis=0)
    assert not UnitVectors.of(equal, **how)[:].any()
    equal[::2] = np.nextafter(equal[::2], np.float32(np.inf))  # as another batch size rounds them
    assert not UnitVectors.of(equal, **how)[:].any()


def test_a_mapped_file_gives_the_same_rows_through_mappings_of_their_own(tmp_path, monkeypatch):
    raw = np.random.default_rng(1).normal(size=(500, 8)).astype(np.float16)
    path = tmp_path / "embeddings"
    with path.open("wb") as file:
        file.write(b"head" * 4 + raw.tobytes())
    mapped = np.memmap(path, np.float16, "r", 16, (500, 8))
    rows = np.array([7, 3, 3, 499, 0])
    assert np.array_equal(take(mapped, rows), raw[rows])
    assert np.array_equal(take(mapped, slice(10, 30)), raw[10:30])
    assert type(take(mapped, rows)) is np.ndarray
    assert np.array_equal(take(mapped[4:], rows[:3]), raw[4:][rows[:3]])  # a part of a mapping
    assert np.array_equal(UnitVectors.of(mapped, rows)[:], UnitVectors.of(raw, rows)[:])
    monkeypatch.setattr(rows_module, "WALK_BYTES", 100)
    walked = list(blocks(mapped))
    assert len(walked) > 50 and [start for start, _ in walked[:2]] == [0, 6]
    assert np.array_equal(np.concatenate([block for _, block in walked]), raw)


def test_a_map_in_fortran_order_is_read_as_it_is(tmp_path):
    raw = np.arange(30, dtype=np.float32).reshape(6, 5)
    np.save(tmp_path / "rows.npy", np.asfortranarray(raw))
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert isinstance(mapped, np.memmap) and not mapped.flags.c_contiguous
    rows = np.array([5, 0, 3])
    assert np.array_equal(take(mapped, rows), raw[rows])
    assert np.array_equal(take(mapped, slice(1, 4)), raw[1:4])


@pytest.mark.parametrize("wrong", [-1, 6, 10**9])
def test_rows_that_a_mapped_array_lacks_are_refused(tmp_path, wrong):
    np.save(tmp_path / "rows.npy", np.ones((6, 5), np.float32))
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert take(mapped, np.zeros(0, np.int64)).shape == (0, 5)
    with pytest.raises(IndexError, match=rf"rows 0\.\.5, got {wrong}"):
        take(mapped, np.array([2, wrong, 0]))


def test_a_file_that_was_replaced_is_not_read_as_the_one_before(tmp_path):
    path, other = tmp_path / "rows", tmp_path / "other"
    path.write_bytes(np.zeros((4, 2), np.float32).tobytes())
    other.write_bytes(np.ones((4, 2), np.float32).tobytes())
    kind, shape = np.dtype(np.float32), (4, 2)
    known = identity_of(path.stat())
    old = map_file(path, kind, 0, shape, known)
    assert take(old, slice(0, 4)).sum() == 0
    other.replace(path)
    new = map_file(path, kind, 0, shape, identity_of(path.stat()))  # that it is known changes none
    for rows in (slice(0, 4), np.array([1])):
        with pytest.raises(DataError, match="rows: expected the file that was opened, it was repl"):
            take(old, rows)
        assert take(new, rows).all()
    with pytest.raises(DataError, match="it was replaced; load the pool again"):
        map_file(path, kind, 0, shape, known)
    path.unlink()
    with pytest.raises(DataError, match="rows: expected the file that was opened, found none"):
        take(new, slice(0, 4))


def test_none_and_one():
    none = UnitVectors.of(np.zeros((0, 3), np.float32), centre=True, standardise=True)
    assert len(none) == 0 and none.width == 3 and none[:].shape == (0, 3)
    assert UnitVectors.of(np.full((1, 2), 3, np.float32))[:].tolist() == [
        [pytest.approx(0.5**0.5)] * 2
    ]
