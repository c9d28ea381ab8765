"""Hyper-parameters: described once, checked by type and range, read from presets and JSON files."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taudis.errors import SelectionError
from taudis.selection.params import (
    PARAMETERS,
    PRESETS,
    Measure,
    SelectionParams,
    parameters_table,
    read_params,
)

ROOT = Path(__file__).resolve().parents[3]
NUMBERS = [each for each in PARAMETERS if not each.choices and each.kind is not bool]
# A value of each hyper-parameter that is not its default, and that goes with the others.
CHANGED = {
    "uncertainty": "cm", "alpha": 9.0, "beta": 4.0, "sigma": 0.7, "sigma_rule": "flat",
    "weighting": "score", "least_score": 0.3, "alpha_rule": "detections",
    "candidates_per_image": 2, "balanced": True, "remainder": "none", "centre": True,
    "standardise": True, "look_cost": 0.5, "vote": "uncertainty", "alpha_img": 5.0,
    "sketch": "guaranteed", "epsilon": 0.3, "edge_bytes": 7_000_000,
}  # fmt: skip


# --- the list of hyper-parameters -----------------------------------------------------------------


def test_every_field_is_described():
    assert [each.name for each in PARAMETERS] == [
        f.name for f in dataclasses.fields(SelectionParams)
    ]
    usual = SelectionParams()
    for each in PARAMETERS:
        assert each.default == getattr(usual, each.name)
        assert each.meaning.text.endswith(".")
        assert each.name not in CHANGED or CHANGED[each.name] != each.default
    assert set(CHANGED) == {each.name for each in PARAMETERS}
    (measure,) = (each for each in PARAMETERS if each.name == "uncertainty")
    assert measure.choices == get_args(Measure)


def test_the_page_holds_the_table_of_the_code():
    page = (ROOT / "docs" / "strategies.md").read_text()
    held = page.split("<!-- parameters:", 1)[1].split("-->", 1)[1]
    held = held.split("<!-- /parameters -->", 1)[0].strip()
    assert held == parameters_table(), (
        "run `.venv/bin/python -m taudis parameters` and paste it between the parameters comments"
        " of docs/strategies.md"
    )


def test_the_table_has_a_row_for_each():
    head, rule, *rows = parameters_table().splitlines()
    assert [row.split("`")[1] for row in rows] == [each.name for each in PARAMETERS]
    assert {line.count("|") for line in (head, rule, *rows)} == {6}


# --- values -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(each.name, value) for each in NUMBERS for value in ("1", True, [2], math.nan, math.inf)],
        *[(each.name, 10**309) for each in NUMBERS],
        *[(each.name, value) for each in PARAMETERS if each.kind is bool for value in (1, "yes")],
        *[(each.name, value) for each in PARAMETERS if each.choices for value in (None, 0, "", [])],
        *[(each.name, None) for each in NUMBERS if not each.optional],
        ("alpha", 1), ("beta", 1.0), ("sigma", 0), ("sigma", 1), ("sigma", -0.5), ("epsilon", 0.0),
        ("epsilon", 1), ("least_score", -0.1), ("least_score", 1), ("candidates_per_image", 0),
        ("candidates_per_image", 1.5), ("alpha_img", 0.99),
        ("edge_bytes", 999_999), ("edge_bytes", 1e9), ("look_cost", 0),
    ],
)  # fmt: skip
def test_a_wrong_type_or_range_is_refused_with_what_was_expected(name, value):
    (parameter,) = (each for each in PARAMETERS if each.name == name)
    with pytest.raises(SelectionError) as caught:
        SelectionParams(**{name: value})
    assert str(caught.value) == f"{name}: expected {parameter.expected}, got {value!r}."


@pytest.mark.parametrize(
    "values",
    [
        {"alpha": 2, "beta": 1.0000001}, {"alpha": None, "beta": 3}, {"sigma": 1e-9},
        {"sigma": np.float32(0.5)}, {"alpha_img": 1}, {"alpha_img": np.int64(2)},
        {"edge_bytes": 1_000_000}, {"edge_bytes": np.int64(5_000_000)}, {"centre": np.True_},
    ],
)  # fmt: skip
def test_the_ends_of_the_ranges_and_numpys_numbers_are_taken(values):
    made = SelectionParams(**values)
    assert all(getattr(made, name) == value for name, value in values.items())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("uncertainty", "one of se, ce, cm"),
        ("alpha", "a number above 1 or None"),
        ("sigma", "a number with 0 < sigma < 1"),
        ("least_score", "a number with 0 <= least_score < 1"),
        ("candidates_per_image", "a whole number of 1 or more or None"),
        ("centre", "true or false"),
        ("alpha_img", "a number of 1 or more"),
        ("edge_bytes", "a whole number of 1,000,000 or more"),
    ],
)
def test_what_is_expected_in_words(name, expected):
    (parameter,) = (each for each in PARAMETERS if each.name == name)
    assert parameter.expected == expected


# --- presets and files ------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "selection.json"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def test_presets_by_name():
    assert PRESETS.keys() == {"default", "paper"}
    assert read_params("default") == SelectionParams()
    assert read_params("paper") == SelectionParams.paper()


@pytest.mark.slow
@given(names=st.sets(st.sampled_from(sorted(CHANGED))))
def test_a_file_changes_what_it_names_and_nothing_else(tmp_path_factory, names):
    given_ = {name: CHANGED[name] for name in names}
    path = tmp_path_factory.mktemp("params") / "selection.json"
    path.write_text(json.dumps(given_))
    if names & {"alpha", "beta"} == {"beta"}:
        given_["alpha"] = None
    assert read_params(str(path)) == SelectionParams(**given_)


def test_all_values_make_the_round_trip(file):
    for params in (SelectionParams(), SelectionParams.paper("coco"), SelectionParams(**CHANGED)):
        assert read_params(file(json.dumps(dataclasses.asdict(params)))) == params


def test_whole_numbers_null_and_a_byte_order_mark_are_taken(file):
    made = read_params(file(b'\xef\xbb\xbf{"alpha": 20, "beta": null, "alpha_img": 2}'))
    assert (made.alpha, made.beta, made.alpha_img) == (20, None, 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"sgima": 0.9, "x": 1}',
            "expected keys among uncertainty, weighting, .*, got 'sgima', 'x'",
        ),
        ('{"ALPHA": 9}', "got 'ALPHA'"),
        ('{"sigma": "0.9"}', "sigma: expected a number with 0 < sigma < 1, got '0.9'"),
        ('{"sigma": 2}', "sigma: expected a number with 0 < sigma < 1, got 2"),
        ('{"sigma": NaN}', "sigma: expected .*, got nan"),
        ('{"centre": 1}', "centre: expected true or false, got 1"),
        ('{"alpha": 3, "beta": 4}', "expected alpha > beta > 1, got 3 and 4"),
        ('{"alpha": 3, "alpha": 4}', "expected each key once, got 'alpha' again"),
        ('{"sigma": 0.9', "expected a JSON object .*, got no JSON: .*line 1 column"),
        ("", "got no JSON"),
        (b"\xff\xfe{", "got no JSON"),
        ("[0.9]", "expected a JSON object .*, got list"),
        ("null", "got NoneType"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(file, content, message):
    path = file(content)
    with pytest.raises(SelectionError, match=message) as caught:
        read_params(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("name", ["nowhere.json", "Paper", ".", ""])
def test_neither_preset_nor_file(name):
    expected = "expected default, paper or the path of a JSON file"
    with pytest.raises(SelectionError, match=expected):
        read_params(name)
