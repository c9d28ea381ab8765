"""The grammar of strategies with settings."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from taudis.errors import DataError, SelectionError
from taudis.selection.params import SelectionParams
from taudis.selection.strategies import STRATEGIES
from taudis.simulation.presets import PRESETS, Preset, base_params, read_presets

USUAL = SelectionParams()


def one(text, base=USUAL):
    (found,) = read_presets(text, base)
    return found


def test_names_settings_and_named_settings():
    plain, cut, sure = read_presets("random, taudis@T_F=0.3@alpha=5,sure:wse@embedding=box", USUAL)
    assert (plain.name, plain.strategy, plain.params) == ("random", "random", USUAL)
    assert (cut.name, cut.strategy) == ("taudis@T_F=0.3@alpha=5", "taudis")
    assert cut.params == SelectionParams(least_score=0.3, alpha=5.0)
    assert one("taudis@T_F=0.3").params == one("taudis@least_score=0.3").params
    assert (sure.name, sure.strategy, sure.embedding) == ("sure", "wse", "box")


def test_values_have_the_type_of_their_parameter():
    found = one("taudis@uncertainty=ce@centre=true@alpha=none@edge_bytes=2000000@sigma=0.9").params
    assert found == SelectionParams(
        uncertainty="ce", centre=True, alpha=None, edge_bytes=2_000_000, sigma=0.9
    )


def test_a_base_holds_what_an_entry_does_not_set(tmp_path):
    file = tmp_path / "params.json"
    file.write_text('{"sigma": 0.7, "remainder": "none"}')
    for source in (str(file), "sigma=0.7,remainder=none"):
        base = base_params(source)
        assert one("taudis@sigma=0.9", base).params == SelectionParams(sigma=0.9, remainder="none")
        assert one("taudis", base).params == base
    assert base_params("paper") == SelectionParams.paper()


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_an_entry_that_can_be_changed(name):
    found, changed = one(name), one(f"{name}@sigma=0.65")
    assert found.name == name and found.strategy == PRESETS[name].split("@")[0]
    assert (found.params, found.embedding) != (USUAL, "mask") or found.strategy != "taudis"
    assert changed.params == replace(found.params, sigma=0.65)


def test_the_screening_is_every_strategy_and_every_preset_once_each_different():
    found = read_presets("screening", USUAL)
    assert [each.name for each in found] == [*STRATEGIES, *PRESETS]
    settings = [json.dumps(each.to_dict(), sort_keys=True) for each in found]
    assert len(set(settings)) == len(found)
    with pytest.raises(SelectionError, match="got wse twice"):
        read_presets("wse,screening", USUAL)


@pytest.mark.parametrize(
    "key", ["weighting", "least_score", "alpha_rule", "candidates_per_image", "balanced"]
)
def test_the_screening_tries_every_rule_of_the_candidates(key):
    usual = getattr(USUAL, key)
    assert any(getattr(each.params, key) != usual for each in read_presets("screening", USUAL))


def test_the_preset_of_the_paper_is_the_papers():
    assert one("taudis_paper").params == SelectionParams.paper()


def test_json_and_back():
    for preset in read_presets("taudis_box,core_set,taudis@T_F=0.25@chooser=all", USUAL):
        kept = json.loads(json.dumps(preset.to_dict()))
        assert Preset.from_dict(preset.name, kept) == preset
    with pytest.raises(DataError, match="expected the settings of a strategy"):
        Preset.from_dict("x", {"strategy": "taudis"})


def test_the_usual_model_that_chooses_is_not_written_down():
    """So the settings of rows from before this key stay equal."""
    assert "chooser" not in one("taudis").to_dict()
    assert one("upper:taudis@chooser=all").to_dict()["chooser"] == "all"


def test_a_run_of_before_has_its_threshold_beside_the_parameters():
    old = {"strategy": "wse", "params": {"sigma": 0.9}, "T_F": 0.3, "embedding": "box"}
    found = Preset.from_dict("x", old)
    assert found == Preset("x", "wse", SelectionParams(sigma=0.9, least_score=0.3), "box")
    assert "T_F" not in found.to_dict()


@pytest.mark.parametrize("name", ["random", "wse", "core_set", "taudis_img", "taudis"])
def test_only_random_reads_no_pool(name):
    assert one(name).reads_pool == (name != "random")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected different strategies, got none"),
        ("taudis,wse,taudis", "got taudis twice"),
        ("best", "strategy: expected one of"),
        ("taudis@T_F", "expected KEY=VALUE, got 'T_F'"),
        ("taudis@T_F=high", "expected a number with 0 <= least_score < 1, got 'high'"),
        ("taudis@T_F=1", "expected a number with 0 <= least_score < 1, got 1.0"),
        ("taudis@speed=2", "expected one of .*, T_F, embedding, chooser, got 'speed'"),
        ("taudis@alpha=much", "alpha: expected a number above 1 or None, got 'much'"),
        ("taudis@sigma=2", "sigma: expected a number with 0 < sigma < 1"),
        ("taudis@chooser=best", "expected chooser=round or all, got 'best'"),
        ("taudis@embedding=pixel", "expected embedding=mask, box or query, got 'pixel'"),
        ("taudis" + "@sigma=0.9" * 20, "expected a name of at most 200 bytes"),
        ("a/b:taudis", "got the name 'a/b'"),
        ("taudis_cover@sketch=guaranteed", "sketch"),
    ],
)
def test_a_wrong_entry_is_named(text, message):
    with pytest.raises(SelectionError, match=message):
        read_presets(text, USUAL)
