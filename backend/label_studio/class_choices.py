"""Finds the `Choices` tag whose choices are the classes of regions, and says where that is open.

A region has a choice of its own where `perRegion="true"`. Such a choice may be its class ("oak",
"birch") or something else about it ("in shadow"). It is the class without being marked only where
nothing else can be: the tags that draw have no labels, and there is one such `Choices` of a single
choice. In every other config the attribute `taudis="class"` says it. Label Studio keeps attributes
that it does not know.

Questions that a choice or a label leads to (`whenChoiceValue`, `whenLabelValue`) are no classes
unless they are marked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backend.errors import LabelConfigError
from backend.label_studio.config_labels import quoted
from backend.label_studio.config_xml import Tag

MARK = 'taudis="class"'
"""The attribute that makes the choices of a tag the classes."""


@dataclass(frozen=True)
class ImageChoices:
    """The `Choices` tags of the image."""

    tags: tuple[Tag, ...] = ()

    def marked(self) -> Tag | None:
        """The tag that says that its choices are the classes; None if none says so.

        Raises LabelConfigError where two say so, or where its choices cannot be classes.
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
        """The tag whose choices are the classes where the tags that draw have no labels.

        Raises LabelConfigError where several could be it, or where one lets people choose several.
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
        """What to do where the choices are meant as classes, though the only label is the class.

        '' where no tag gives regions choices.
        """
        tags = self._open()
        if not tags:
            return ""
        return (
            f"Every region is a {label!r}, the only label; {_listed(tags)} gives regions choices, "
            f"which are ignored. If the choices are the classes, add {MARK} to the tag"
        )

    def missing(self) -> str:
        """What the image's tags lack that could give classes; '' where there is none."""
        whole = [tag for tag in self.tags if not _is_per_region(tag)]
        return f'; {_listed(whole)} lacks perRegion="true"' if whole else ""

    def _open(self) -> list[Tag]:
        """Tags of a single choice that nothing else leads to."""
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
    """Refuse choices that cannot be classes."""
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
