"""Reads and checks all addresses from Label Studio, tasks, callers and settings.

- Servers (in web requests and settings): `normal_address`, `same_origin`.
- Images on the web (in tasks): `split_address`, `origin_of`, `embedded`. Anybody may write a task,
  so every part is checked.
- Images inside a task: `read_data_address` reads `data:image/png;base64,...`.
- `ImageTag` finds the address in a task's data.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

import requests

from backend.errors import ImageError

Origin = tuple[str, str, int]
"""Scheme, host, port."""
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

UNDEFINED = "$undefined$"
"""Label Studio's data key for files uploaded before the config was set."""

VARIABLE = re.compile(r"\$[A-Za-z0-9_\[\].{}]+")
"""A variable in a value, as the editor reads it: a key of the data, or a path into it."""

_STEP = re.compile(r"\[(?:\"([^\"]*)\"|'([^']*)'|([^\]]*))\]|([^.\[\]]+)")
_MISSING = object()

EXCERPT = 80  # characters of an address in a message
_RESERVED = [
    ipaddress.ip_network(each)
    for each in ("192.0.0.0/24", "64:ff9b:1::/48", "2001::/23", "3fff::/20", "5f00::/16")
]
"""Reserved networks (IANA special purpose) that Python before 3.12.4 treats as public."""
_PORTS = {"http": 80, "https": 443}
_BASE64 = re.compile(r";\s*base64\s*$", re.IGNORECASE)
_WHITESPACE = b"\t\n\f\r "


# --- addresses of servers -----------------------------------------------------------------------


def normal_address(address: str) -> str:
    """A server's address in one spelling: scheme://host[:port][/path].

    The default port and a trailing slash are removed, and the host is in lower case.

    Raises ValueError if it is not an http(s) address, has user info or a query, or a bad port.
    """
    try:
        parts = urlsplit(address.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    clean = not (parts.username or parts.password or parts.query or parts.fragment)
    if parts.scheme not in _PORTS or not host or not clean or not _is_host(host):
        raise ValueError("Expected http(s)://host[:port].")
    name = f"[{host}]" if ":" in host else host
    where = name if port in (None, _PORTS[parts.scheme]) else f"{name}:{port}"
    return f"{parts.scheme}://{where}{parts.path.rstrip('/')}"


def same_origin(one: str, other: str) -> bool:
    """Whether two normal addresses have the same scheme, host and port."""
    return urlsplit(one)[:2] == urlsplit(other)[:2]


def is_loopback_address(address: str) -> bool:
    """Whether an address always means the caller's own machine, such as localhost."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _is_host(host: str) -> bool:
    """Whether a text is an IP address, or has only letters, digits, dots, - and _."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        letters = host.replace("-", "").replace(".", "").replace("_", "")
        return len(host) <= 253 and bool(letters) and letters.isascii() and letters.isalnum()
    return True


# --- addresses of images on the web -------------------------------------------------------------


def split_address(url: str) -> SplitResult:
    """The parts of an image's http or https address.

    Raises ImageError for any other address, and for an address with a user name or password.
    """
    if "\\" in url or any(ord(letter) < 32 or ord(letter) == 127 for letter in url):
        raise ImageError("The image's address holds control characters or backslashes.")
    try:
        parts = urlsplit(requests.utils.requote_uri(url))
        _ = parts.port
    except (ValueError, requests.RequestException):
        raise ImageError(f"{excerpt(url)} is not a valid address.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ImageError(f"Expected an address of http or https, got {excerpt(url)}.")
    if parts.username is not None or parts.password is not None:
        raise ImageError("Addresses with a user name or password in them are not fetched.")
    return parts


def origin_of(parts: SplitResult) -> Origin:
    """Scheme, host and port. A token may be sent only where all three match."""
    host = (parts.hostname or "").lower().rstrip(".")
    return parts.scheme, host, parts.port or (443 if parts.scheme == "https" else 80)


def is_public(address: Address) -> bool:
    """Whether an address is on the public internet: not private, local, reserved or multicast."""
    reserved = any(address in network for network in _RESERVED)
    return address.is_global and not address.is_multicast and not reserved


def embedded(address: Address) -> Address:
    """The IPv4 address inside an IPv6 address (mapped, 6to4, NAT64), else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in ipaddress.ip_network("64:ff9b::/96"):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def excerpt(address: str) -> str:
    """The beginning of an address, for messages.

    It omits the query, which may have a signature, and user name and password.
    """
    if is_data_address(address):
        return "data:..."
    scheme, mark, rest = address.partition("://")
    if not mark:
        scheme, rest = "", address
    if "@" in rest and not address.startswith("/"):
        before, _, after = rest.rpartition("@")
        # An @ behind a ? may be part of the query or of user info, so both are cut.
        rest = "..." if "?" in before else f"...@{after}"
    if not address.startswith("/data/local-files"):
        rest = rest.partition("?")[0]
    head = scheme + mark + rest
    return repr(head[:EXCERPT] + ("..." if len(head) > EXCERPT else ""))


# --- images inside a task -----------------------------------------------------------------------


def is_data_address(value: str) -> bool:
    """Whether an address is a data: address, which contains its image."""
    return value[:5].lower() == "data:"


def read_data_address(value: str, limit: int) -> bytes:
    """The bytes of a data: address, at most `limit`, read as browsers do (WHATWG Fetch).

    White space and missing padding in base64 are accepted. The characters - and _ of URL-safe
    base64 are not, because browsers do not show such an image.

    Raises ImageError for an address that is too long or invalid.
    """
    head, comma, body = value.partition(",")
    if not comma or len(body) > 3 * limit + 1_000:
        raise ImageError(f"Expected data:image/...;base64,... of at most {limit} bytes.")
    raw = unquote_to_bytes(body.partition("#")[0])
    if not _BASE64.search(head):
        return _bounded(raw, limit)
    packed = raw.translate(None, _WHITESPACE)
    if len(packed) % 4 == 0:
        packed = packed.removesuffix(b"=").removesuffix(b"=")
    try:
        if b"=" in packed:
            raise ValueError("padding inside")
        return _bounded(base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True), limit)
    except (binascii.Error, ValueError):
        other = b"-" in packed or b"_" in packed
        why = "it has - or _, which browsers do not read: write + and /" if other else "cut short?"
        raise ImageError(f"The data: address is not valid base64 ({why}).") from None


def _bounded(data: bytes, limit: int) -> bytes:
    if len(data) > limit:
        raise ImageError(f"Expected data:image/...;base64,... of at most {limit} bytes.")
    return data


# --- the address in a task's data ---------------------------------------------------------------


@dataclass(frozen=True)
class ImageTag:
    """The `Image` tag of a labelling config: its name and its value.

    The value says where a task's data has the address of its image. As in Label Studio's editor
    (1.23.2, `utils/data.js`), it may have paths: `$image`, `$image.url`, `$images[0]`,
    `$pages[0].url`. Text around a variable is kept: `https://images.example.org/$file`.
    """

    name: str
    value: str

    def address(self, data: Mapping[str, Any]) -> str:
        """The image's address in a task's data, stripped of blanks.

        If the data has a list, the first entry, as in the editor for a tag without valueList.

        Raises ImageError if there is none, with the path, the value found, and a remedy.
        """
        found = self._found(data)
        if isinstance(found, list) and found:
            found = found[0]
        if isinstance(found, str) and found.strip():
            return found.strip()
        came = "nothing" if found is _MISSING else f"a {type(found).__name__}"
        came = "an empty text" if isinstance(found, str) else came
        raise ImageError(
            f"Task data: expected an image address (text) under {self.value.removeprefix('$')!r}, "
            f"got {came}. Import the image under this key, or change the Image tag's value."
        )

    def _found(self, data: Mapping[str, Any]) -> Any:
        """The value with its variables replaced by a task's data; _MISSING if one is missing."""
        if self.value.startswith("$"):
            found = _at(data, self.value[1:])
            if found is not _MISSING or VARIABLE.fullmatch(self.value):
                return data.get(UNDEFINED, _MISSING) if found is _MISSING else found
        parts = {each: _at(data, each[1:]) for each in VARIABLE.findall(self.value)}
        if any(not isinstance(part, (str, int, float)) for part in parts.values()):
            return _MISSING
        return VARIABLE.sub(lambda each: str(parts[each[0]]), self.value)


def _at(data: Mapping[str, Any], path: str) -> Any:
    """The value at a path, as lodash's `get` finds it: first tries the whole path as a key."""
    if path in data:
        return data[path]
    found: Any = data
    for step in _STEP.finditer(path):
        key = next((text for text in step.groups() if text is not None), "")
        if isinstance(found, Mapping) and key in found:
            found = found[key]
        elif isinstance(found, list) and key.isascii() and key.isdigit() and int(key) < len(found):
            found = found[int(key)]
        else:
            return _MISSING
    return found
