"""The colours of a project's labels, as a labelling config gives them."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import ImageColor

from backend.label_studio.config_xml import read_tags

RGB = tuple[int, int, int]
FALLBACK: tuple[RGB, ...] = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167)
)  # fmt: skip
"""RGB colours of labels without a colour, in turn. Most people with colour blindness can tell them
apart (Okabe and Ito, 2008)."""


def label_colours(xml: str, names: Sequence[str]) -> list[RGB]:
    """The RGB colour of each label, 0 to 255.

    A label has the `background` of its <Label> or <Choice> tag, which is the colour of its regions
    in Label Studio's editor. Without a background, or with one that Pillow cannot read, a label has
    the colour of FALLBACK at its place.

    Args:
        xml: a labelling config that `parse_label_config` accepts.
        names: the names of its labels.
    """
    given: dict[str, RGB] = {}
    for tag in read_tags(xml):
        if tag.name in ("label", "choice"):
            colour = _rgb(tag.get("background"))
            if colour is not None:
                given.setdefault(tag.get("alias") or tag.value, colour)
    return [given.get(name, FALLBACK[row % len(FALLBACK)]) for row, name in enumerate(names)]


def _rgb(text: str) -> RGB | None:
    """A CSS colour without its opacity; None if Pillow cannot read it."""
    try:
        red, green, blue, *_ = ImageColor.getrgb(text.strip())
    except ValueError:
        return None
    return red, green, blue
