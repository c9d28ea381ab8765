"""Finds the `Choices` tag whose choices are the classes of regions, or reports ambiguity.

With `perRegion="true"`, each region has a choice. It may be the region's class ("oak", "birch") or
another property ("in shadow"). An unmarked tag gives the class only if nothing else can: no drawing
tag has labels, and there is exactly one such `Choices` tag with single choice. Otherwise the
attribute `taudis="class"` marks the tag. Label Studio keeps attributes that it does not know.

Follow-up questions (`whenChoiceValue`, `whenLabelValue`) give classes only if they are marked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backend.errors import LabelConfigError
from backend.label_studio.config_labels import quoted
from backend.label_studio.config_xml import Tag

MARK = 'taudis="class"'
"""The attribute that marks the tag whose choices are the classes."""


@dataclass(frozen=True)
class ImageChoices:
    """The `Choices` tags of the image, and which of them gives the classes."""

    tags: tuple[Tag, ...] = ()

    def marked(self) -> Tag | None:
        """The tag with MARK; None if there is none.

        Raises LabelConfigError if two tags have it, or if the choices cannot be classes.
        """
        marked = [tag for tag in self.tags if tag.get("taudis").strip().lower() == "class"]
        if len(marked) > 1:
            raise LabelConfigError(
                f"{_listed(marked)} all have {MARK}, and a region has one class; keep it in one."
            )
        for tag in marked:
            _check(tag)
        return marked[0] if marked else None

    def only(self) -> Tag | None:
        """The tag whose choices are the classes if the drawing tags have no labels.

        Raises LabelConfigError if several tags are possible, or if one allows several choices.
        """
        single, multiple = self._open(), self._per_region(multiple=True)
        if len(single) > 1:
            raise LabelConfigError(
                f"{_listed(single)} each give a region a choice, and one of them can be its class; "
                f"add {MARK} to that one."
            )
        if not single and multiple:
            _check(multiple[0])
        for tag in single:
            _check(tag)
        return single[0] if single else None

    def ignored(self, label: str) -> str:
        """A notice that choices are ignored because the only label, `label`, is the class.

        '' if no tag gives choices to regions.
        """
        tags = self._open()
        if not tags:
            return ""
        return (
            f"Every region is a {label!r}, the only label; {_listed(tags)} gives regions choices, "
            f"which are ignored. If the choices are the classes, add {MARK} to the tag"
        )

    def missing(self) -> str:
        """A hint for tags that only lack perRegion to give classes; '' if there are none."""
        whole = [tag for tag in self.tags if not _is_per_region(tag)]
        return f'; {_listed(whole)} lacks perRegion="true"' if whole else ""

    def _open(self) -> list[Tag]:
        """Tags with single choice that are no follow-up questions."""
        conditions = ("whenChoiceValue", "whenLabelValue")
        return [
            tag
            for tag in self._per_region(multiple=False)
            if not any(tag.get(condition) for condition in conditions)
        ]

    def _per_region(self, *, multiple: bool) -> list[Tag]:
        return [tag for tag in self.tags if _is_per_region(tag) and _is_multiple(tag) == multiple]


def _is_per_region(tag: Tag) -> bool:
    return tag.get("perRegion") == "true"


def _is_multiple(tag: Tag) -> bool:
    return tag.get("choice") == "multiple"


def _check(tag: Tag) -> None:
    """Raise LabelConfigError for choices that cannot be classes."""
    if not _is_per_region(tag):
        why = 'is of the whole image; add perRegion="true"'
    elif _is_multiple(tag):
        why = 'lets people choose several, and a region has one class; take choice="multiple" away'
    elif tag.get("allowNested") == "true":
        why = "has nested choices, and a class has one name; take allowNested away"
    else:
        return
    raise LabelConfigError(f"{quoted(tag)} {why}.")


def _listed(tags: Sequence[Tag]) -> str:
    return " and ".join(map(quoted, tags))
