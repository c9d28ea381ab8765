"""Where a task's data holds the address of its image: the `value` of the config's Image tag.

Label Studio's editor (1.23.2, `utils/data.js`) follows paths: `$image`, `$image.url`, `$images[0]`,
`$pages[0].url`. Text around such variables stays: `https://images.example.org/$file`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.errors import ImageError

UNDEFINED = "$undefined$"
"""The data key that Label Studio uses for files uploaded before the config was set."""

VARIABLE = re.compile(r"\$[A-Za-z0-9_\[\].{}]+")
"""A variable as the editor finds it in a value: a key of the data, or a path into it."""

_STEP = re.compile(r"\[(?:\"([^\"]*)\"|'([^']*)'|([^\]]*))\]|([^.\[\]]+)")
_MISSING = object()


@dataclass(frozen=True)
class ImageTag:
    """The `Image` object tag: its name, and its value, such as `$image` or `$pages[0].url`."""

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
