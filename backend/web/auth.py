"""Decides who may call the backend.

If credentials are set, every caller must send them. If none are set, only this machine may call.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from urllib.parse import urlsplit

from flask import Request, Response, jsonify

from backend.label_studio.addresses import embedded, is_loopback_address
from backend.settings import Settings
from backend.store.secrets import WEBHOOK_USER, webhook_password
from backend.web.requests import RequestRefused, excerpt

OPEN_ROUTES = frozenset({"/health"})  # reveals only that the process runs
WEBHOOK_ROUTE = "/webhook"


def refuse_strangers(settings: Settings, request: Request) -> Response | None:
    """None for an allowed caller, else the answer 401.

    Without credentials, two checks raise RequestRefused:

    - 403 unless the caller is on this machine, whatever server and address the app runs on.
    - 421 unless the Host header is a loopback name or the host of BACKEND_URL. This stops a web
      page whose name resolves to this machine (DNS rebinding), because it sends its own name.
    """
    if not settings.has_credentials:
        _check_caller(request)
        _check_host(settings, request)
        return None
    if request.path in OPEN_ROUTES or _knows_credentials(settings, request):
        return None
    if request.path == WEBHOOK_ROUTE and _is_webhook(settings, request):
        return None
    answer = jsonify(error="Credentials are needed.")
    answer.status_code = 401
    answer.headers["WWW-Authenticate"] = 'Basic realm="taudis", charset="UTF-8"'
    return answer


def _knows_credentials(settings: Settings, request: Request) -> bool:
    """Whether the caller sends BASIC_AUTH_USER and BASIC_AUTH_PASS."""
    password = settings.basic_auth_pass.get_secret_value()
    return _gives(request, settings.basic_auth_user, password)


def _is_webhook(settings: Settings, request: Request) -> bool:
    """Whether the caller sends the credentials that the worker put into Label Studio's webhook."""
    password = webhook_password(settings.model_dir)
    return bool(password) and _gives(request, WEBHOOK_USER, password)


def _gives(request: Request, user: str, password: str) -> bool:
    """Whether the caller sends this user name and password, compared in constant time."""
    try:
        given = request.authorization
    except ValueError:  # from werkzeug, for base64 with non-ASCII characters
        return False
    if given is None or given.type != "basic":
        return False
    return _same(given.username or "", user) & _same(given.password or "", password)


def _same(given: str, wanted: str) -> bool:
    """Compare digests, so that the time depends neither on content nor on length."""
    one, other = (
        hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in (given, wanted)
    )
    return hmac.compare_digest(one, other)


def _check_caller(request: Request) -> None:
    caller = request.remote_addr  # behind a Unix socket: None, or no IP address
    try:
        address = embedded(ipaddress.ip_address(caller or ""))
    except ValueError:
        return
    if not address.is_loopback:
        raise RequestRefused(
            403,
            "Without credentials only this machine may call. Set BASIC_AUTH_USER and"
            " BASIC_AUTH_PASS, and give the same two on Label Studio's Model page.",
        )


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
