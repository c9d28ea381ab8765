"""Requests to Label Studio that end: bounded in time and size, repeated where that is safe.

A request that changes nothing by being sent twice (GET, PATCH, DELETE) is repeated after
connection errors, broken answers, 429 and 5xx, with growing random pauses; `Retry-After` is
obeyed. A page of tasks is given up sooner (PageTooLarge), so that a smaller one can be asked for.
Any other request (POST) is repeated only if Label Studio cannot have acted on it: no connection
was made, or it said 429. The token goes to the one origin given, never after a redirect, and
stands in no error, log line or repr.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from backend.errors import (
    PageTooLarge,
    SettingsError,
    StudioAuthError,
    StudioNotFound,
    StudioRejected,
    StudioUnreachable,
)
from backend.label_studio.answers import (
    Answer,
    NoAnswer,
    decoded,
    in_words,
    lifetime,
    read_body,
    reason_of,
    timed_out,
    unsent,
)

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
JSON_HEADERS = {"Content-Type": "application/json"}
REPEATABLE_METHODS = frozenset({"GET", "HEAD", "PATCH", "PUT", "DELETE"})
REPEATED_STATUS = frozenset({429, 500, 502, 503, 504})
"""500 too: Label Studio on SQLite answers so when its database is locked."""
TOO_LARGE_STATUS = frozenset({500, 504})
"""What a page that is too large gets: from Label Studio itself, or from a proxy that waits less."""
PAGE_TRIES = 2
"""Answers of TOO_LARGE_STATUS to one page until a smaller one is asked for."""
BUSY = ("database is locked", "database-is-locked", "doesn't operate well")
"""In Label Studio's reason where SQLite was busy: the size of the page is not to blame. 1.23 puts a
link and "doesn't operate well" in the place of SQLite's own words."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 20.0
RENEW_AFTER = 0.8
"""Part of an access token's life (five minutes) after which the next one is fetched."""


class _Bearer(requests.auth.AuthBase):
    """Sets one header, and keeps requests from taking credentials out of a .netrc file."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self._headers)
        return request


class Transport:
    """HTTP to one Label Studio with one user's token; safe to share between threads.

    Args:
        url: Label Studio's address, e.g. `http://localhost:8080`.
        token: legacy token, or personal access token (a JWT that access tokens are fetched with).
        timeout: seconds for one attempt.
        patience: seconds for a call with all its repetitions, pauses included.

    Raises:
        SettingsError: the address is none, or the token is empty.
    """

    def __init__(self, url: str, token: str, *, timeout: float, patience: float) -> None:
        self.url = _origin(url)
        if not token.strip() or not token.isascii():
            raise SettingsError("LABEL_STUDIO_API_KEY: expected an access token, got none.")
        self.timeout, self.patience = timeout, patience
        self.personal = token.count(".") == 2
        self._token, self._access, self._renew_at = token.strip(), "", 0.0
        self._lock = threading.Lock()
        self._session = requests.Session()
        # Label Studio sends a session cookie with every answer; sent back, it would count as one.
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.headers["Accept"] = "application/json"
        self._session.headers["Accept-Encoding"] = "identity"

    def __repr__(self) -> str:
        return f"Transport({self.url!r})"

    def auth_headers(self) -> dict[str, str]:
        """The Authorization header for Label Studio's own origin; fetches an access token if due.

        Raises:
            StudioAuthError: the personal access token is not valid (any more).
            StudioUnreachable: no access token could be fetched.
        """
        if not self.personal:
            return {"Authorization": f"Token {self._token}"}
        with self._lock:
            if time.monotonic() >= self._renew_at:
                self._renew()
            return {"Authorization": f"Bearer {self._access}"}

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
    ) -> Any:
        """One call; its JSON answer, None if that is empty.

        Args:
            method: GET, POST, PATCH, DELETE.
            path: from the root, with the leading slash.
            what: the deed in words, for messages: "Reading project 3".
            params: the query.
            body: sent as JSON unless None; bytes are JSON already.
            timeout: seconds for one attempt instead of the usual.
            shrinks: the call is for a page that could be smaller.

        Raises:
            PageTooLarge: such a page got TOO_LARGE_STATUS twice, or no whole answer in time.
            StudioUnreachable: no whole answer, 429 or 5xx, after all repetitions.
            StudioAuthError: 401 or 403.
            StudioNotFound: 404.
            StudioRejected: another 4xx, a redirect, or an answer that is not JSON.
        """
        request: dict[str, Any] = {"params": params, "json": body}
        if isinstance(body, bytes):
            request = {"params": params, "data": body, "headers": JSON_HEADERS}
        seconds = timeout or self.timeout
        answer = self._repeat(method, path, what, request, seconds, signed=True, shrinks=shrinks)
        return self._checked(what, answer)

    def _repeat(
        self,
        method: str,
        path: str,
        what: str,
        request: dict[str, Any],
        timeout: float,
        *,
        signed: bool,
        shrinks: bool = False,
    ) -> Answer:
        """Attempts until there is an answer to hand on, or patience or safety ends them."""
        end = time.monotonic() + max(self.patience, timeout)
        repeatable = method in REPEATABLE_METHODS or not signed
        attempt, renewed, too_large = 0, False, 0
        while True:
            pause = min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE) * random.uniform(0.5, 1.0)
            try:
                headers = self.auth_headers() if signed else {}
                answer = self._attempt(method, path, what, request, timeout, headers)
            except NoAnswer as error:
                problem, again = str(error), (repeatable or error.unsent) and not error.final
                too_large = PAGE_TRIES if error.heavy else 0
            else:
                if answer.status == 401 and signed and self.personal and not renewed:
                    renewed, self._renew_at = True, 0.0  # refused, so not acted on
                    continue
                if answer.status not in REPEATED_STATUS:
                    return answer
                problem = f"it answered {answer.status} {reason_of(answer)}".strip()
                again = repeatable or answer.status == 429
                too_large = too_large + 1 if _may_be_too_large(answer) else 0
                pause = pause if answer.wait is None else answer.wait
            if shrinks and too_large >= PAGE_TRIES:
                message = str(self._unreachable(what, problem, attempt + 1, again))
                raise PageTooLarge(message, self._clean(problem))
            if not again or time.monotonic() + pause > end:
                raise self._unreachable(what, problem, attempt + 1, again)
            logger.info("%s: %s; again in %.1f s", what, self._clean(problem), pause)
            time.sleep(pause)
            attempt += 1

    def _attempt(
        self,
        method: str,
        path: str,
        what: str,
        request: dict[str, Any],
        timeout: float,
        headers: Mapping[str, str],
    ) -> Answer:
        """One request and its whole answer within `timeout` seconds, or NoAnswer."""
        began = time.monotonic()
        try:
            with self._session.request(
                method,
                self.url + path,
                auth=_Bearer(headers),
                timeout=(min(CONNECT_SECONDS, timeout), timeout),
                allow_redirects=False,
                stream=True,
                **request,
            ) as response:
                body = read_body(response, began + timeout)
                logger.debug(
                    "%s: %s in %.3f s, %s bytes sent, %s received",
                    *(what, response.status_code, time.monotonic() - began),
                    *(len(response.request.body or b""), len(body)),
                )
                return decoded(response, body)
        except requests.exceptions.SSLError as error:
            raise NoAnswer(f"no secure connection ({error})", unsent=True, final=True) from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            early = unsent(error)
            heavy = timed_out(error) and not early
            raise NoAnswer(in_words(error), unsent=early, heavy=heavy) from None

    def _renew(self) -> None:
        """Fetch an access token with the personal one (POST /api/token/refresh/)."""
        what = "Fetching an access token"
        request = {"json": {"refresh": self._token}}
        answer = self._repeat(
            "POST", "/api/token/refresh/", what, request, self.timeout, signed=False
        )
        data = self._checked(what, answer)
        access = data.get("access") if isinstance(data, dict) else None
        if not isinstance(access, str) or not access:
            raise StudioAuthError(f"{what}: expected a token from {self.url}, got none.")
        self._access = access
        self._renew_at = time.monotonic() + RENEW_AFTER * lifetime(access)

    def _checked(self, what: str, answer: Answer) -> Any:
        """The answer's data; one of the StudioErrors for anything but a JSON success."""
        said = self._clean(reason_of(answer))
        if answer.status in (401, 403):
            raise StudioAuthError(_auth_message(what, answer.status, said, self.personal))
        if answer.status == 404:
            raise StudioNotFound(f"{what}: Label Studio does not have it (404). {said}".strip())
        if 300 <= answer.status < 400:
            raise StudioRejected(
                f"{what}: expected an answer from {self.url}, got a redirect to"
                f" {_without_query(answer.location)}. Give Label Studio's final address as"
                " LABEL_STUDIO_URL."
            )
        if answer.status >= 500:
            raise StudioUnreachable(f"{what}: {self.url} answered {answer.status}. {said}".strip())
        if answer.status >= 400:
            raise StudioRejected(f"{what}: Label Studio refused it ({answer.status}): {said}")
        if answer.data is None and answer.text:
            raise StudioRejected(
                f"{what}: expected JSON from {self.url}, got {answer.kind or 'no content type'}."
                " Check that LABEL_STUDIO_URL is Label Studio's address."
            )
        return answer.data

    def _unreachable(
        self, what: str, problem: str, attempts: int, again: bool
    ) -> StudioUnreachable:
        known = "" if again else " It is not known whether Label Studio acted on it."
        return StudioUnreachable(
            f"{what}: expected an answer from Label Studio at {self.url}, but"
            f" {self._clean(problem)} ({attempts} attempts).{known} Check that it runs and that"
            " LABEL_STUDIO_URL is its address as this machine reaches it."
        )

    def _clean(self, text: str) -> str:
        """The text without tokens, whoever put them there."""
        for secret in (self._token, self._access):
            text = text.replace(secret, "***") if secret else text
        return text


def _may_be_too_large(answer: Answer) -> bool:
    """Whether a smaller page might be answered where this one was not."""
    return answer.status in TOO_LARGE_STATUS and not any(
        words in reason_of(answer) for words in BUSY
    )


def _origin(url: str) -> str:
    """The address without trailing slash; SettingsError unless http(s) with a host alone."""
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


def _auth_message(what: str, status: int, said: str, personal: bool) -> str:
    """401 and 403 in words, with what to do."""
    if status == 403:
        return (
            f"{what}: the user behind the access token may not do this (403). {said} Give the"
            " token of a user who may change the project as LABEL_STUDIO_API_KEY."
        )
    way = (
        "It may have been revoked; make a new one in Label Studio under Account & Settings >"
        " Personal Access Token"
        if personal
        else "Legacy tokens may be off: switch them on under Organization > API Tokens Settings,"
        " or make a personal access token under Account & Settings"
    )
    return (
        f"{what}: Label Studio refused the access token (401). {said} {way}, and give it as"
        " LABEL_STUDIO_API_KEY."
    )


def _without_query(location: str) -> str:
    """A redirect's target as far as it may be shown."""
    return location.partition("?")[0][:200] or "nowhere"
