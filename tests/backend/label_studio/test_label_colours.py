"""The colours of labels: those of the labelling config, else colours of our own."""

from backend.label_studio.label_colours import FALLBACK, label_colours
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.new_project import COLOURS, label_config
from taudis.types import LabelMap


def colours_of(labels, tag="BrushLabels", child="Label"):
    tags = "".join(f"<{child} {attributes}/>" for attributes in labels)
    xml = f'<View><Image name="i" value="$image"/><{tag} name="t" toName="i">{tags}</{tag}></View>'
    return label_colours(xml, parse_label_config(xml).label_map.names)


def test_every_label_of_a_new_project_has_its_own_colour():
    names = [f"label {row}" for row in range(20)]
    xml = label_config(LabelMap(tuple(names)), "brush")
    found = label_colours(xml, names)
    assert ["#{:02x}{:02x}{:02x}".format(*colour) for colour in found] == list(COLOURS)
    assert len(set(found)) == 20


def test_colours_are_read_as_css():
    written = ["#0f8", "#00ff8880", "Orange", "rgb(1, 2, 3)", "hsl(120, 100%, 25%)"]
    found = colours_of(f'value="{row}" background="{text}"' for row, text in enumerate(written))
    assert found == [(0, 255, 136), (0, 255, 136), (255, 165, 0), (1, 2, 3), (0, 128, 0)]


def test_a_label_without_a_readable_colour_has_the_one_of_its_place():
    found = colours_of(['value="a"', 'value="b" background="nonsense"', 'value="c" alias="d"'])
    assert found == list(FALLBACK[:3])
    assert len(colours_of(f'value="{row}"' for row in range(9))) == 9


def test_an_alias_is_the_name_of_a_label():
    assert colours_of(['value="long name" alias="a" background="#010203"']) == [(1, 2, 3)]
