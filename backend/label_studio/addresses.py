"""Addresses that strangers wrote, in parts: what a token belongs to, and where packets go."""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urlsplit

import requests

from backend.errors import ImageError

Origin = tuple[str, str, int]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def split(url: str) -> SplitResult:
    """An http or https address in parts. Raises ImageError for every other, and user info."""
    if "\\" in url or any(ord(letter) < 32 or ord(letter) == 127 for letter in url):
        raise ImageError("The image's address holds control characters or backslashes.")
    try:
        parts = urlsplit(requests.utils.requote_uri(url))
        _ = parts.port
    except (ValueError, requests.RequestException):
        raise ImageError(f"{url!r:.100} is not a valid address.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ImageError(f"Expected an address of http or https, got {url!r:.60}.")
    if parts.username is not None or parts.password is not None:
        raise ImageError("Addresses with a user name or password in them are not fetched.")
    return parts


def origin_of(parts: SplitResult) -> Origin:
    """Scheme, host and port, which together own a token."""
    host = (parts.hostname or "").lower().rstrip(".")
    return parts.scheme, host, parts.port or (443 if parts.scheme == "https" else 80)


def embedded(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one (mapped, 6to4, NAT64): where packets go."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in ipaddress.ip_network("64:ff9b::/96"):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
