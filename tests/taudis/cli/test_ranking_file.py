"""A ranking as CSV and JSON, and the file of image ids that `select` ranks alone."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest

from taudis.cli.ranking_file import plain, ranked_document, read_image_ids, rows_of, write_ranked
from taudis.data.pool_format import PoolHeader
from taudis.data.pool_reader import save_pool
from taudis.errors import DataError
from taudis.selection.params import Labelled, SelectionParams
from taudis.types import Selection
from tests.taudis.cli.cli_cases import MEAN, asked, call

# --- files --------------------------------------------------------------------------------------


def test_csv_has_a_line_for_each_image(tmp_path, file, pool):
    out = tmp_path / "ranked.csv"
    said = call("select", file, 4, "--out", out, "--mean-instances", MEAN)
    wanted = asked(pool, labelled=Labelled(MEAN))
    assert said == {
        "ranked": str(out), "strategy": "taudis", "images": 30, "budget": 4,
        "warnings": list(wanted.warnings),
    }  # fmt: skip
    with out.open(newline="", encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    assert list(rows[0]) == ["rank", "image_id", "utility", "votes", "reason"]
    assert [int(row["rank"]) for row in rows] == list(range(1, 31))
    assert [int(row["image_id"]) for row in rows] == pool.image_ids[wanted.order].tolist()
    assert [row["reason"] for row in rows] == list(wanted.reasons)
    assert [float(row["votes"]) for row in rows] == wanted.votes[wanted.order].tolist()
    assert sorted(left.name for left in tmp_path.iterdir()) == ["pool.safetensors", "ranked.csv"]


def test_json_has_everything(tmp_path, file, pool):
    out = tmp_path / "ranked.json"
    call("select", file, 4, "--out", out, "--mean-instances", MEAN, "--seed", 2)
    found = json.loads(out.read_text(encoding="utf-8"))
    wanted = asked(pool, labelled=Labelled(MEAN), seed=2)
    assert found["strategy"] == "taudis" and found["budget"] == 4 and found["seed"] == 2
    assert found["parameters"]["sigma"] == 0.8 and found["model"] == "a model"
    assert found["diagnostics"]["instances"] == 150
    assert [row["image_id"] for row in found["images"]] == pool.image_ids[wanted.order].tolist()
    assert len(found["chosen"]) == len(wanted.chosen) > 4
    instances = pool.instances
    for reported, row, gain, layer in zip(
        found["chosen"], wanted.chosen, wanted.gains, wanted.layers, strict=True
    ):
        assert reported["image_id"] == pool.image_ids[instances.image_index[row]]
        assert np.allclose(reported["box"], instances.boxes[row])
        assert (reported["label"], reported["score"]) == ("cell", 0.5)
        assert math.isclose(reported["uncertainty"], pool.uncertainty.se[row], rel_tol=1e-6)
        assert (reported["gain"], reported["layer"]) == (gain, layer)


def test_strategies_without_votes_leave_them_open(tmp_path, file):
    call("select", file, 4, "--strategy", "random", "--out", tmp_path / "ranked.csv")
    with (tmp_path / "ranked.csv").open(encoding="utf-8") as text:
        assert {row["votes"] for row in csv.DictReader(text)} == {""}
    call("select", file, 4, "--strategy", "random", "--out", tmp_path / "ranked.json")
    document = json.loads((tmp_path / "ranked.json").read_text())
    assert {row["votes"] for row in document["images"]} == {None} and document["chosen"] == []


def test_infinite_utilities_and_reasons_with_commas_survive(tmp_path, pool):
    small = pool.subset(np.arange(2))
    odd = 'a "quoted", reason\nof two lines'
    selection = Selection("x", np.array([1, 0]), np.array([-np.inf, 0.3]), (odd, "b"), 1)
    write_ranked(
        tmp_path / "a.csv", selection, small, PoolHeader(), SelectionParams(), seed=0
    )  # fmt: skip
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    assert rows[0]["reason"] == odd and [row["utility"] for row in rows] == ["0.3", ""]
    document = ranked_document(selection, small, PoolHeader(), SelectionParams(), seed=0)
    assert document["images"][1]["utility"] is None
    assert plain(np.float32(0.3)) == 0.3 and plain({"a": (np.int64(1), np.nan)}) == {"a": [1, None]}


def test_no_images_give_an_empty_ranking(tmp_path, pool):
    path = tmp_path / "pool.safetensors"
    save_pool(path, pool.subset(np.zeros(0, np.int64)))
    assert call("select", path, 4)["order"] == []
    call("select", path, 4, "--out", tmp_path / "ranked.csv")
    assert (tmp_path / "ranked.csv").read_text() == "rank,image_id,utility,votes,reason\n"


# --- image ids ----------------------------------------------------------------------------------


def test_image_ids_are_read_one_a_line(tmp_path, pool):
    path = tmp_path / "ids.txt"
    path.write_bytes(b"\xef\xbb\xbf3\r\n\r\n 1 \r\n3\r\n")
    assert read_image_ids(path) == [3, 1]
    assert rows_of(pool, [3, 1]).tolist() == [3, 1]
    for content, message in [
        (b"1\n2.5\n", r"ids\.txt, line 2: .*'2\.5'"),
        (b"\n", "got none"),
        (b"\xff\xfe1", "text file"),
    ]:
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_image_ids(path)
    with pytest.raises(DataError, match=r"none\.txt"):
        read_image_ids(tmp_path / "none.txt")
    with pytest.raises(DataError, match="got 2 that it lacks: 77, 99"):
        rows_of(pool, [77, 1, 99])
