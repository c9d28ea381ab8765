"""The labelling config of the demonstration's project."""

from __future__ import annotations

from taudis.types import LabelMap

CONTROLS = {"brush": "BrushLabels", "polygon": "PolygonLabels", "rectangle": "RectangleLabels"}
"""Value of DEMO_LABELS -> tag of the labelling config."""
COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324", "#808000")


def label_config(label_map: LabelMap, control: str) -> str:
    """A labelling config with one control tag that has every label.

    Args:
        label_map: the names of the labels.
        control: a key of CONTROLS.
    """
    tag = CONTROLS[control]
    labels = "\n".join(
        f'    <Label value="{_escaped(name)}" background="{COLOURS[row % len(COLOURS)]}"/>'
        for row, name in enumerate(label_map.names)
    )
    return (
        f'<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
        f'  <{tag} name="tag" toName="image">\n{labels}\n  </{tag}>\n</View>'
    )


def _escaped(text: str) -> str:
    """Text as it stands in an XML attribute between double quotes."""
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), ('"', "&quot;")):
        text = text.replace(character, entity)
    return text
