"""Access tokens, stored only in files of mode 0600 in `secrets/` of the data directory.

The webhook's password is stored there too. Label Studio shows a webhook's headers to every user of
its organisation, so the webhook has a separate password that gives access to `/webhook` only.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from backend.settings import Settings
from taudis import files


def _path(data_dir: Path, project: int) -> Path:
    """The file of the token that Label Studio sent for a project."""
    return data_dir / "secrets" / f"project-{int(project)}.token"


def save_token(data_dir: Path, project: int, token: str) -> None:
    """Store the token from Label Studio's /setup call, atomically and readable only by us."""
    path = _path(data_dir, project)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.exists() and path.read_text() == token:
        return
    files.write_text(path, token, private=True)


def forget_token(data_dir: Path, project: int) -> None:
    """Delete the token that Label Studio sent for a project, if there is one."""
    _path(data_dir, project).unlink(missing_ok=True)


def token_for(settings: Settings, project: int) -> str:
    """The token for a project: LABEL_STUDIO_API_KEY, else the token from /setup, else ''."""
    configured = settings.label_studio_api_key.get_secret_value()
    if configured:
        return configured
    path = _path(settings.model_dir, project)
    return path.read_text() if path.exists() else ""


def token_source(settings: Settings, project: int) -> str:
    """Where `token_for` takes the token from, in words; '' if there is none."""
    if settings.label_studio_api_key.get_secret_value():
        return "LABEL_STUDIO_API_KEY"
    sent = "the token that Label Studio sent when the project was connected"
    return sent if token_for(settings, project) else ""


WEBHOOK_USER = "webhook"
"""The user name that Label Studio's webhook sends with the password of `webhook_password`."""


def webhook_password(data_dir: Path, *, make: bool = False) -> str:
    """The password of the webhook. If there is none yet, returns '', or a new one with `make`.

    It is random, so it reveals nothing about BASIC_AUTH_PASS. Raises OSError.
    """
    path = data_dir / "secrets" / "webhook.password"
    if make and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        files.write_text(path, secrets.token_urlsafe(24), private=True)
    return path.read_text() if path.exists() else ""
