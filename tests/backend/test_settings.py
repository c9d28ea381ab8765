"""Settings: names that users know, one message for everything that is wrong, no secret in it."""

import re
from pathlib import Path
from typing import get_args

import pytest

from backend.errors import SettingsError
from backend.settings import check_bind, is_loopback, load_settings, settings_table
from taudis.selection.params import Sketch
from taudis.selection.strategies import STRATEGIES

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch):
    from backend.settings import Settings

    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


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
    for name in ("ALPHA", "BETA", "TRAIN_AFTER", "LOCAL_FILES_ROOT", "LABEL_STUDIO_URL"):
        monkeypatch.setenv(name, "")
    settings = load_settings()
    assert (
        settings.alpha is settings.beta is settings.train_after is settings.local_files_root is None
    )


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


def test_alpha_must_exceed_beta():
    with pytest.raises(SettingsError, match="ALPHA must be greater"):
        load_settings(alpha=20, beta=30)


def test_a_cover_by_images_with_the_guaranteed_sketch_is_refused_at_the_start(monkeypatch):
    """Otherwise each round would fail when its strategy refuses it."""
    monkeypatch.setenv("STRATEGY", "taudis_cover")
    monkeypatch.setenv("SKETCH", "guaranteed")
    with pytest.raises(SettingsError, match=r"STRATEGY=taudis_cover: .*got 'guaranteed'"):
        load_settings()


@pytest.mark.parametrize(
    ("strategy", "sketch"),
    [
        (name, sketch)
        for name in STRATEGIES
        for sketch in get_args(Sketch)
        if (name, sketch) != ("taudis_cover", "guaranteed")
    ],
)
def test_every_other_pair_of_strategy_and_sketch_is_accepted(monkeypatch, strategy, sketch):
    monkeypatch.setenv("STRATEGY", strategy)
    monkeypatch.setenv("SKETCH", sketch)
    settings = load_settings()
    assert (settings.strategy, settings.sketch) == (strategy, sketch)


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
    ("name", "value"),
    [("ALPHA", "inf"), ("BETA", "nan"), ("ALPHA_IMG", "0.5"), ("ALPHA_IMG", "inf"),
     ("SKETCH", "sometimes"), ("EDGE_MB", "0"), ("CENTRE", "middle")],
)  # fmt: skip
def test_what_a_selection_could_not_work_with_is_refused_at_the_start(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=rf"{name}: .*\(got '{value}'\)"):
        load_settings()
