"""Decides who may call the backend.

If credentials are set, everybody may call who sends them. If none are set, only this machine may.
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

OPEN_ROUTES = frozenset({"/health"})  # says nothing but that the process runs
WEBHOOK_ROUTE = "/webhook"


def refuse_strangers(settings: Settings, request: Request) -> Response | None:
    """None for a caller who may go on, else the answer 401.

    Without credentials the caller must be on this machine; raises RequestRefused (403) otherwise,
    also if somebody started another server than ours on a public address. And the Host header must
    be a loopback name or BACKEND_URL's; raises RequestRefused (421) otherwise. A web page that
    resolves its own name to this machine (DNS rebinding) would send its own name there.
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
    """Whether the caller gives BASIC_AUTH_USER and BASIC_AUTH_PASS."""
    password = settings.basic_auth_pass.get_secret_value()
    return _gives(request, settings.basic_auth_user, password)


def _is_webhook(settings: Settings, request: Request) -> bool:
    """Whether the caller gives the pair that the worker put into Label Studio's webhook."""
    password = webhook_password(settings.model_dir)
    return bool(password) and _gives(request, WEBHOOK_USER, password)


def _gives(request: Request, user: str, password: str) -> bool:
    """Whether user name and password are these, compared in constant time."""
    try:
        given = request.authorization
    except ValueError:  # werkzeug, on letters beyond ASCII in the base64
        return False
    if given is None or given.type != "basic":
        return False
    return _same(given.username or "", user) & _same(given.password or "", password)


def _same(given: str, wanted: str) -> bool:
    """Compare digests: then the time depends neither on the content nor on the length."""
    one, other = (
        hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in (given, wanted)
    )
    return hmac.compare_digest(one, other)


def _check_caller(request: Request) -> None:
    caller = request.remote_addr  # none, or not an address, behind a Unix socket
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
