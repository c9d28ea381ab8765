"""Decides for which tags of a labelling config Label Studio accepts predictions.

At import the server checks every prediction with its SDK (`label_studio_sdk.label_interface`,
2.0.18 in Label Studio 1.23.0, 2.1.2 in 1.23.1 and 1.23.2), and refuses the whole import if one
prediction does not fit. The SDK reads a config more strictly than the editor: the case of
attributes and of `Label` tags counts, toName has no default, and the text between two tags is no
value. With `Labels`, it accepts some drawing tools, but not `MagicWand`. People can therefore label
with a config for which Label Studio accepts no predictions. Then only scores are written, and
`refusal` says why.
"""

from __future__ import annotations

from backend.label_studio.config_xml import Tag

LABELS_BESIDE = ("brush", "bitmask", "polygon", "ellipse", "rectangle", "keypoint", "vector")
"""Tools with which the server accepts predictions for a `Labels` tag (SDK 2.1.2)."""
CHOICES_BESIDE = (*LABELS_BESIDE, "magicwand")
"""Tools with which it accepts predictions for a `Choices` tag, whose results have no shape."""

_LABEL_TAGS = {"Label", "Choice", "Relation"}


def refusal(control: Tag, image: Tag, labels: tuple[str, ...]) -> str:
    """Why the server refuses predictions for a tag on an image; '' if it accepts them.

    `labels`: the tag's labels; empty for a tool that draws without labels.
    """
    tag = control.written
    attributes = control.element.attrib
    named = image.element.attrib
    if not control.exact or not image.exact:
        return f"<{tag}> has an XML namespace; take xmlns out of the labelling config"
    if "name" not in attributes or "toName" not in attributes:
        return f'<{tag}> lacks a name="..." or toName="..." in these very letters; add both'
    if named.get("name") not in attributes["toName"].split(",") or not named.get("value"):
        return '<Image> lacks a name="..." or value="..." in these very letters; add both'
    if "toName" in named:
        return "<Image> has a toName; take it away"
    unknown = [label for label in labels if label not in (known := _known(control))]
    if unknown and known:
        child = "Choice" if control.name == "choices" else "Label"
        return f'<{tag}>: write {unknown[0]!r} as <{child} value="..."/>, in these very letters'
    return ""


def _known(control: Tag) -> set[str]:
    """The labels of a tag that the SDK knows. If it knows none, it accepts every label."""
    below = (each.element for each in control.below() if each.exact)
    found = [each.get("alias") or each.get("value") for each in below if each.tag in _LABEL_TAGS]
    return {label for label in found if label is not None}
