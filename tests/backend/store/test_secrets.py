"""Tokens lie in files of mode 0600, and the configured one wins."""

import stat

from backend.settings import load_settings
from backend.store.secrets import save_token, token_for, webhook_password


def test_save_read_replace(tmp_path):
    settings = load_settings(model_dir=tmp_path)
    assert token_for(settings, 7) == ""
    save_token(tmp_path, 7, "one")
    save_token(tmp_path, 8, "other")
    save_token(tmp_path, 7, "two")
    assert (token_for(settings, 7), token_for(settings, 8)) == ("two", "other")


def test_only_we_can_read_it(tmp_path):
    save_token(tmp_path, 7, "one")
    path = tmp_path / "secrets" / "project-7.token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_same_token_is_not_written_again(tmp_path):
    save_token(tmp_path, 7, "one")
    path = tmp_path / "secrets" / "project-7.token"
    before = path.stat().st_ino
    save_token(tmp_path, 7, "one")
    assert path.stat().st_ino == before


def test_the_configured_token_wins(tmp_path):
    save_token(tmp_path, 7, "from setup")
    settings = load_settings(
        model_dir=tmp_path,
        label_studio_url="http://studio.example",
        label_studio_api_key="configured",
    )
    assert token_for(settings, 7) == "configured"


def test_the_webhook_s_password_is_made_once(tmp_path):
    assert webhook_password(tmp_path) == ""
    made = webhook_password(tmp_path, make=True)
    assert len(made) >= 24 and made == webhook_password(tmp_path, make=True)
    assert stat.S_IMODE((tmp_path / "secrets" / "webhook.password").stat().st_mode) == 0o600
