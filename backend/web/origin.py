"""Which address is Label Studio's. A token goes to that one alone.

Label Studio names itself in its /setup call. That name counts only if it is the configured address
(LABEL_STUDIO_URL) or, without one, the first that the project came from.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from backend.settings import Settings
from backend.store.database import Project
from backend.web.requests import RequestRefused, excerpt

_PORTS = {"http": 80, "https": 443}


def normal_address(address: str) -> str:
    """scheme://host[:port][/path] in one spelling.

    Raises RequestRefused (400): no http(s) address, user info in it, a query, or a broken port.
    """
    try:
        parts = urlsplit(address.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    clean = not (parts.username or parts.password or parts.query or parts.fragment)
    if parts.scheme not in _PORTS or not host or not clean or not _is_host(host):
        raise RequestRefused(
            400, f"hostname: expected http(s)://host[:port], got {excerpt(address)}."
        )
    name = f"[{host}]" if ":" in host else host
    where = name if port in (None, _PORTS[parts.scheme]) else f"{name}:{port}"
    return f"{parts.scheme}://{where}{parts.path.rstrip('/')}"


def same_origin(one: str, other: str) -> bool:
    """Whether two normal addresses have scheme, host and port in common."""
    return urlsplit(one)[:2] == urlsplit(other)[:2]


def is_loopback_address(address: str) -> bool:
    """Whether an address names the caller's own machine; Label Studio's default for itself."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def accept(settings: Settings, project: Project | None, hostname: str) -> str:
    """The address to remember as the project's candidate; '' if one is known or configured.

    With LABEL_STUDIO_URL set, a loopback name is Label Studio not knowing its own address (its
    default, also inside a container), so it is taken for "unsaid" and never used.

    Raises:
        RequestRefused: 409 for another origin than the known one, 400 where none is known and
            none, or an unusable one, was given.
    """
    address = normal_address(hostname) if hostname.strip() else ""
    if settings.label_studio_url:
        known = normal_address(settings.label_studio_url)
        if address and is_loopback_address(address):
            return ""
        public = settings.label_studio_public_url
        if address and public and same_origin(normal_address(public), address):
            return ""
    else:
        known = _known(project)
    if not known and not address:
        raise RequestRefused(
            400,
            "hostname: expected Label Studio's address, got none. Set LABEL_STUDIO_URL for this"
            " backend, or LABEL_STUDIO_HOST for Label Studio.",
        )
    if known and address and not same_origin(known, address):
        raise RequestRefused(
            409,
            f"hostname: expected {known}, got {excerpt(address)}: this backend talks to one Label"
            " Studio a project. If this is the name that people use for it, set"
            " LABEL_STUDIO_PUBLIC_URL for this backend; if it has moved, LABEL_STUDIO_URL.",
        )
    return "" if known else address


def _known(project: Project | None) -> str:
    """The confirmed address of a project, else the first it came from, else ''."""
    if project is None:
        return ""
    found = project.origin or str(project.state.get("candidate_origin") or "")
    return normal_address(found) if found else ""


def _is_host(host: str) -> bool:
    """Whether a host holds only what names and addresses are made of."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        letters = host.replace("-", "").replace(".", "").replace("_", "")
        return len(host) <= 253 and bool(letters) and letters.isascii() and letters.isalnum()
    return True
