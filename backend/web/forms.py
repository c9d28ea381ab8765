"""Forms of the status page: a post counts only if it comes from our own page.

A browser sends basic-auth credentials with every request, even with a request from a foreign page.
A post must therefore name our origin and carry a token that only our page has. The token is an HMAC
of the project and the hour, with a key in the data directory's `secrets/`. It is valid for a day.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from pathlib import Path
from urllib.parse import urlsplit

from flask import Request

from backend.settings import Settings
from backend.web.requests import RequestRefused, excerpt
from taudis import files

HOURS = 24
RELOAD = "Reload the page and press the button again."


def token(settings: Settings, project: int) -> str:
    """The token of the forms on a project's page."""
    return _signed(settings, project, _hour())


def check(settings: Settings, request: Request, project: int) -> None:
    """Raise RequestRefused (403) unless a post comes from our own page of this project."""
    _check_origin(settings, request)
    given = request.form.get("token", "")
    hours = range(_hour(), _hour() - HOURS, -1)
    known = [_signed(settings, project, hour).encode() for hour in hours]
    sent = given.encode("utf-8", "surrogatepass")
    if sum(hmac.compare_digest(sent, each) for each in known) != 1:  # constant time over all hours
        raise RequestRefused(403, f"token: expected that of the project's page. {RELOAD}")


def _check_origin(settings: Settings, request: Request) -> None:
    """Raise RequestRefused unless the browser says that our own page makes the request.

    Only the host is compared, because a proxy in front of us may use https while we use http.
    """
    named = request.headers.get("Origin", "")
    ours = {request.host.lower()}
    if settings.backend_url:
        ours.add(urlsplit(settings.backend_url).netloc.lower())
    try:
        came = urlsplit(named).netloc.lower()
    except ValueError:
        came = ""
    if came not in ours or not came:
        raise RequestRefused(
            403,
            f"Origin: expected this page's own, got {excerpt(named) if named else 'none'}."
            " Use the button on the status page, or `python -m backend`. Behind a proxy, set"
            " BACKEND_URL to the address that browsers use.",
        )
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise RequestRefused(403, "Sec-Fetch-Site: expected same-origin, got another.")


def _hour() -> int:
    return int(time.time() // 3600)


def _signed(settings: Settings, project: int, hour: int) -> str:
    key = _key(settings.model_dir / "secrets" / "forms.key")
    return hmac.new(key, f"{project}.{hour}".encode(), hashlib.sha256).hexdigest()


def _key(path: Path) -> bytes:
    """The key of this data directory. Makes it if there is none."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        files.write_text(path, secrets.token_hex(32), private=True)
    return path.read_text().encode()
