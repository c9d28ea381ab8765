"""What the rows of a run share: one recipe, kept with the folder; other commands are refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from taudis.data.statistics import LabelStatistics
from taudis.errors import DataError
from taudis.selection.params import SelectionParams
from taudis.simulation.claims import Lock
from taudis.simulation.grid import (
    Asked,
    Grid,
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
from tests.taudis.simulation.simulation_cases import RECIPE, grid

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
