"""Reads Label Studio's answers completely, with limits for time and size, and parses JSON.

urllib3 repeats a request if the connection breaks, but it returns a response before its body is
read. `connections` gives urllib3 connections that read the body first. A truncated, slow or
oversized answer then counts as a broken connection, and urllib3 repeats the request by the same
rule (`backend.label_studio.repetition`).
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import certifi
import requests
import urllib3
from requests.utils import select_proxy
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    LocationParseError,
    ProtocolError,
    ProxySchemeUnknown,
    ReadTimeoutError,
)

from backend.errors import SettingsError

MAX_ANSWER_BYTES = 1 << 30
"""Maximum size of an answer. 10,000 tasks with all their fields are 13 MB."""


class CutAnswer(ProtocolError):
    """A JSON answer of status 2xx that does not parse."""


class OversizedAnswer(ProtocolError):
    """An answer of more than MAX_ANSWER_BYTES. A retry would get the same answer."""


class Answer(urllib3.HTTPResponse):
    """A complete answer: status, headers, body, and the parsed JSON (None for other types)."""

    def __init__(self, body: bytes, *, status: int, headers: Any) -> None:
        super().__init__(body, headers=headers, status=status, preload_content=False)
        self.content = body
        self.content_type = self.headers.get("Content-Type", "").partition(";")[0].strip()
        self.value: Any = None
        if body and (self.content_type == "application/json" or self.content_type[-5:] == "+json"):
            try:
                self.value = json.loads(body)
            except (ValueError, RecursionError):
                if 200 <= status < 300:
                    raise CutAnswer("its JSON answer was cut or broken") from None

    @property
    def reason_given(self) -> str:
        """Label Studio's reason in an error answer, on one line of at most 300 characters."""
        if not isinstance(self.value, dict):
            return ""
        found = self.value.get("validation_errors") or self.value.get("detail") or ""
        return " ".join((found if isinstance(found, str) else json.dumps(found)).split())[:300]


def _whole(response: urllib3.HTTPResponse, seconds: float) -> Answer:
    """Read the body in pieces, so that the time limit also stops a server that sends slowly."""
    end, parts, size = time.monotonic() + seconds, list[bytes](), 0
    with response:
        while part := response.read1(1 << 20):
            parts.append(part)
            size += len(part)
            if time.monotonic() > end:
                raise ReadTimeoutError(None, None, "its answer was too slow")  # type: ignore[arg-type]
            if size > MAX_ANSWER_BYTES:
                raise OversizedAnswer(f"its answer passed {MAX_ANSWER_BYTES} bytes")
    return Answer(b"".join(parts), status=response.status, headers=response.headers)


class _Http(HTTPConnection):
    def getresponse(self) -> Answer:  # type: ignore[override]  # urllib3 overrides it alike
        return _whole(super().getresponse(), float(self.timeout or 0))


class _Https(HTTPSConnection):
    def getresponse(self) -> Answer:  # type: ignore[override]
        return _whole(super().getresponse(), float(self.timeout or 0))


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


def connections(url: str) -> urllib3.PoolManager:
    """Connections to the server at `url` that return an Answer; safe to share between threads.

    Proxies and certificates come from the environment, as in `requests`. Cookies are not kept,
    because Label Studio sends a session cookie with every answer, which would count as a login.
    """
    found = requests.Session().merge_environment_settings(url, {}, None, None, None)
    trusted = certifi.where() if found["verify"] is True else str(found["verify"])
    options: dict[str, Any] = {"maxsize": 10}
    options["ca_cert_dir" if Path(trusted).is_dir() else "ca_certs"] = trusted
    manager = urllib3.PoolManager(**options)
    if proxy := select_proxy(url, found["proxies"]):
        proxy = proxy if "://" in proxy else f"http://{proxy}"
        sent = requests.adapters.HTTPAdapter().proxy_headers(proxy)
        try:
            manager = urllib3.ProxyManager(proxy, proxy_headers=sent, **options)
        except (ProxySchemeUnknown, LocationParseError) as error:
            raise SettingsError(
                f"HTTP_PROXY, HTTPS_PROXY or ALL_PROXY: expected http://host:port for {url}, got a"
                " proxy of another kind. Set one of that form, or name Label Studio's host in"
                " NO_PROXY."
            ) from error
    manager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
    return manager
