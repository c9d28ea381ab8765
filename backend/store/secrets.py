"""Access tokens, in files of mode 0600 under the data directory's `secrets/`; nowhere else.

The webhook's password lies there, too. Label Studio shows a webhook's headers to every user of its
organisation, so the webhook has a password of its own, which opens `/webhook` and nothing else.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from backend.settings import Settings
from taudis import files


def _path(data_dir: Path, project: int) -> Path:
    """Where the token that Label Studio sent for a project lies."""
    return data_dir / "secrets" / f"project-{int(project)}.token"


def save_token(data_dir: Path, project: int, token: str) -> None:
    """Keep the token that Label Studio's /setup call carried. Atomic; readable by us alone."""
    path = _path(data_dir, project)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.exists() and path.read_text() == token:
        return
    files.write_text(path, token, private=True)


def forget_token(data_dir: Path, project: int) -> None:
    """Delete the token that Label Studio sent for a project, if there is one."""
    _path(data_dir, project).unlink(missing_ok=True)


def token_for(settings: Settings, project: int) -> str:
    """The token to use for a project: LABEL_STUDIO_API_KEY, else the one from /setup, else ''."""
    configured = settings.label_studio_api_key.get_secret_value()
    if configured:
        return configured
    path = _path(settings.model_dir, project)
    return path.read_text() if path.exists() else ""


WEBHOOK_USER = "webhook"
"""The user name that Label Studio's webhook sends with the password of `webhook_password`."""


def webhook_password(data_dir: Path, *, make: bool = False) -> str:
    """The password of the webhook; '' where there is none yet, unless `make` says to make one.

    It is random, so that who sees it learns nothing of BASIC_AUTH_PASS. Raises OSError.
    """
    path = data_dir / "secrets" / "webhook.password"
    if make and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        files.write_text(path, secrets.token_urlsafe(24), private=True)
    return path.read_text() if path.exists() else ""
