from random import Random

import pytest

from backend.errors import ImageError, LabelConfigError
from backend.label_studio.label_config import ControlTag, ImageTag, ToolTag, parse_label_config

IMAGE = '<Image name="img" value="$image"/>'


def config(inner: str) -> str:
    return f"<View>{inner}</View>"


def brush(*labels: str, name: str = "tag", to: str = "img", tag: str = "BrushLabels") -> str:
    inside = "".join(f'<Label value="{label}"/>' for label in labels)
    return f'<{tag} name="{name}" toName="{to}">{inside}</{tag}>'


def test_reads_the_image_the_control_and_the_labels_in_order():
    parsed = parse_label_config(config(IMAGE + brush("Zebra", "Ant")))
    assert parsed.image == ImageTag("img", "$image")
    assert parsed.controls == (ControlTag("brush", "tag", "img", ("Zebra", "Ant")),)
    assert parsed.label_map.names == ("Zebra", "Ant")
    assert parsed.controls[0].result_type == "brushlabels"


def test_several_controls_unite_their_labels_and_each_label_goes_to_the_preferred_one():
    parsed = parse_label_config(
        config(
            IMAGE
            + brush("box only", "both", name="r", tag="RectangleLabels")
            + brush("both", "poly", name="p", tag="PolygonLabels")
            + brush("both", name="b")
        )
    )
    assert parsed.label_map.names == ("box only", "both", "poly")
    assert parsed.pre_annotation.name == "b"
    assert [parsed.control_for(name).name for name in parsed.label_map.names] == ["r", "b", "p"]
    with pytest.raises(LabelConfigError, match="'gone'"):
        parsed.control_for("gone")


SPECIES = '<Choice value="oak"/><Choice value="birch"/>'


def species(more: str = "") -> str:
    return f'<Choices name="kind" toName="img" perRegion="true"{more}>{SPECIES}</Choices>'


def test_choices_are_the_classes_where_shapes_have_no_labels():
    parsed = parse_label_config(config(IMAGE + '<Brush name="b" toName="img"/>' + species()))
    (control,) = parsed.controls
    assert (control.name, control.result_type, control.choices) == ("kind", "choices", True)
    assert control.tool == ToolTag("brush", "b", "img", "brush")
    assert parsed.label_map.names == ("oak", "birch") and not parsed.generic
    assert parsed.in_words() == "labels oak, birch, the choices of <Choices name='kind'>"


def test_beside_a_generic_label_the_config_has_to_say_that_choices_are_the_classes():
    as_they_are = parse_label_config(config(IMAGE + brush("Object") + species()))
    assert as_they_are.label_map.names == ("Object",)
    said = as_they_are.in_words()
    assert "'Object'" in said and "<Choices name='kind'>" in said and 'add taudis="class"' in said
    marked = parse_label_config(config(IMAGE + brush("Object") + species(' taudis="class"')))
    assert marked.label_map.names == ("oak", "birch") and marked.generic == {"tag"}
    assert marked.controls[0].tool == ToolTag("brush", "tag", "img", "brushlabels", "Object")
    without = parse_label_config(config(IMAGE + brush("Object", "Other") + species()))
    assert without.in_words() == "labels Object, Other"


def test_labels_that_are_not_listed_are_counted():
    from backend.label_studio.new_project import label_config
    from taudis.types import LabelMap

    xml = label_config(LabelMap(tuple(f"kind {n}" for n in range(12))), "brush")
    assert parse_label_config(xml).in_words().endswith("kind 9 and 2 more")


def labels_beside(*tools):
    drawn = "".join(f'<{tool} name="{tool}" toName="img"/>' for tool in tools)
    (control,) = parse_label_config(config(IMAGE + drawn + brush("a", tag="Labels"))).controls
    assert control.tool is not None and control.result_type == "labels"
    return control


@pytest.mark.parametrize(
    ("tools", "used"),
    [
        (["Rectangle", "MagicWand", "Polygon", "Brush"], "Brush"),
        (["Rectangle", "MagicWand", "Polygon"], "Polygon"),
        (["MagicWand", "Bitmask", "KeyPoint"], "Bitmask"),
        (["Rectangle", "Ellipse"], "Ellipse"),
        (["KeyPoint", "Rectangle"], "Rectangle"),
    ],
)
def test_labels_are_drawn_with_the_preferred_tool_that_label_studio_takes(tools, used):
    control = labels_beside(*tools)
    kind = used.lower()
    assert control.tool == ToolTag(kind, used, "img", kind) and not control.scores_only


@pytest.mark.parametrize("others", [[], ["KeyPoint"], ["Rectangle"], ["Ellipse", "KeyPoint"]])
def test_labels_beside_a_wand_alone_get_scores_only_with_the_way_out(others):
    control = labels_beside("MagicWand", *others)
    assert "no predictions of a MagicWand beside Labels; add <Brush" in control.scores_only


def test_labels_of_a_text_and_tools_without_labels_beside_brush_labels_are_left_alone():
    text = '<Text name="txt" value="$text"/>' + brush("word", tag="Labels", name="ner", to="txt")
    prompt = '<Rectangle name="prompt" toName="img"/>'
    parsed = parse_label_config(config(IMAGE + text + prompt + brush("a")))
    assert [control.name for control in parsed.controls] == ["tag"]
    assert parsed.label_map.names == ("a",)


def test_ellipses_come_after_polygons_and_before_rectangles():
    xml = IMAGE + "".join(
        brush("a", name=tag, tag=tag) for tag in ("RectangleLabels", "EllipseLabels")
    )
    assert parse_label_config(config(xml)).control_for("a").kind == "ellipse"


def test_tags_are_found_in_nested_views_and_labels_in_nested_tags():
    xml = config(
        "<View><Header value='h'/><View>" + IMAGE + "</View></View><Choices name='c' toName='img'>"
        "<Choice value='x'/></Choices><BrushLabels name='t' toName='img'><View>"
        "<Label value='Ä 漢 &amp; &lt;b&gt;'/></View></BrushLabels>"
    )
    assert parse_label_config(xml).label_map.names == ("Ä 漢 & <b>",)


def test_an_alias_is_the_name_since_label_studio_writes_it():
    xml = config(
        IMAGE + '<BrushLabels name="t" toName="img"><Label value="Car" alias="c"/></BrushLabels>'
    )
    assert parse_label_config(xml).label_map.names == ("c",)


@pytest.mark.slow
def test_a_thousand_labels_are_fine():
    names = [f"label {index}" for index in range(1500)]
    assert len(parse_label_config(config(IMAGE + brush(*names))).label_map) == 1500


def test_a_second_image_that_nothing_draws_on_is_left_alone():
    xml = config('<Image name="ref" value="$ref"/>' + IMAGE + brush("a"))
    assert parse_label_config(xml).image.name == "img"


BOMB = (
    '<!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY c "&a;&a;&a;&a;">]>'
    "<View><Header value='&c;'/></View>"
)


@pytest.mark.parametrize(
    ("xml", "says"),
    [
        ("", "is empty"),
        ("<View>", "not valid XML"),
        ("<View>\x00</View>", "not valid XML"),
        (BOMB, "DTD or entities"),
        (config(brush("a")), "No Image tag"),
        (config(IMAGE), "No supported label tag"),
        (config(IMAGE + "<KeyPointLabels/>"), "KeyPointLabels, which cannot be trained"),
        (config(IMAGE + "<Choices name='c' toName='img'/>"), "expected one of BrushLabels"),
        (config(IMAGE + '<Brush name="b" toName="img"/>'), "found Brush without a Labels tag"),
        (
            config(IMAGE + '<Brush name="b" toName="img"/>' + brush(tag="Labels")),
            "<Labels name='tag'> has no labels",
        ),
        (config(IMAGE + brush("a", tag="Labels")), "No supported label tag"),
        (config(IMAGE + brush()), "has no labels"),
        (
            config(IMAGE + '<BrushLabels name="t" toName="img" value="$labels"/>'),
            "takes its labels from the task data",
        ),
        (config(IMAGE + brush("$label")), "comes from the task data"),
        (config(IMAGE + brush("")), "has no value"),
        (config(IMAGE + brush("a", "b", "a")), r"repeats \['a'\]"),
        (config(IMAGE + brush("a") + brush("b")), "have one name"),
        (config(IMAGE + brush("a", to="other")), "names no Image tag"),
        (config(IMAGE + brush("a", name="")), "has no name"),
        (
            config(
                IMAGE
                + '<Image name="two" value="$two"/>'
                + brush("a")
                + brush("a", name="t2", to="two")
            ),
            "several objects",
        ),
        (config('<Image name="img" valueList="$images"/>' + brush("a")), "list of images"),
        (config('<Image name="img" value="http://x/a.png"/>' + brush("a")), "a data key"),
        (config('<Image name="img"/>' + brush("a")), "has no value"),
    ],
)
@pytest.mark.fault("F10", "sentences")
def test_an_unusable_config_is_refused_with_what_to_change(xml, says, figures):
    with pytest.raises(LabelConfigError, match=says):
        parse_label_config(xml)
    figures(configs=1, crashes=0)


def test_the_address_of_a_task():
    tag = ImageTag("img", "$image")
    assert tag.address({"image": " /data/upload/1/a.png "}) == "/data/upload/1/a.png"
    assert tag.address({"$undefined$": "/data/upload/1/a.png"}) == "/data/upload/1/a.png"
    assert tag.address({"image": ["/a.png", "/b.png"]}) == "/a.png"
    nothing = ({}, {"image": None}, {"image": ""}, {"image": []}, {"image": {"url": "a"}})
    for data in (*nothing, {"image": 7}, {"image": [["a"]]}, {"other": "a"}):
        with pytest.raises(ImageError, match="'image'"):
            tag.address(data)


def test_no_config_of_any_form_raises_anything_else():
    random = Random(3)
    parts = [
        "<View>", "</View>", IMAGE, brush("a"), brush("b", name="t2"), "<Repeater on='$x'>",
        "</Repeater>", '<Label value="c"/>', '<Brush name="br" toName="img"/>', "<Label/>", "text",
        brush("a", tag="Labels", name="l"), '<Image name="i2" value="$a[0].b"/>', "<!-- -->",
        '<VectorLabels name="v" toName="img" closable="true"><Label>x</Label></VectorLabels>',
        '<BrushLabels name="t3"><Label value="$x"/></BrushLabels>', "<Image/>", "<Labels/>",
        species(), species(' taudis="class"'), '<Choices name="c" perRegion="true" toName="img"/>',
    ]  # fmt: skip
    read = 0
    for _ in range(3000):
        xml = config("".join(random.choices(parts, k=random.randrange(1, 7))))
        try:
            parsed = parse_label_config(xml)
        except LabelConfigError:
            continue
        read += 1
        assert all(parsed.control_for(label).labels for label in parsed.label_map.names)
        assert isinstance(parsed.scores_only, str)
    assert read > 20


def test_a_config_that_nests_too_deep_is_refused():
    deep = "<View>" * 300 + IMAGE + brush("a") + "</View>" * 300
    with pytest.raises(LabelConfigError, match="more than 200 tags"):
        parse_label_config(deep)
