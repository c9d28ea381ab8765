"""Every kind of address that Label Studio, its tasks and its callers use, and how it is read.

- Servers: `normal_address` and what compares two of them. Web requests and settings hold these.
- Images on the web: `split_address`, `origin_of`, `embedded`. Tasks hold these; anybody may write
  a task, so every part is checked.
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
"""The data key that Label Studio uses for files uploaded before the config was set."""

VARIABLE = re.compile(r"\$[A-Za-z0-9_\[\].{}]+")
"""A variable as the editor finds it in a value: a key of the data, or a path into it."""

_STEP = re.compile(r"\[(?:\"([^\"]*)\"|'([^']*)'|([^\]]*))\]|([^.\[\]]+)")
_MISSING = object()

EXCERPT = 80  # letters of an address in a message
_RESERVED = [
    ipaddress.ip_network(each)
    for each in ("192.0.0.0/24", "64:ff9b:1::/48", "2001::/23", "3fff::/20", "5f00::/16")
]
"""Reserved networks that Python before 3.12.4 takes for public ones (IANA special purpose)."""
_PORTS = {"http": 80, "https": 443}
_BASE64 = re.compile(r";\s*base64\s*$", re.IGNORECASE)
_WHITESPACE = b"\t\n\f\r "


# --- addresses of servers -----------------------------------------------------------------------


def normal_address(address: str) -> str:
    """A server's address in one spelling: scheme://host[:port][/path].

    The default port and a trailing slash are taken away, the host is in lower case.

    Raises ValueError: no http(s) address, user info in it, a query, or a broken port.
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
    """Whether an address names the machine of whoever uses it, as localhost does."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _is_host(host: str) -> bool:
    """Whether a text is an IP address, or letters, digits, dots, - and _ alone."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        letters = host.replace("-", "").replace(".", "").replace("_", "")
        return len(host) <= 253 and bool(letters) and letters.isascii() and letters.isalnum()
    return True


# --- addresses of images on the web -------------------------------------------------------------


def split_address(url: str) -> SplitResult:
    """An image's http or https address in parts.

    Raises ImageError for every other address, and for one with a user name or password in it.
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
    """Scheme, host and port. A token belongs to these three together."""
    host = (parts.hostname or "").lower().rstrip(".")
    return parts.scheme, host, parts.port or (443 if parts.scheme == "https" else 80)


def is_public(address: Address) -> bool:
    """Whether an address belongs to the internet: no private, local, reserved or multicast one."""
    reserved = any(address in network for network in _RESERVED)
    return address.is_global and not address.is_multicast and not reserved


def embedded(address: Address) -> Address:
    """The IPv4 address that packets to an IPv6 address go to (mapped, 6to4, NAT64), else itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in ipaddress.ip_network("64:ff9b::/96"):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def excerpt(address: str) -> str:
    """The beginning of an address, for messages.

    Without its query, which may hold a signature, and without user name and password.
    """
    if is_data_address(address):
        return "data:..."
    scheme, mark, rest = address.partition("://")
    if not mark:
        scheme, rest = "", address
    if "@" in rest and not address.startswith("/"):
        before, _, after = rest.rpartition("@")
        # An @ in the query is no user info; but in a broken address nobody can tell.
        rest = "..." if "?" in before else f"...@{after}"
    if not address.startswith("/data/local-files"):
        rest = rest.partition("?")[0]
    head = scheme + mark + rest
    return repr(head[:EXCERPT] + ("..." if len(head) > EXCERPT else ""))


# --- images inside a task -----------------------------------------------------------------------


def is_data_address(value: str) -> bool:
    """Whether an address is a data: address, which holds its image in itself."""
    return value[:5].lower() == "data:"


def read_data_address(value: str, limit: int) -> bytes:
    """The bytes of a data: address, at most `limit`, as browsers read it (WHATWG Fetch).

    White space and missing padding in base64 are read, as browsers do. The letters of the other
    alphabet (- and _) are not: browsers show no such image.

    Raises ImageError for an address that is too long or not valid.
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

    The value says where a task's data holds the address of its image. Label Studio's editor
    (1.23.2, `utils/data.js`) follows paths: `$image`, `$image.url`, `$images[0]`, `$pages[0].url`.
    Text around such variables stays: `https://images.example.org/$file`.
    """

    name: str
    value: str

    def address(self, data: Mapping[str, Any]) -> str:
        """The image's address in a task's data, without blanks around it.

        Of a list, the first: the editor shows no other where the tag has no valueList.

        Raises ImageError when there is none, with the path, what came, and what to do.
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
        """What the value stands for in a task's data; _MISSING if a variable has no value."""
        if self.value.startswith("$"):
            found = _at(data, self.value[1:])
            if found is not _MISSING or VARIABLE.fullmatch(self.value):
                return data.get(UNDEFINED, _MISSING) if found is _MISSING else found
        parts = {each: _at(data, each[1:]) for each in VARIABLE.findall(self.value)}
        if any(not isinstance(part, (str, int, float)) for part in parts.values()):
            return _MISSING
        return VARIABLE.sub(lambda each: str(parts[each[0]]), self.value)


def _at(data: Mapping[str, Any], path: str) -> Any:
    """The value at a path, as lodash's `get` finds it: the whole text as one key goes first."""
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
