"""Settings: names that users know, one message for everything that is wrong, no secret in it."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from backend.errors import SettingsError
from backend.moved_settings import MOVED
from backend.settings import (
    Settings,
    check_bind,
    is_loopback,
    load_settings,
)
from backend.settings_table import misspelt, misspelt_in_words, setting_names, settings_table
from taudis.selection.params import PARAMETERS, PRESETS, SelectionParams, Sketch, read_params
from taudis.selection.strategies import STRATEGIES

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch):
    for name in setting_names():
        monkeypatch.delenv(name, raising=False)


def test_defaults_need_nothing():
    settings = load_settings()
    assert (settings.host, settings.port, settings.has_credentials) == ("127.0.0.1", 9090, False)
    assert settings.changes_per_round == settings.budget
    check_bind(settings)


@pytest.mark.parametrize("name", ["LABEL_STUDIO_URL", "LABEL_STUDIO_HOST"])
def test_known_names(monkeypatch, name):
    monkeypatch.setenv(name, "http://studio.example:8080/")
    monkeypatch.setenv("LABEL_STUDIO_ACCESS_TOKEN", "t0ken")
    settings = load_settings()
    assert settings.label_studio_url == "http://studio.example:8080"
    assert settings.label_studio_api_key.get_secret_value() == "t0ken"
    assert "t0ken" not in repr(settings)


def test_empty_values_mean_unset(monkeypatch):
    for name in (
        "SELECTION",
        "TRAIN_AFTER",
        "SCORE_SECONDS",
        "LOCAL_FILES_ROOT",
        "LABEL_STUDIO_URL",
        *MOVED,
    ):
        monkeypatch.setenv(name, "")
    settings = load_settings()
    assert settings.train_after is settings.local_files_root is None
    assert settings.selection == "default" and settings.selection_params == SelectionParams()


def test_lists_of_hosts(monkeypatch):
    monkeypatch.setenv("ALLOWED_IMAGE_HOSTS", "A.example, b.example,")
    assert load_settings().allowed_image_hosts == ("a.example", "b.example")


def test_everything_wrong_is_named_at_once(monkeypatch):
    monkeypatch.setenv("PORT", "http")
    monkeypatch.setenv("BUDGET", "0")
    monkeypatch.setenv("LABEL_STUDIO_URL", "studio.example")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    text = str(caught.value)
    for part in ("PORT", "'http'", "BUDGET", "LABEL_STUDIO_URL", "http://"):
        assert part in text


@pytest.mark.parametrize("given", [{"basic_auth_user": "u"}, {"basic_auth_pass": "geheim"}])
def test_half_credentials_are_refused(given):
    with pytest.raises(SettingsError, match="both BASIC_AUTH_USER and BASIC_AUTH_PASS") as caught:
        load_settings(**given)
    assert "geheim" not in str(caught.value)


def test_a_key_without_the_address_it_belongs_to_is_refused():
    """Else it would be sent to whatever address connects first."""
    with pytest.raises(SettingsError, match="LABEL_STUDIO_URL"):
        load_settings(label_studio_api_key="k")


# --- the selection ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_hyper_parameters_of_a_preset(monkeypatch, name):
    monkeypatch.setenv("SELECTION", name)
    settings = load_settings()
    assert settings.selection == name
    assert settings.selection_params == read_params(name)


def test_hyper_parameters_of_a_file_from_wherever_the_children_run(monkeypatch, tmp_path):
    (tmp_path / "selection.json").write_text('{"sigma": 0.9, "edge_bytes": 3000000}')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SELECTION", "selection.json")
    settings = load_settings()
    assert settings.selection_params == SelectionParams(sigma=0.9, edge_bytes=3_000_000)
    assert settings.selection == str(tmp_path / "selection.json")
    (tmp_path / "selection.json").write_text("{}")  # a process keeps what it started with
    assert settings.selection_params.sigma == 0.9


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"sgima": 0.9}', "expected keys among .*, got 'sgima'"),
        ('{"alpha": "20"}', "alpha: expected a number above 1 or None, got '20'"),
        ('{"alpha": 1}', "alpha: expected a number above 1 or None, got 1"),
        ('{"alpha": 20, "beta": 30}', "expected alpha > beta > 1, got 20 and 30"),
        ("alpha = 20", "expected a JSON object"),
        (None, "expected default, paper or the path of a JSON file, .* No such file"),
    ],
)
def test_a_selection_that_cannot_be_used_is_refused_at_the_start(
    monkeypatch, tmp_path, content, message
):
    path = tmp_path / "selection.json"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("SELECTION", str(path))
    monkeypatch.setenv("BUDGET", "0")
    with pytest.raises(SettingsError, match=f"SELECTION: .*{message}") as caught:
        load_settings()
    assert str(path) in str(caught.value) and "BUDGET" in str(caught.value)


def sketched(tmp_path, sketch):
    """The path of a file of hyper-parameters with this sketch."""
    path = tmp_path / "selection.json"
    path.write_text(json.dumps({"sketch": sketch}))
    return path


NOT_GUARANTEED = (
    "taudis_cover", "taudis_cover_uncovered", "taudis_cover_cost", "taudis_uncovered"
)  # fmt: skip
"""Strategies for which the guaranteed sketch has no proof."""


@pytest.mark.parametrize("strategy", NOT_GUARANTEED)
def test_a_sketch_without_its_proof_is_refused_at_the_start(tmp_path, strategy):
    """Otherwise each round would fail when its strategy refuses it."""
    path = sketched(tmp_path, "guaranteed")
    expected = f"STRATEGY={strategy} with SELECTION={re.escape(str(path))}: .*got 'guaranteed'"
    with pytest.raises(SettingsError, match=expected):
        load_settings(strategy=strategy, selection=str(path))


@pytest.mark.parametrize(
    ("strategy", "sketch"),
    [
        (name, sketch)
        for name in STRATEGIES
        for sketch in get_args(Sketch)
        if sketch != "guaranteed" or name not in NOT_GUARANTEED
    ],
)
def test_every_other_pair_of_strategy_and_sketch_is_accepted(tmp_path, strategy, sketch):
    settings = load_settings(strategy=strategy, selection=str(sketched(tmp_path, sketch)))
    assert (settings.strategy, settings.selection_params.sketch) == (strategy, sketch)


# --- the bind ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "inside"),
    [("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True),
     ("0.0.0.0", False), ("::", False), ("192.168.1.2", False), ("studio.example", False),
     ("", False)],
)  # fmt: skip
def test_a_public_bind_needs_credentials(host, inside):
    assert is_loopback(host) == inside
    settings = load_settings(host=host)
    if inside:
        check_bind(settings)
    else:
        with pytest.raises(SettingsError, match="BASIC_AUTH_USER and BASIC_AUTH_PASS"):
            check_bind(settings)
    check_bind(load_settings(host=host, basic_auth_user="u", basic_auth_pass="p"))


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_query_strategy_can_be_set_and_is_on_the_page_of_the_settings_table(
    monkeypatch, name
):
    monkeypatch.setenv("STRATEGY", name)
    assert load_settings().strategy == name
    (row,) = (line for line in settings_table().splitlines() if line.startswith("| `STRATEGY` |"))
    (page,) = re.findall(r"docs/\w+\.md", row)
    assert f"| `{name}` |" in (ROOT / page).read_text()


@pytest.mark.parametrize("name", ["", "TAUDIS", "coreset"])
def test_an_unknown_query_strategy_is_refused_with_the_names_of_all(monkeypatch, name):
    monkeypatch.setenv("STRATEGY", name)
    with pytest.raises(SettingsError, match="STRATEGY: ") as caught:
        load_settings()
    assert f"expected one of {', '.join(STRATEGIES)} (got {name!r})" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "given", "line"),
    [
        ("STRATEGY", "randm", "(got 'randm'); is random meant?"),
        ("TRAIN_AFTER", "fifty", "  TRAIN_AFTER: expected a whole number (got 'fifty')"),
        ("TRAIN_AFTER", "0", "  TRAIN_AFTER: expected 1 or more (got '0')"),
        ("CONTROL_SHARE", "half", "  CONTROL_SHARE: expected a number (got 'half')"),
        ("CONTROL_SHARE", "0.7", "  CONTROL_SHARE: expected 0.5 or less (got '0.7')"),
        ("WARM_START", "perhaps", "  WARM_START: expected true or false (got 'perhaps')"),
        ("MODEL", "mask_rcn", "(got 'mask_rcn'); is mask_rcnn meant?"),
        ("LABEL_STUDIO_URL", "host:80", "  LABEL_STUDIO_URL: expected an address that starts"),
    ],
)
def test_a_value_that_cannot_be_used_is_told_in_plain_words(monkeypatch, name, given, line):
    monkeypatch.setenv(name, given)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert line in str(caught.value)
    assert "Value error" not in str(caught.value) and "Input should" not in str(caught.value)


def test_an_argument_that_is_no_setting_is_refused():
    with pytest.raises(SettingsError, match="ALPHA"):
        load_settings(alpha=20)


# --- settings of earlier versions -----------------------------------------------------------------


def test_every_variable_that_moved_names_a_hyper_parameter_and_is_no_setting():
    assert set(MOVED.values()) < {each.name for each in PARAMETERS}
    assert not set(MOVED) & {name.upper() for name in Settings.model_fields}
    assert set(MOVED) < setting_names()  # the demo keeps them from its backend


@pytest.mark.parametrize("name", MOVED)
def test_a_variable_that_moved_is_refused_at_the_start(monkeypatch, name):
    monkeypatch.setenv(name, "0.5")
    with pytest.raises(SettingsError, match=rf"(?s){name}\. Unset .* SELECTION=selection\.json"):
        load_settings()


def test_the_file_that_the_message_gives_means_what_the_variables_meant(monkeypatch, tmp_path):
    given = {"ALPHA": "20", "BETA": "7.5", "SIGMA_RULE": "flat", "CENTRE": "True",
             "STANDARDISE": "0", "EDGE_MB": "16000", "UNCERTAINTY": "cm"}  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    path = tmp_path / "selection.json"
    (content,) = re.findall(r"^  (\{.*\})$", str(caught.value), re.M)
    path.write_text(content)
    for name in given:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SELECTION", str(path))
    assert load_settings().selection_params == SelectionParams(
        alpha=20, beta=7.5, sigma_rule="flat", centre=True, uncertainty="cm",
        edge_bytes=16_000_000_000,
    )  # fmt: skip


def test_names_of_variables_that_moved_count_in_any_case_and_odd_values_are_shown(monkeypatch):
    monkeypatch.setenv("sketch", "sometimes")
    monkeypatch.setenv("Alpha", "many")
    with pytest.raises(SettingsError, match=r'"alpha": "many", "sketch": "sometimes"'):
        load_settings()


@pytest.mark.parametrize("share", ["0.51", "-0.1", "half"])
def test_more_than_half_of_the_queue_cannot_be_random(monkeypatch, share):
    monkeypatch.setenv("CONTROL_SHARE", share)
    with pytest.raises(SettingsError, match=f"CONTROL_SHARE: .*got '{share}'"):
        load_settings()


@pytest.mark.parametrize("name", ["label_studio_url", "label_studio_public_url", "backend_url"])
@pytest.mark.parametrize("value", ["http://user:hunter2@host:8080", "user:hunter2@host"])
def test_an_address_with_a_password_is_refused_and_not_repeated(name, value):
    """Addresses are displayed, in messages and on the status page."""
    with pytest.raises(SettingsError, match=name.upper()) as refused:
        load_settings(**{name: value})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "WEIGHTS=imagenet is for MODEL=mask_rcnn alone. Set WEIGHTS=none"),
        ({"WEIGHTS": "coco"}, "WEIGHTS=coco is for MODEL=mask_rcnn alone"),
        ({"WEIGHTS": "none", "RECIPE": "paper"}, "RECIPE=paper is for .*Set RECIPE=auto"),
        ({"WEIGHTS": "none", "BACKBONE": "resnet18"}, "BACKBONE=resnet18 is for .*Leave BACKBONE"),
        ({"WEIGHTS": "none", "EMBEDDING": "box"}, "EMBEDDING=box: MODEL=mask2former has no such"),
    ],
)
def test_settings_of_mask_r_cnn_are_refused_beside_mask2former(monkeypatch, given, message):
    for name, value in {"MODEL": "mask2former", **given}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=message):
        load_settings()


def test_mask2former_is_a_setting_and_its_branch_is_not_one_of_mask_r_cnn(monkeypatch):
    monkeypatch.setenv("EMBEDDING", "query")
    with pytest.raises(SettingsError, match="EMBEDDING=query: MODEL=mask_rcnn has no such branch"):
        load_settings()
    monkeypatch.setenv("MODEL", "mask2former")
    monkeypatch.setenv("WEIGHTS", "none")
    assert load_settings().model == "mask2former"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("BUGET", "BUDGET"),
        ("train_aftr", "TRAIN_AFTER"),
        ("BASIC_AUTH_PASSWORD", "BASIC_AUTH_PASS"),
        ("LABEL_STUDIO_TOKEN", None),
        ("LABEL_STUDIO_PORT", None),
        ("HOSTNAME", None),
        ("budget", None),
        ("SIGMA_RULE", None),
    ],
)
def test_a_name_that_almost_fits_is_noticed(name, meant):
    found = misspelt({name: "3", "PATH": "/bin", "HOME": "/root", "LANG": "C"})
    assert found == ({name: meant} if meant else {})
    if meant:
        assert f"{name} (is {meant} meant?)" in misspelt_in_words(found)


def test_the_table_says_the_values_of_a_setting():
    rows = {line.split("`")[1]: line.split(" | ")[2] for line in settings_table().splitlines()[2:]}
    assert rows["RECIPE"] == "`auto`, `cpu`, `small`, `paper`"
    assert rows["WORKERS"] == "a whole number from 1 to 16"
    assert rows["VALIDATION_FRACTION"] == "a number from 0 below 1"
    assert rows["WARM_START"] == "`true`, `false`"
