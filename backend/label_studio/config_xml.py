"""Reads the XML of a labelling config like Label Studio's editor.

The editor (1.23.2, `core/Tree.tsx`) ignores the case of tags and attributes. It uses values as
written, including blanks. An element that contains only text has this text as its value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from backend.errors import LabelConfigError

EXAMPLE = (
    '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">'
    '<Label value="Object"/></BrushLabels></View>'
)
OBJECTS = {
    "audio", "audioplus", "chat", "hypertext", "image", "list", "paragraphs", "pdf", "richtext",
    "table", "text", "timeseries", "video",
}  # fmt: skip
"""Tags that show a part of a task."""
MAX_CHARACTERS = 5_000_000
MAX_DEPTH = 200
"""Maximum nesting. Real configs nest about ten deep."""


@dataclass(frozen=True, eq=False)
class Tag:
    """One element of a labelling config."""

    element: Element
    parent: Tag | None = None

    @property
    def written(self) -> str:
        """The tag's name as written, without its namespace: `BrushLabels`."""
        return str(self.element.tag).rpartition("}")[2]

    @property
    def name(self) -> str:
        """The tag's name in lower case, as the editor uses it: `brushlabels`."""
        return self.written.lower()

    @property
    def exact(self) -> bool:
        """Whether the tag has no namespace. The server ignores tags with a namespace."""
        return "}" not in str(self.element.tag)

    def get(self, attribute: str) -> str:
        """An attribute's value as written; '' if there is none. Ignores the case of the name."""
        wanted = attribute.lower()
        found = (text for key, text in self.element.attrib.items() if key.lower() == wanted)
        return next(found, "")

    def wanted(self, attribute: str) -> str:
        """A required attribute. Raises LabelConfigError if it is missing or blank."""
        value = self.value if attribute == "value" else self.get(attribute)
        if not value.strip():
            raise LabelConfigError(
                f'<{self.written}> has no {attribute}; add {attribute}="..." to it.'
            )
        return value

    @property
    def value(self) -> str:
        """The tag's value: its text if it contains only text, else the attribute."""
        text = "" if len(self.element) else escape(self.element.text or "", quote=False).strip()
        return text or self.get("value")

    def inside(self, name: str) -> bool:
        """Whether the tag is inside a tag with this lower-case name."""
        return self.parent is not None and (self.parent.name == name or self.parent.inside(name))

    def below(self, depth: int = 0) -> Iterator[Tag]:
        """The tag and all tags inside it, in document order.

        Raises LabelConfigError if the nesting is too deep.
        """
        if depth > MAX_DEPTH:
            raise LabelConfigError(
                f"The labelling config nests more than {MAX_DEPTH} tags into each other; "
                "take the outer ones away."
            )
        yield self
        for element in self.element:
            if isinstance(element.tag, str):
                yield from Tag(element, self).below(depth + 1)


def read_tags(xml: str) -> list[Tag]:
    """All tags of a labelling config, in document order.

    Raises LabelConfigError for an empty, invalid, hostile or too large config.
    """
    return list(Tag(_root(xml)).below())


def target_of(tag: Tag, objects: list[Tag]) -> str:
    """The name of the object that a tag belongs to: toName, else the config's only object."""
    return tag.get("toName") or (objects[0].get("name") if len(objects) == 1 else "")


def _root(xml: str) -> Element:
    if not isinstance(xml, str) or not xml.strip():
        raise LabelConfigError(f"The labelling config is empty; set one such as {EXAMPLE}")
    if len(xml) > MAX_CHARACTERS:
        raise LabelConfigError(
            f"The labelling config has {len(xml)} characters, at most {MAX_CHARACTERS} are read."
        )
    try:
        return fromstring(xml, forbid_dtd=True)
    except DefusedXmlException:
        raise LabelConfigError(
            "The labelling config declares a DTD or entities; remove the <!DOCTYPE ...> part."
        ) from None
    except (ParseError, ValueError) as error:
        raise LabelConfigError(f"The labelling config is not valid XML ({error}).") from None
