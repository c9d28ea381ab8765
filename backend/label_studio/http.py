"""HTTP calls to one Label Studio with one user's token: tokens, checks of answers, messages.

Attempts, time and bytes of a call are limited. A request that may be sent twice (GET, PATCH,
DELETE) is repeated after broken connections, broken answers, 429 and 5xx. Any other request (POST)
is repeated only if Label Studio cannot have acted on it: no connection was made, or it answered
429. `backend.label_studio.repetition` decides this, and `backend.label_studio.answers` reads
answers. The token is sent only to the given address, never to the target of a redirect. No error,
log line or repr contains the token.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

import urllib3

from backend.errors import (
    PageTooLarge,
    SettingsError,
    StudioAuthError,
    StudioNotFound,
    StudioRejected,
    StudioUnreachable,
)
from backend.label_studio.answers import Answer, connections
from backend.label_studio.clock import StudioClock
from backend.label_studio.repetition import JSON, REPEATED_STATUS, Call, NoAnswer, Repetition

CONNECT_SECONDS = 5.0
PLAIN = {"Accept": "application/json", "Accept-Encoding": "identity"}
ENDED_STATUS = frozenset({429, 500, 503})
"""Answers after which Label Studio does not act on the request any more: its own errors, and of a
proxy that did not hand the request on. After 502 and 504 of a proxy it may."""
RENEW_AFTER = 0.8
"""Share of an access token's lifetime (five minutes) after which the next token is fetched."""


class Transport:
    """HTTP to one Label Studio with one user's token; safe to share between threads.

    Args:
        url: Label Studio's address, e.g. `http://localhost:8080`.
        token: legacy token, or personal access token (a JWT to fetch access tokens with).
        timeout: seconds for one attempt.
        patience: seconds for a call with all its retries and pauses.
        guard: called before each attempt of a call that changes something. An exception from it
            ends the call. None allows all calls.

    Raises:
        SettingsError: the address is invalid, or the token is empty or invalid.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout: float,
        patience: float,
        guard: Callable[[], None] | None = None,
    ) -> None:
        self.url = _origin(url)
        if not re.fullmatch(r"[!-~]+", token.strip()):
            raise SettingsError(
                "LABEL_STUDIO_API_KEY: expected an access token of printable ASCII characters"
                " without blanks, got none. Copy it from Label Studio, Account & Settings."
            )
        self.timeout, self.patience = timeout, patience
        self._guard = guard or _allow
        self.personal = token.count(".") == 2
        self._token, self._access, self._renew_at = token.strip(), "", 0.0
        self._lock, self.clock = threading.Lock(), StudioClock()
        self._connections = connections(self.url)

    def __repr__(self) -> str:
        return f"Transport({self.url!r})"

    def auth_headers(self) -> dict[str, str]:
        """The Authorization header for Label Studio's own origin. Fetches an access token if due.

        Raises:
            StudioAuthError: the personal access token is invalid or has expired.
            StudioUnreachable: no access token could be fetched.
        """
        if not self.personal:
            return {"Authorization": f"Token {self._token}"}
        with self._lock:
            if time.monotonic() >= self._renew_at:
                self._renew()
            return {"Authorization": f"Bearer {self._access}"}

    # long: twenty lines describe its arguments and errors
    def call(
        self,
        method: str,
        path: str,
        *,
        what: str,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        timeout: float | None = None,
        shrinks: bool = False,
        content_type: str = JSON,
    ) -> Any:
        """Make one call. Returns its JSON answer, None if that is empty.

        Args:
            method: GET, POST, PATCH, DELETE.
            path: from the root, with the leading slash.
            what: the action in words, for messages: "Reading project 3".
            params: the query.
            body: sent as JSON unless None; bytes are sent unchanged.
            timeout: seconds for one attempt instead of the default.
            shrinks: the call reads a page that could be smaller.
            content_type: the content type of a bytes body.

        Raises:
            PageTooLarge: with `shrinks`, 500 or 504 twice, or no complete answer in time.
            StudioUnreachable: after all retries no complete answer, 429 or 5xx; or an answer
                that is not JSON, such as a proxy's page during maintenance.
            StudioAuthError: 401 or 403.
            StudioNotFound: 404.
            StudioRejected: another 4xx, or a redirect.
        """
        target = f"{path}?{urlencode(params, doseq=True)}" if params else path
        made = self._call(
            method, target, what, body, timeout or self.timeout, shrinks, content_type
        )
        started = time.monotonic()
        answer = self._send(made, self.auth_headers())
        if answer.status == 401 and self.personal:  # refused, so not acted on
            self._renew_at = 0.0
            left = max(made.patience - (time.monotonic() - started), 0.0)
            answer = self._send(replace(made, patience=left), self.auth_headers())
        return self._checked(what, answer)

    def _call(
        self,
        method: str,
        target: str,
        what: str,
        body: Any,
        seconds: float,
        shrinks: bool = False,
        content_type: str = JSON,
    ) -> Call:
        sent = b"" if body is None else body
        if not isinstance(sent, bytes):
            try:
                sent = json.dumps(body, allow_nan=False).encode()
            except ValueError as error:
                raise StudioRejected(f"{what}: expected finite numbers, got {error}.") from error
        return Call(
            *(method, self.url + target, what, sent, seconds),
            *(max(self.patience, seconds), shrinks, self._clean),
            *(_allow if method == "GET" else self._guard, content_type),
        )

    def _send(self, call: Call, headers: Mapping[str, str]) -> Answer:
        """The answer to a call, after all its retries.

        A call without credentials, which fetches an access token, is repeated even if it is a POST.
        """
        kind = {"Content-Type": call.content_type} if call.sent else {}
        call.guard()
        asked = time.monotonic()
        try:
            answer = self._connections.urlopen(
                call.method,
                call.url,
                redirect=False,
                body=call.sent or None,
                headers={**PLAIN, **kind, **headers},
                timeout=urllib3.Timeout(call.seconds, connect=min(CONNECT_SECONDS, call.seconds)),
                retries=Repetition.of(call, any_method=not headers),
                preload_content=False,
                release_conn=True,
            )
        except NoAnswer as error:
            message = self._unreachable(call.what, str(error), error.attempts, error.known)
            if error.too_large:
                raise PageTooLarge(message, self._clean(str(error))) from None
            if error.wait:
                message = f"{message} It asked to wait for {error.wait:.0f} s."
            raise StudioUnreachable(message, settled=error.known, wait=error.wait) from None
        found, last = cast(Answer, answer), cast(Repetition, answer.retries)
        said = last.finished(found)
        self.clock.read(found.headers.get("Date"), asked)
        if found.status in REPEATED_STATUS:
            message = self._unreachable(call.what, said, last.attempts, known=False)
            raise StudioUnreachable(message, settled=found.status in ENDED_STATUS)
        return found

    def _renew(self) -> None:
        """Fetch an access token with the personal token (POST /api/token/refresh/)."""
        what, body = "Fetching an access token", {"refresh": self._token}
        path = "/api/token/refresh/"
        made = self._call("POST", path, what, body, self.timeout)
        value = self._checked(what, self._send(made, {}))
        access = value.get("access") if isinstance(value, dict) else None
        if not isinstance(access, str) or not access:
            raise StudioAuthError(f"{what}: expected a token from {self.url}, got none.")
        self._access = access
        self._renew_at = time.monotonic() + RENEW_AFTER * lifetime(access)

    def _checked(self, what: str, answer: Answer) -> Any:
        """The JSON of a successful answer. Raises a StudioError for any other answer."""
        said = self._clean(answer.reason_given)
        if answer.status in (401, 403):
            raise StudioAuthError(*_auth_message(what, answer.status, said, self.personal))
        if answer.status == 404:
            raise StudioNotFound(f"{what}: Label Studio does not have it (404). {said}".strip())
        if 300 <= answer.status < 400:
            location = answer.headers.get("Location", "").partition("?")[0][:200] or "nowhere"
            raise StudioRejected(
                f"{what}: expected an answer from {self.url}, got a redirect to {location}. Give"
                " Label Studio's final address as LABEL_STUDIO_URL."
            )
        if answer.status >= 500:
            raise StudioUnreachable(f"{what}: {self.url} answered {answer.status}. {said}".strip())
        if answer.status >= 400:
            raise StudioRejected(f"{what}: Label Studio refused it ({answer.status}): {said}")
        if answer.value is None and answer.content:
            raise StudioUnreachable(
                f"{what}: expected JSON from {self.url}, got"
                f" {answer.content_type or 'no content type'}."
                " Check that LABEL_STUDIO_URL is Label Studio's address."
            )
        return answer.value

    def _unreachable(self, what: str, reason: str, attempts: int, known: bool) -> str:
        doubt = "" if known else " It is not known whether Label Studio acted on it."
        return (
            f"{what}: expected an answer from Label Studio at {self.url}, but"
            f" {self._clean(reason)} ({attempts} attempts).{doubt} Check that it runs and that"
            " LABEL_STUDIO_URL is its address as this machine reaches it."
        )

    def _clean(self, text: str) -> str:
        """The text with all tokens removed."""
        for secret in (self._token, self._access):
            text = text.replace(secret, "***") if secret else text
        return text


def _allow() -> None:
    """The guard of a call that may always be sent."""


def lifetime(access: str) -> float:
    """Seconds between a JWT's `iat` and `exp`, a duration that does not depend on our clock."""
    try:
        middle = access.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
        return max(0.0, float(claims["exp"]) - float(claims["iat"]))
    except (ValueError, KeyError, IndexError, TypeError):
        return 60.0


def _origin(url: str) -> str:
    """The address without trailing slash. SettingsError unless it is a plain http(s) address."""
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.username or parts.password or parts.query or parts.fragment:
        raise SettingsError(
            "LABEL_STUDIO_URL: expected an address like http://localhost:8080, without user name,"
            " password or query. Set it to Label Studio's address as this machine reaches it."
        )
    return url.strip().rstrip("/")


def _auth_message(what: str, status: int, said: str, personal: bool) -> tuple[str, str]:
    """The fault behind 401 or 403, and the remedy."""
    if status == 403 and "reserved network address" in said:
        return (
            f"{what}: Label Studio refuses to call a private address (403). {said}",
            "Start Label Studio with SSRF_PROTECTION_ENABLED=false and ML_BLOCK_LOCAL_IP=false in"
            " its environment; docs/faq.md has narrower ways.",
        )
    if status == 403:
        return (
            f"{what}: the user behind the access token may not do this (403). {said}",
            "Give the token of a user who may change the project as LABEL_STUDIO_API_KEY.",
        )
    way = (
        "It may have been revoked; make a new one in Label Studio under Account & Settings >"
        " Personal Access Token"
        if personal
        else "Legacy tokens may be off: switch them on under Organization > API Tokens Settings,"
        " or make a personal access token under Account & Settings"
    )
    return (
        f"{what}: Label Studio refused the access token (401). {said}",
        f"{way}, and give it as LABEL_STUDIO_API_KEY.",
    )
