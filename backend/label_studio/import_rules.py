"""Which tags of a labelling config Label Studio accepts predictions for.

At import the server checks every prediction with its SDK (`label_studio_sdk.label_interface`,
2.0.18 in Label Studio 1.23.0, 2.1.2 in 1.23.1 and 1.23.2), and refuses the whole import for one
prediction that does not fit. The SDK reads a config more strictly than the editor does. The case of
attributes and of `Label` tags counts. toName has no default. The text between two tags is no value.
Beside `Labels` it accepts some tools that draw, but not `MagicWand`. So people can label with a
config for which Label Studio accepts no predictions. Then only scores are written, and `refusal`
says why.
"""

from __future__ import annotations

from backend.label_studio.config_xml import Tag

LABELS_BESIDE = ("brush", "bitmask", "polygon", "ellipse", "rectangle", "keypoint", "vector")
"""Tools beside which the server takes predictions of a `Labels` tag (SDK 2.1.2)."""
CHOICES_BESIDE = (*LABELS_BESIDE, "magicwand")
"""Tools beside which it takes those of a `Choices` tag, whose results have no shape."""

_LABEL_TAGS = {"Label", "Choice", "Relation"}


def refusal(control: Tag, image: Tag, labels: tuple[str, ...]) -> str:
    """Why the server refuses predictions of a tag with these labels on an image; '' if it does not.

    For a tool that draws without labels, `labels` is empty.
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
    """The labels that the SDK sees in a tag. A tag without any takes every label."""
    below = (each.element for each in control.below() if each.exact)
    found = [each.get("alias") or each.get("value") for each in below if each.tag in _LABEL_TAGS]
    return {label for label in found if label is not None}
