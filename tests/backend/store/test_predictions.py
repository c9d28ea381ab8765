"""Prediction files: what is written is read, whole or not at all, and nowhere else."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import StoreError
from backend.store import predictions
from backend.store.predictions import Prediction


def rows(count):
    return [
        Prediction(10 * r, r, r / count, f"reason {r}", [{"id": str(r)}])
        for r in range(1, count + 1)
    ]


def test_round_trip_and_order(tmp_path):
    path = predictions.path_of(tmp_path, 7, "taudis-0001-a")
    assert predictions.write(path, reversed(rows(5))) == 5
    assert list(predictions.in_order(path)) == rows(5)
    assert predictions.read(path, [30, 99, 10]) == {30: rows(5)[2], 10: rows(5)[0]}
    assert predictions.ranks(path) == {10: 1, 20: 2, 30: 3, 40: 4, 50: 5}


def test_writing_again_replaces_and_a_failure_keeps_the_old(tmp_path):
    path = predictions.path_of(tmp_path, 7, "v")
    predictions.write(path, rows(2))
    predictions.write(path, rows(3))

    def broken():
        yield from rows(4)
        raise RuntimeError("killed here")

    with pytest.raises(RuntimeError):
        predictions.write(path, broken())
    assert len(predictions.ranks(path)) == 3


def test_one_at_a_time_and_regions_read_when_asked_for(tmp_path):
    path = predictions.path_of(tmp_path, 7, "v")
    with predictions.writing(path) as add:
        for row in rows(3):
            add(row)
            assert not path.exists()
    stored = predictions.StoredRegions(path)
    assert dict(stored) == {10: [{"id": "1"}], 20: [{"id": "2"}], 30: [{"id": "3"}]}
    assert len(stored) == 3 and stored.get(40, []) == [] and 10 in stored
    with pytest.raises(RuntimeError), predictions.writing(path) as add:
        add(rows(1)[0])
        raise RuntimeError("killed here")
    assert len(predictions.ranks(path)) == 3


def test_a_file_that_is_gone_is_named(tmp_path):
    with pytest.raises(StoreError, match="pruned, or never published"):
        predictions.read(predictions.path_of(tmp_path, 7, "v"), [1])


@pytest.mark.parametrize(
    "version",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        "/etc/passwd",
        ".hidden",
        "a\x00",
        "a\n",
        "é",
        "x" * 101,
        "-x",
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path, version):
    with pytest.raises(StoreError, match="Not a model version"):
        predictions.path_of(tmp_path, 7, version)


@given(st.text(max_size=40))
def test_no_name_leads_outside(name):
    folder = Path("/data")
    try:
        path = predictions.path_of(folder, 7, name)
    except StoreError:
        return
    assert path.parent == folder / "predictions" / "7"


regions = st.lists(
    st.dictionaries(st.text(max_size=5), st.one_of(st.integers(), st.text(max_size=9)), max_size=4)
)


@given(regions)
def test_regions_survive_packing(value):
    assert predictions.unpack(predictions.pack(value)) == value
