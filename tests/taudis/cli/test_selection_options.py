"""The options of `select` and `why` that set hyper-parameters."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import get_args

import pytest
from typer.main import get_command

from taudis.__main__ import app
from taudis.cli import select as command
from taudis.cli import selection_options
from taudis.cli.selection_options import params_of
from taudis.errors import SelectionError
from taudis.selection.params import PARAMETERS, SelectionParams, Sketch
from taudis.selection.strategies import query
from tests.taudis.cli.cli_cases import MEAN, call, run

OPTIONS = [
    (("--uncertainty", "cm"), {"uncertainty": "cm"}),
    (("--alpha", 9, "--beta", 3), {"alpha": 9.0, "beta": 3.0}),
    (("--sigma", 0.9, "--sigma-rule", "flat"), {"sigma": 0.9, "sigma_rule": "flat"}),
    (("--remainder", "none"), {"remainder": "none"}),
    (("--standardise",), {"standardise": True}),
    (("--centre",), {"centre": True}),
    (("--no-centre",), {"centre": False}),
    (("--sketch", "never", "--edge-mb", 7), {"sketch": "never", "edge_bytes": 7_000_000}),
    (("--sketch", "guaranteed", "--epsilon", 0.3), {"sketch": "guaranteed", "epsilon": 0.3}),
    (("--alpha-img", 5), {"alpha_img": 5.0}),
    (("--candidates-per-image", 2, "--balanced"), {"candidates_per_image": 2, "balanced": True}),
    (("--alpha-rule", "detections"), {"alpha_rule": "detections"}),
    (("--weighting", "score", "--least-score", 0.3), {"weighting": "score", "least_score": 0.3}),
]


@pytest.mark.parametrize(("options", "changed"), OPTIONS)
@pytest.mark.parametrize("paper", [False, True])
def test_options_reach_the_strategy(file, pool, monkeypatch, options, changed, paper):
    seen = {}

    def remember(name, scored, **received):
        seen.update(received, name=name)
        return query(name, scored, **received)

    monkeypatch.setattr(command, "query", remember)
    preset = ["--paper"] if paper else []
    call("select", file, 4, "--mean-instances", MEAN, "--seed", 5, *preset, *options)
    base = SelectionParams.paper() if paper else SelectionParams()
    assert seen["params"] == replace(base, **changed)
    assert (seen["name"], seen["budget"], seen["seed"]) == ("taudis", 4, 5)
    assert seen["labelled"].mean_instances == MEAN
    assert callable(seen["progress"])


GIVEN = {
    "select": ("pool", "4"),
    "why": ("model", "coco.json", "images", "pool", "4", "--out", "why.png"),
}
# A value of each hyper-parameter that is not its default, as an option and as a field has it.
VALUES = {
    "uncertainty": "cm", "weighting": "score", "least_score": 0.3, "alpha": 9.0, "beta": 3.0,
    "alpha_rule": "detections", "candidates_per_image": 2, "balanced": True, "look_cost": 0.5,
    "vote": "uncertainty", "sigma": 0.9, "sigma_rule": "flat", "remainder": "none", "centre": True,
    "standardise": True, "alpha_img": 5.0,
    "sketch": "guaranteed", "epsilon": 0.3, "edge_bytes": 7_000_000,
}  # fmt: skip


@pytest.mark.parametrize("name", GIVEN)
def test_every_parameter_of_the_selection_has_an_option_that_is_passed_on(name, monkeypatch):
    """A new field of SelectionParams without an option, or one that is dropped, fails here."""
    assert {field.name for field in fields(SelectionParams)} == set(VALUES)
    options = []
    for parameter, value in VALUES.items():
        option = "--edge-mb" if parameter == "edge_bytes" else "--" + parameter.replace("_", "-")
        text = 7 if parameter == "edge_bytes" else value
        options += [option] if value is True else [option, str(text)]
    received = []

    def remember(paper, given):
        received.append(params_of(paper, given))
        raise SelectionError("far enough")

    monkeypatch.setattr(selection_options, "params_of", remember)
    done = run(name, *GIVEN[name], *options)
    assert str(done.exception) == "far enough", done.output
    assert received == [SelectionParams(**VALUES)]


@pytest.mark.parametrize("name", GIVEN)
def test_the_help_has_the_meaning_and_default_of_every_parameter(name):
    options = {option.name: option for option in get_command(app).commands[name].params}
    assert options["edge_bytes"].opts == ["--edge-mb"]
    assert "In units of 1,000,000; default: 1,000." in options["edge_bytes"].help
    assert options["centre"].secondary_opts == ["--no-centre"]
    assert "Default: 2.5 times the mean number" in options["alpha"].help
    for each in PARAMETERS:
        assert options[each.name].opts == [f"--{each.option}"]
        assert options[each.name].help.startswith(each.meaning.text.split("None:")[0])
        assert options[each.name].default is None
        if each.choices:
            assert options[each.name].help.endswith(f"Default: {each.default}.")


def test_what_is_not_given_is_left_as_it_is():
    nothing = dict.fromkeys(VALUES)
    assert params_of(False, nothing) == SelectionParams()
    assert params_of(True, nothing) == SelectionParams.paper()
    changed = params_of(True, nothing | {"edge_bytes": 3, "centre": False, "sigma": 0.5})
    assert changed == replace(SelectionParams.paper(), edge_bytes=3_000_000, sigma=0.5)


def test_the_help_tells_every_sketch_and_what_the_threads_are_for():
    (option,) = (one for one in get_command(app).commands["select"].params if one.name == "sketch")
    assert all(name in option.help for name in get_args(Sketch))
    (option,) = (one for one in get_command(app).params if one.name == "threads")
    assert "of the model" in option.help and "OMP_NUM_THREADS" in option.help
