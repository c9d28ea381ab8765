"""Bytes of a data: address, as browsers read it (WHATWG Fetch, "data: URL processor")."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

from backend.errors import ImageError

_BASE64 = re.compile(r";\s*base64\s*$", re.IGNORECASE)
_WHITESPACE = b"\t\n\f\r "


def is_data_address(value: str) -> bool:
    """Whether an address holds its image in itself."""
    return value[:5].lower() == "data:"


def read_data_address(value: str, limit: int) -> bytes:
    """The bytes of a data: address, at most `limit`.

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
