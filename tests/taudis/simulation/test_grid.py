"""What the rows of a run share: one recipe, kept with the folder; other commands are refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from taudis.data.statistics import LabelStatistics
from taudis.detector.mask2former_config import Mask2FormerConfig
from taudis.detector.registry import architecture_of
from taudis.errors import DataError
from taudis.selection.params import SelectionParams
from taudis.simulation.claims import Lock
from taudis.simulation.grid import (
    Asked,
    Grid,
    check_embeddings,
    join,
    read_grid,
    recipe_of_grid,
    weights_sha256,
)
from taudis.simulation.jobs import Job
from taudis.simulation.make_row import source_hash
from taudis.simulation.presets import read_presets
from taudis.simulation.row_log import RowLog
from taudis.simulation.run import check_rows
from taudis.training.recipes import choose
from tests.taudis.detector_cases import TINY, TINY_QUERIES, detector, mask2former
from tests.taudis.simulation.simulation_cases import RECIPE, grid

RESULTS = Path(__file__).resolve().parents[3] / "docs" / "results" / "rows"
FOUND = LabelStatistics(
    images=300, mean_instances=4.0, densest=90, object_share=0.1, image_side=256.0
)


def recipe(name="cpu", *, largest=64, steps=None, weights="none", device="cpu"):
    return recipe_of_grid(name, FOUND, largest=largest, steps=steps, weights=weights, device=device)


def test_the_recipe_is_the_products_for_the_largest_labelled_set():
    product = choose("cpu", replace(FOUND, images=64), gpu=False, weights="none")
    assert recipe() == replace(product, evaluate_every=0, precision=recipe().precision)
    assert recipe().precision in ("bf16", "fp32")
    assert recipe().steps != recipe(largest=20).steps and recipe(steps=7).steps == 7
    assert recipe().model.detections_per_image > 90
    with pytest.raises(DataError, match="--steps: expected 1 or more, got 0"):
        recipe(steps=0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_given_precision_is_that_of_every_machine(precision):
    found = recipe_of_grid(
        "cpu", FOUND, largest=64, steps=9, weights="none", device="cpu", precision=precision
    )
    assert found.precision == precision


def test_an_unknown_precision_is_refused_by_name():
    with pytest.raises(DataError, match="--precision: expected auto, fp32, bf16, got 'half'"):
        recipe_of_grid(
            "cpu", FOUND, largest=64, steps=9, weights="none", device="cpu", precision="half"
        )


def test_json_and_back():
    one = grid(recipe=replace(RECIPE, milestones=(3, 5)))
    kept = json.loads(json.dumps(one.to_dict()))
    assert Grid.from_dict(kept) == one and Grid.from_dict(kept).hash == one.hash
    with pytest.raises(DataError, match="expected the grid of a run"):
        Grid.from_dict({**kept, "recipe": {}})


@pytest.mark.parametrize(
    "change",
    [{"budget": 3}, {"split_seed": 1}, {"recipe": replace(RECIPE, lr=0.5)}, {"rounds": 4}],
)
def test_the_hash_differs_with_the_grid_and_not_with_its_name(change):
    assert grid(**change).hash != grid().hash == grid(data="other").hash


@pytest.fixture
def place(tmp_path):
    return tmp_path / "grid.json", Lock(tmp_path / "lock")


def presets(text):
    return read_presets(text, SelectionParams())


def ask(place, text, seeds=(0,), all_labels=False, **changes):
    found = presets(text)
    asked = Asked(tuple(each.name for each in found), seeds, all_labels)
    join(*place, grid(**changes), found, asked)
    return read_grid(place[0])


def test_strategies_and_seeds_are_added(place):
    first = ask(place, "random,wse")
    assert first.grid == grid() and len(list(first.jobs())) == 1 + 2 * 2
    before = place[0].read_bytes()
    ask(place, "random,wse")
    assert place[0].read_bytes() == before
    more = ask(place, "margin,random", seeds=(0, 1), all_labels=True)
    assert list(more.presets) == ["random", "wse", "margin"]
    jobs = list(more.jobs())
    assert len(jobs) == len(set(jobs)) == 2 + 2 + 2 * 2 * 2 + 2
    assert Job("round", 1, "wse", 1) not in jobs and Job("round", 0, "wse", 2) in jobs


def test_another_grid_is_refused_with_what_differs(place):
    ask(place, "random")
    before = place[0].read_bytes()
    with pytest.raises(DataError) as refused:
        ask(place, "wse", budget=9, recipe=replace(RECIPE, lr=0.5))
    message = str(refused.value)
    assert "budget: 2, 9" in message and "recipe.lr: 0.001, 0.5" in message
    assert "seed_images" not in message and place[0].read_bytes() == before


def test_another_meaning_of_a_name_is_refused(place):
    ask(place, "sure:taudis@T_F=0.3")
    with pytest.raises(
        DataError, match=r"sure: params.least_score: 0.3, 0.5; sure: params.sigma: 0.8, 0.9"
    ):
        ask(place, "sure:taudis@T_F=0.5@sigma=0.9")


def test_rows_that_were_copied_from_another_grid_are_refused(tmp_path):
    """A folder of another machine holds the rows alone, without grid.json."""
    log = RowLog(tmp_path / "rows.jsonl", Lock(tmp_path / "lock"))
    (here,), (redefined,) = presets("sure:taudis@T_F=0.3"), presets("sure:taudis@T_F=0.5")
    log.append({
        "kind": "round", "seed": 0, "strategy": "sure", "round": 1, "grid": grid().hash,
        "record": {"strategy": here.to_dict()},
    })  # fmt: skip
    check_rows(log, grid(), (here,))
    check_rows(log, grid(), presets("random"))
    with pytest.raises(
        DataError, match=r"row sure/0/1: expected a row of the grid .*another --out"
    ):
        check_rows(log, grid(budget=9), (here,))
    with pytest.raises(DataError, match=r"row sure/0/1: expected the settings of sure"):
        check_rows(log, grid(), (redefined,))


def test_the_source_of_the_package_has_a_hash():
    assert re.fullmatch(r"[0-9a-f]{16}", source_hash())


def test_a_damaged_file_is_named(place):
    place[0].write_text("{")
    with pytest.raises(DataError, match=r"grid.json: expected the grid of a run"):
        ask(place, "random")


def test_weights_by_path_are_told_apart(tmp_path):
    assert weights_sha256("imagenet") == ""
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"one")
    one = weights_sha256(str(file))
    file.write_bytes(b"two")
    assert len(one) == 64 and weights_sha256(str(file)) != one
    (tmp_path / "config.json").write_text("{}")  # a folder that transformers wrote
    of_folder = weights_sha256(str(tmp_path))
    file.write_bytes(b"three")
    assert len(of_folder) == 64 and weights_sha256(str(tmp_path)) != of_folder


def test_the_grids_of_the_results_have_the_hashes_that_they_had():
    """Rows of before belong to their runs: a field that every grid gets would end them."""
    rows = [
        json.loads(line)
        for path in sorted(RESULTS.glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()[:1]
    ]
    assert len(rows) >= 6
    for row in rows:
        assert Grid.from_dict(row["record"]["shared"]).hash == row["grid"]


def test_a_mask2former_is_an_architecture_of_a_grid():
    def of(precision="auto"):
        return recipe_of_grid(
            "cpu", FOUND, largest=64, steps=9, weights="none", device="cpu", precision=precision,
            model="mask2former",
        )  # fmt: skip

    found = of()
    assert isinstance(found.model, Mask2FormerConfig) and found.model.queries > 90
    assert (found.steps, found.precision, found.evaluate_every) == (9, "fp32", 0)
    one = grid(recipe=found)
    assert Grid.from_dict(json.loads(json.dumps(one.to_dict()))).hash == one.hash != grid().hash
    with pytest.raises(DataError, match="--precision: expected auto or fp32 for a mask2former"):
        of("bf16")


@pytest.mark.parametrize(
    ("config", "well", "wrong"),
    [
        (TINY, "taudis_box", "taudis@embedding=query"),
        (TINY_QUERIES, "taudis@embedding=query", "taudis_box"),
    ],
    ids=["mask_rcnn", "mask2former"],
)
def test_an_embedding_that_the_models_lack_is_refused_by_name(config, well, wrong):
    check_embeddings(presets(f"random,taudis,{well}"), config)
    with pytest.raises(DataError, match=f"^{wrong}: expected embedding=mask or .* for a mask"):
        check_embeddings(presets(f"random,{wrong}"), config)


@pytest.mark.parametrize("make", [detector, mask2former])
def test_the_table_of_architectures_has_the_embeddings_of_their_detectors(make):
    model = make()
    known = architecture_of(model.config).embeddings
    for embedding in ("mask", "box", "query"):
        if embedding in known:
            assert model.embedding_width(embedding) > 0
        else:
            with pytest.raises(DataError, match="embedding: expected"):
                model.embedding_width(embedding)
