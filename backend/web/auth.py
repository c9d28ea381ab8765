"""Who may call: basic authentication, and a guard for a backend that has none."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import urlsplit

from flask import Request, Response, jsonify

from backend.label_studio.addresses import is_loopback_address
from backend.settings import Settings
from backend.web.requests import RequestRefused, excerpt

OPEN_ROUTES = frozenset({"/health"})  # says nothing but that the process runs


def refuse_strangers(settings: Settings, request: Request) -> Response | None:
    """None for a caller who may go on, else the 401.

    Raises RequestRefused (421) where no credentials are set and the Host header is neither a
    loopback name nor BACKEND_URL's: a web page that points its own name at this machine (DNS
    rebinding) would send such a one.
    """
    if not settings.has_credentials:
        _check_host(settings, request)
        return None
    if request.path in OPEN_ROUTES or _knows_credentials(settings, request):
        return None
    answer = jsonify(error="Credentials are needed.")
    answer.status_code = 401
    answer.headers["WWW-Authenticate"] = 'Basic realm="taudis", charset="UTF-8"'
    return answer


def _knows_credentials(settings: Settings, request: Request) -> bool:
    """Compare both parts in constant time, whatever their lengths."""
    given = request.authorization
    if given is None or given.type != "basic":
        return False
    user = _same(given.username or "", settings.basic_auth_user)
    password = _same(given.password or "", settings.basic_auth_pass.get_secret_value())
    return user & password


def _same(given: str, wanted: str) -> bool:
    """Equality of digests, so that neither content nor length shows in the time."""
    one, other = (
        hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in (given, wanted)
    )
    return hmac.compare_digest(one, other)


def _check_host(settings: Settings, request: Request) -> None:
    try:
        host = urlsplit(f"//{request.host}").hostname or ""
    except ValueError:
        host = ""
    ours = urlsplit(settings.backend_url).hostname
    if host and (host == ours or is_loopback_address(f"http://{_bracketed(host)}")):
        return
    raise RequestRefused(
        421,
        f"Host: expected a name of this machine, got {excerpt(request.host)}. Set BASIC_AUTH_USER"
        " and BASIC_AUTH_PASS, or BACKEND_URL to the address that callers use.",
    )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
