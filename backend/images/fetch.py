"""Fetches images over HTTP, from addresses that anybody may have written into a task.

Before each request, including redirects, it checks the scheme, the host, its IP addresses, and
whether the access token may be sent there. The connection then uses the checked IP addresses, so it
does not matter if the host name resolves to another address a moment later
(`backend.images.connection`).
"""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urljoin

import requests

from backend.errors import ImageError, StudioAuthError, StudioUnreachable
from backend.images.connection import Connection, PassingError
from backend.label_studio.addresses import (
    Address,
    embedded,
    is_public,
    origin_of,
    split_address,
)

MAX_HOPS = 5
ATTEMPTS = 3
HEALTH_S = 5.0
PAUSE_S = 0.3
_CHUNK = 1 << 16
_REDIRECTS = {301, 302, 303, 307, 308}
_PASSING = {429, 502, 503, 504}

STUDIO_PATHS = re.compile(
    r"/(data/|storage-data/|static/|(api/)?(tasks|projects)/\d+/(resolve|presign|file-proxy)/?$"
    r"|api/projects/\d+/file-proxy)"
)
"""Label Studio's paths of images. A task must not make us call other paths with the token."""

RESOLVE_PATH = re.compile(r"/(api/)?(tasks|projects)/\d+/(resolve|presign)/?$")
"""Label Studio's paths that redirect to cloud storage connected by its admin."""


@dataclass(frozen=True)
class ImageLimits:
    """Limits for fetching images: size, time and hosts."""

    max_bytes: int = 50_000_000
    max_pixels: int = 50_000_000
    timeout_s: float = 20.0  # for one image, including redirects and retries
    allowed_hosts: tuple[str, ...] = ()  # besides Label Studio: names, *.names, or * for any
    allow_private: bool = False  # whether allowed hosts may be on private addresses
    local_root: Path | None = None  # folder of Label Studio's local files, if this machine has it
    public_url: str = ""  # another address of Label Studio that tasks and redirects may use


class Fetcher:
    """Fetches bytes by http or https within limits. Sends the token only to Label Studio."""

    def __init__(
        self, studio_url: str, auth: Callable[[], Mapping[str, str]], limits: ImageLimits
    ) -> None:
        self.studio = split_address(studio_url)
        self.studio_origin = origin_of(self.studio)
        self.public = split_address(limits.public_url) if limits.public_url else None
        self.auth = auth
        self.limits = limits

    def get(self, url: str) -> bytes:
        """The body at an address, after redirects.

        Raises ImageError if the limits do not allow the address, or if the image cannot be fetched.
        Raises StudioUnreachable or StudioAuthError if Label Studio as a whole fails. The step then
        stops, so that no image counts as unreadable because of an outage.
        """
        deadline = time.monotonic() + self.limits.timeout_s
        resolved_by_studio = False
        for _ in range(MAX_HOPS + 1):
            where = self.at_studio(split_address(url))
            body, target = self._attempts(where, deadline, resolved_by_studio)
            if target is None:
                return body
            resolved_by_studio = self._is_studio(where) and bool(
                RESOLVE_PATH.match(self._studio_path(where))
            )
            url = urljoin(where.geturl(), target)
        raise ImageError(f"The image's address redirects more than {MAX_HOPS} times.")

    def at_studio(self, where: SplitResult) -> SplitResult:
        """Replace Label Studio's public address by the address that this machine uses.

        No request is sent to the public address, so the token is not sent there either.
        """
        if self.public is None or origin_of(where) != origin_of(self.public):
            return where
        prefix = self.public.path.rstrip("/")
        if not where.path.startswith(f"{prefix}/"):
            return where
        below = where.path.removeprefix(prefix)
        if not STUDIO_PATHS.match(below) and self._listed(origin_of(where)[1]):
            return where  # not Label Studio: a proxy may serve other images under the same name
        path = self.studio.path.rstrip("/") + below
        return where._replace(scheme=self.studio.scheme, netloc=self.studio.netloc, path=path)

    def _attempts(
        self, where: SplitResult, deadline: float, resolved: bool
    ) -> tuple[bytes, str | None]:
        attempt = 1
        while True:
            try:
                return self._hop(where, deadline, resolved)
            except PassingError as error:
                pause = PAUSE_S * 2**attempt
                if attempt == ATTEMPTS or time.monotonic() + pause >= deadline:
                    raise self._failure(where, error) from None
                attempt += 1
                time.sleep(pause)

    def _failure(self, where: SplitResult, error: PassingError) -> Exception:
        message = f"Fetching an image from {where.hostname} failed: {error}."
        # A single object missing in its storage must not stop the pool, so it is an outage only if
        # Label Studio itself does not answer either.
        outage = error.outage and self._is_studio(where) and not self._studio_answers()
        return StudioUnreachable(message) if outage else ImageError(message)

    def _studio_answers(self) -> bool:
        """Whether Label Studio's /health answers."""
        address = self.studio.geturl().rstrip("/") + "/health"
        try:
            with requests.get(address, timeout=HEALTH_S, allow_redirects=False) as answer:
                return answer.ok
        except requests.RequestException:
            return False

    def _hop(self, where: SplitResult, deadline: float, resolved: bool) -> tuple[bytes, str | None]:
        """Make one request. Returns the body, or the address that it redirects to."""
        addresses = self._checked_addresses(where, resolved)
        headers = {"Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"}
        if self._is_studio(where):
            headers.update(self.auth())
        with Connection(where, addresses, deadline) as connection:
            path = (where.path or "/") + (f"?{where.query}" if where.query else "")
            response = connection.request(path, headers)
            if response.status in _REDIRECTS and response.headers.get("Location"):
                return b"", response.headers["Location"]
            self._check_status(where, response)
            return self._body(response), None

    def _check_status(self, where: SplitResult, response: http.client.HTTPResponse) -> None:
        status, host = response.status, where.hostname
        if status in _PASSING:
            raise PassingError(f"it answered {status}")
        if status == 401 and self._is_studio(where):
            raise StudioAuthError(
                "Label Studio answered 401 to an image request; check LABEL_STUDIO_API_KEY."
            )
        if status == 403 and self._studio_path(where).startswith("/data/local-files"):
            raise ImageError(
                "Label Studio refused a local file (403): set LOCAL_FILES_SERVING_ENABLED=true "
                "there and add the folder as local storage of the project."
            )
        if status != 200:
            raise ImageError(f"The image could not be had: {host} answered {status}.")

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        limit = self.limits.max_bytes
        length = response.length
        if length is not None and length > limit:
            raise ImageError(_too_large(limit, f"{length} bytes"))
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise ImageError(
                "The image came compressed once more (Content-Encoding); serve it raw."
            )
        parts: list[bytes] = []
        total = 0
        while part := response.read1(_CHUNK):
            total += len(part)
            if total > limit:
                raise ImageError(_too_large(limit, "more"))
            parts.append(part)
        if length is not None and total < length:
            raise PassingError(f"it sent {total} of {length} bytes", outage=False)
        return b"".join(parts)

    # --- what is allowed ----------------------------------------------------------------------

    def _is_studio(self, where: SplitResult) -> bool:
        return origin_of(where) == self.studio_origin

    def _studio_path(self, where: SplitResult) -> str:
        """The path below Label Studio's address, which may have a path prefix."""
        return where.path.removeprefix(self.studio.path.rstrip("/"))

    def _checked_addresses(self, where: SplitResult, resolved: bool) -> list[Address]:
        """The host's IP addresses. Raises ImageError if one of them is not allowed."""
        _, host, port = origin_of(where)
        if self._is_studio(where):
            path = self._studio_path(where)
            if not STUDIO_PATHS.match(path) or ".." in unquote(path).split("/"):
                raise ImageError(f"{path!r:.100} is no address of an image on Label Studio.")
            return _addresses(host, port)
        if not self._listed(host) and not resolved:
            raise ImageError(
                f"Images from {host!r} ({where.scheme}, port {port}) are not allowed; add the host "
                "to ALLOWED_IMAGE_HOSTS, or where it is Label Studio by another name, set "
                "LABEL_STUDIO_PUBLIC_URL to it."
            )
        found = _addresses(host, port)
        for address in found:
            self._check_address(host, address)
        return found

    def _listed(self, host: str) -> bool:
        allowed = self.limits.allowed_hosts
        return any(
            rule in ("*", host) or (rule.startswith("*.") and host.endswith(rule[1:]))
            for rule in allowed
        )

    def _check_address(self, host: str, address: Address) -> None:
        inner = embedded(address)
        if is_public(inner):
            return
        local = inner.is_private and not (
            inner.is_link_local or inner.is_unspecified or inner.is_multicast
        )
        named = host in self.limits.allowed_hosts
        if self.limits.allow_private and (named or (local and self._listed(host))):
            return
        raise ImageError(
            f"{host!r} is on the private address {inner}, which tasks may not reach; if it is your "
            "image server, name it in ALLOWED_IMAGE_HOSTS and set ALLOW_PRIVATE_IMAGE_HOSTS=true."
        )


def _addresses(host: str, port: int) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise PassingError(f"the name {host!r:.100} cannot be resolved") from None
    # Link-local addresses may have a scope ("%eth0"), which the check does not need.
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


def _too_large(limit: int, came: str) -> str:
    return (
        f"The image file is too large: at most {limit} bytes are read, it has {came}; "
        "scale it down or raise MAX_IMAGE_BYTES."
    )
