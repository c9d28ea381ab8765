"""Reads the names and labels of a labelling config's control tags.

A label's name is its `alias` if it has one, else its `value`. The editor writes this name into a
region, and accepts either in a region.
"""

from __future__ import annotations

from collections import Counter

from backend.errors import LabelConfigError
from backend.label_studio.addresses import VARIABLE
from backend.label_studio.config_xml import Tag

__all__ = ["labels_of", "name_of", "quoted"]


def quoted(tag: Tag) -> str:
    """A control tag for messages: <BrushLabels name='tag'>."""
    return f"<{tag.written} name={tag.get('name')!r}>"


def name_of(tag: Tag) -> str:
    """A control tag's name.

    Raises LabelConfigError if there is none, or if the editor would truncate it.
    """
    name = tag.wanted("name")
    if "@" in name:
        raise LabelConfigError(
            f"{quoted(tag)}: Label Studio's editor cuts names off at @; rename it."
        )
    return name


def labels_of(tag: Tag) -> tuple[tuple[str, ...], dict[str, str]]:
    """A tag's labels (or choices) in order, and value -> name of the labels with an alias.

    Raises LabelConfigError if there is no label, or if a label has no name, comes from the task
    data, or is repeated.
    """
    child = "Choice" if tag.name == "choices" else "Label"
    found = [
        _label(each, tag, child)
        for each in tag.below()
        if each.name == child.lower() and not each.inside("choice")  # the editor skips nested ones
    ]
    if not found:
        dynamic = tag.get("value").startswith("$")
        kind = "choices" if child == "Choice" else "labels"
        why = f"takes its {kind} from the task data" if dynamic else f"has no {kind}"
        raise LabelConfigError(
            f"{quoted(tag)} {why}; write them out as "
            f'<{child} value="..."/>, since a model needs a fixed set of labels.'
        )
    names = [name for name, _ in found]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise LabelConfigError(f"{quoted(tag)} repeats {twice}; keep one of each.")
    return tuple(names), {value: name for name, value in found if value and value not in names}


def _label(tag: Tag, control: Tag, child: str) -> tuple[str, str]:
    """A label's name and its value."""
    alias, value = tag.get("alias"), tag.value
    name = repr(control.get("name"))
    if (
        child == "Choice"
        and not alias
        and any(key.lower() == "alias" for key in tag.element.attrib)
    ):
        raise LabelConfigError(  # the editor would write the empty alias into the region
            f"A Choice of {name} has an empty alias; take the attribute away."
        )
    if not (alias or value).strip():
        raise LabelConfigError(f'A {child} of {name} has no value; add value="..." to it.')
    if not alias and VARIABLE.fullmatch(value):
        raise LabelConfigError(
            f"{child} {value!r} of {name} comes from the task data; write its name out."
        )
    return alias or value, value
