"""Labelling configs and what they mean, one attribute or tag each: data for tests and for the docs.

The oracle of `written` and `served` is a running Label Studio: tests/studio/test_label_configs.py.
"""

# ruff: noqa: E501  one case a line, as in the table that is made of them

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

IMAGE = '<Image name="img" value="$image"/>'
A = '<Label value="A"/>'
NBSP = "\u00a0"
ADDRESS = "/data/upload/1/a.png"


def tag(name: str, inner: str = A, more: str = "", to: str = "img", called: str = "tag") -> str:
    """A control tag with labels."""
    return f'<{name} name="{called}" toName="{to}"{" " if more else ""}{more}>{inner}</{name}>'


def view(*inner: str) -> str:
    """A labelling config."""
    return f"<View>{''.join(inner)}</View>"


def beside(*tools: str) -> str:
    """A config of `Labels` beside tools that draw on the image."""
    drawn = "".join(f'<{tool} name="{tool.lower()}" toName="img"/>' for tool in tools)
    return view(IMAGE, drawn, tag("Labels"))


BRUSH = tag("BrushLabels")


@dataclass(frozen=True)
class ConfigCase:
    """One config. Refused where `refused`, else with these labels, this address, these results."""

    tag: str  # what the case is about, for the table
    what: str
    xml: str
    labels: tuple[str, ...] = ("A",)
    data: Mapping[str, object] = field(default_factory=lambda: {"image": ADDRESS})
    written: tuple[str, ...] = ("brushlabels",)  # types of a prediction's results; () scores only
    ignored: bool = False  # it changes nothing
    refused: bool = False
    says: str = ""  # words of the sentence where it is refused or gets scores only
    served: bool = True  # whether Label Studio 1.23.2 saves this config


def refused(about: str, what: str, xml: str, says: str, *, served: bool = True) -> ConfigCase:
    """A config that cannot be used."""
    return ConfigCase(about, what, xml, refused=True, says=says, served=served)


def scores_only(
    about: str, what: str, xml: str, says: str, *, served: bool = True, **more: Any
) -> ConfigCase:
    """A config that people label with, but that takes no predictions."""
    return ConfigCase(about, what, xml, written=(), says=says, served=served, **more)


def ignored(about: str, what: str, xml: str, *, served: bool = True, **more: Any) -> ConfigCase:
    """A config in which something changes nothing."""
    return ConfigCase(about, what, xml, ignored=True, served=served, **more)


def _labelled(what: str, inner: str, *labels: str) -> ConfigCase:
    return ConfigCase("Label", what, view(IMAGE, tag("BrushLabels", inner)), labels=labels)


def _addressed(what: str, value: str, data: Mapping[str, object]) -> ConfigCase:
    xml = view(f'<Image name="img" value="{value}"/>', BRUSH)
    return ConfigCase("Image", what, xml, data=data)


LABELS = [
    _labelled('value="A"', A, "A"),
    _labelled('value="A " (a blank at the end)', '<Label value="A "/>', "A "),
    _labelled('value=" A" (a blank before)', '<Label value=" A"/>', " A"),
    _labelled('value="A&#9;" (a tab)', '<Label value="A&#9;"/>', "A\t"),
    _labelled('value="A&#160;" (a no-break space)', '<Label value="A&#160;"/>', f"A{NBSP}"),
    _labelled("two labels that differ by a blank", f'{A}<Label value="A "/>', "A", "A "),
    _labelled("letters of any script, &amp;, &lt;", '<Label value="Ä 漢 &amp; &lt;b&gt;"/>', "Ä 漢 & <b>"),
    _labelled('alias="a" beside value="A"', '<Label value="A" alias="a"/>', "a"),
    _labelled('alias=" a "', '<Label value="A" alias=" a "/>', " a "),
    _labelled('alias="" (empty)', '<Label value="A" alias=""/>', "A"),
    _labelled('alias beside value="$name"', '<Label value="$name" alias="a"/>', "a"),
    _labelled("inside another View of the tag", f"<View><Header value='h'/>{A}</View>", "A"),
    _labelled('value="5 $" (no name after the $)', '<Label value="5 $"/>', "5 $"),
    refused("Label", 'value="$name" (from the task data)',
            view(IMAGE, tag("BrushLabels", '<Label value="$name"/>')), "comes from the task data"),
    refused("Label", 'value=""', view(IMAGE, tag("BrushLabels", '<Label value=""/>')), "no value"),
    refused("Label", "the same name twice",
            view(IMAGE, tag("BrushLabels", A + A)), "repeats ['A']"),
    _labelled("background (the colour of its masks on the status page)",
              '<Label value="A" background="red"/>', "A"),
    ignored("Label", "hotkey, selected, maxUsages, hint, size, html, showAlias, category",
            view(IMAGE, tag("BrushLabels", '<Label value="A" hotkey="1" hint="h"'
                 ' selected="true" maxUsages="2" size="small" html="&lt;b&gt;" showAlias="true"'
                 ' category="3" granularity="word" selectedColor="#fff" aliasStyle="x"/>'))),
    scores_only("Label", "its name as text: <Label>A</Label>",
                view(IMAGE, tag("BrushLabels", "<Label>A</Label>" + '<Label value="B"/>')),
                "write 'A' as <Label", labels=("A", "B")),
]  # fmt: skip

IMAGES = [
    _addressed('value="$image"', "$image", {"image": ADDRESS}),
    _addressed("files uploaded before the config was set", "$image", {"$undefined$": ADDRESS}),
    _addressed('value="$image.url" (a path)', "$image.url", {"image": {"url": ADDRESS}}),
    _addressed('value="$image.url" (one key with a dot)', "$image.url", {"image": {"url": "/other.png"}, "image.url": ADDRESS}),
    _addressed('value="$images[0]"', "$images[0]", {"images": [ADDRESS, "/b.png"]}),
    _addressed('value="$pages[1].url"', "$pages[1].url", {"pages": [{}, {"url": ADDRESS}]}),
    _addressed('value="$image" and a list in the task', "$image", {"image": [ADDRESS, "/b.png"]}),
    _addressed('value="/data/upload/$project/$file"', "/data/upload/$project/$file",
               {"project": "1", "file": "a.png"}),
    refused("Image", 'valueList="$images"',
            view('<Image name="img" valueList="$images"/>', BRUSH), "list of images"),
    refused("Image", 'value="$images[{{idx}}]" in a Repeater',
            '<View><Repeater on="$images" indexFlag="{{idx}}"><Image name="img_{{idx}}"'
            ' value="$images[{{idx}}]"/>' + tag("BrushLabels", to="img_{{idx}}", called="tag_{{idx}}")
            + "</Repeater></View>", "is in a <Repeater>"),
    refused("Image", 'value="$images[{{idx}}]" without a Repeater',
            view('<Image name="img" value="$images[{{idx}}]"/>', BRUSH), "only a <Repeater>"),
    refused("Image", 'value="https://images.example.org/a.png" (no data key)',
            view('<Image name="img" value="https://images.example.org/a.png"/>', BRUSH),
            "expected a data key"),
    refused("Image", "no value", view('<Image name="img"/>', BRUSH), "has no value", served=False),
    refused("Image", "no name", view('<Image value="$image"/>', BRUSH), "has no name", served=False),
    refused("Image", "none", view(BRUSH), "No Image tag", served=False),
    refused("Image", "two, each with label tags", view(
        IMAGE, '<Image name="two" value="$two"/>', BRUSH,
        tag("BrushLabels", to="two", called="tag2")), "several objects"),
    ConfigCase("Image", "a second one that nothing draws on",
               view('<Image name="ref" value="$ref"/>', IMAGE, BRUSH),
               data={"image": ADDRESS, "ref": "/b.png"}),
    ignored("Image", "zoom, rotateControl, brightnessControl, width, maxWidth, crossOrigin, grid, ...",
            view('<Image name="img" value="$image" zoom="true" zoomControl="true" width="50%"'
                 ' rotateControl="true" brightnessControl="true" maxWidth="9px" grid="true"'
                 ' crossOrigin="anonymous" smoothing="false" defaultZoom="fit"/>', BRUSH)),
    scores_only("Image", "its value as text: <Image>$image</Image>",
                view('<Image name="img">$image</Image>', BRUSH), "<Image> lacks a name", served=False),
]  # fmt: skip

CONTROLS = [
    ConfigCase("BrushLabels", "its labels", view(IMAGE, BRUSH)),
    ConfigCase("BitmaskLabels", "its labels", view(IMAGE, tag("BitmaskLabels")),
               written=("bitmasklabels",)),
    ConfigCase("PolygonLabels", "its labels", view(IMAGE, tag("PolygonLabels")),
               written=("polygonlabels",)),
    ConfigCase("EllipseLabels", "its labels", view(IMAGE, tag("EllipseLabels")),
               written=("ellipselabels",)),
    ConfigCase("RectangleLabels", "its labels", view(IMAGE, tag("RectangleLabels")),
               written=("rectanglelabels",)),
    scores_only("VectorLabels", 'closable="true"',
                view(IMAGE, tag("VectorLabels", more='closable="true"')),
                "VectorLabels are read but not written"),
    refused("VectorLabels", "without closable (lines have no area)",
            view(IMAGE, tag("VectorLabels")), 'VectorLabels without closable="true"'),
    refused("KeyPointLabels", "alone (points have no area)",
            view(IMAGE, tag("KeyPointLabels")), "KeyPointLabels, which cannot be trained"),
    ignored("KeyPointLabels", "beside BrushLabels",
            view(IMAGE, BRUSH, tag("KeyPointLabels", '<Label value="P"/>', called="kp"))),
    ignored("VectorLabels", "beside BrushLabels, without closable",
            view(IMAGE, BRUSH, tag("VectorLabels", '<Label value="P"/>', called="line"))),
    ConfigCase("label tags", "several: a label goes to brush, bitmask, polygon, ellipse, rectangle",
               view(IMAGE, tag("RectangleLabels", called="r"), tag("PolygonLabels", called="p")),
               written=("polygonlabels",)),
    ignored("label tags", "opacity, strokeWidth, fillColor, smart, showInline, choice, maxUsages, ...",
            view(IMAGE, tag("BrushLabels", more='opacity="0.5" strokeWidth="3" fillColor="red"'
                 ' smart="true" smartOnly="true" showInline="false" choice="multiple" maxUsages="3"'
                 ' allowEmpty="true" visibleWhen="region-selected" perRegion="false"'
                 ' required="true" snap="pixel"'))),
    refused("label tags", 'value="$labels" (from the task data)',
            view(IMAGE, '<BrushLabels name="tag" toName="img" value="$labels"/>'),
            "takes its labels from the task data"),
    ConfigCase("label tags", 'value="$labels" beside labels of its own (those of the task are unknown)',
               view(IMAGE, tag("BrushLabels", more='value="$labels"')),
               data={"image": ADDRESS, "labels": [{"value": "C"}]}),
    refused("label tags", "no labels", view(IMAGE, tag("BrushLabels", "")), "has no labels"),
    refused("label tags", "no name", view(IMAGE, f'<BrushLabels toName="img">{A}</BrushLabels>'),
            "has no name"),
    scores_only("label tags", "no toName, one object",
                view(IMAGE, f'<BrushLabels name="tag">{A}</BrushLabels>'), "lacks a name"),
    refused("label tags", "no toName, several objects",
            view(IMAGE, '<Text name="txt" value="$text"/>', f'<BrushLabels name="tag">{A}</BrushLabels>'),
            "has no toName"),
    refused("label tags", "toName of no tag", view(IMAGE, tag("BrushLabels", to="other")),
            "names no Image tag", served=False),
    refused("label tags", 'toName="img,two"',
            view(IMAGE, '<Image name="two" value="$two"/>', tag("BrushLabels", to="img,two")),
            "several objects"),
    refused("label tags", "the name of another", view(IMAGE, BRUSH, BRUSH), "one name", served=False),
    ConfigCase("label tags", "a name with blanks: name=\" my tag \"",
               view(IMAGE, tag("BrushLabels", called=" my tag "))),
    refused("label tags", 'name="tag@1"', view(IMAGE, tag("BrushLabels", called="tag@1")),
            "cuts names off at @"),
]  # fmt: skip

TOOLS = [
    ConfigCase("Labels", "beside Brush", beside("Brush"), written=("brush", "labels")),
    ConfigCase("Labels", "beside Bitmask", beside("Bitmask"), written=("bitmask", "labels")),
    ConfigCase("Labels", "beside Polygon", beside("Polygon"), written=("polygon", "labels")),
    ConfigCase("Labels", "beside Ellipse", beside("Ellipse"), written=("ellipse", "labels")),
    ConfigCase("Labels", "beside Rectangle", beside("Rectangle"), written=("rectangle", "labels")),
    ConfigCase("Labels", "beside Rectangle and KeyPoint", beside("KeyPoint", "Rectangle"),
               written=("rectangle", "labels")),
    ConfigCase("Labels", "beside MagicWand and Brush", beside("MagicWand", "Brush"),
               written=("brush", "labels")),
    ConfigCase("Labels", "beside MagicWand and Polygon", beside("MagicWand", "Polygon"),
               written=("polygon", "labels")),
    scores_only("Labels", "beside MagicWand alone", beside("MagicWand"), "MagicWand beside Labels"),
    scores_only("Labels", "beside MagicWand and KeyPoint", beside("MagicWand", "KeyPoint"),
                "MagicWand beside Labels"),
    scores_only("Labels", "beside MagicWand and Rectangle (or Ellipse)",
                beside("MagicWand", "Rectangle"), "MagicWand beside Labels"),
    scores_only("Labels", 'beside Vector closable="true"',
                view(IMAGE, '<Vector name="v" toName="img" closable="true"/>', tag("Labels")),
                "Vector are read but not written"),
    refused("Labels", "beside KeyPoint alone", beside("KeyPoint"), "No supported label tag"),
    refused("Labels", "beside no tool", view(IMAGE, tag("Labels")), "No supported label tag"),
    ignored("Labels", "of a text",
            view(IMAGE, BRUSH, '<Text name="txt" value="$text"/>',
                 tag("Labels", '<Label value="W"/>', to="txt", called="ner"))),
    ConfigCase("Brush, MagicWand, Rectangle, ...", "beside BrushLabels",
               view(IMAGE, '<MagicWand name="w" toName="img"/><Rectangle name="r" toName="img"/>',
                    BRUSH), ignored=True),
    refused("Brush, MagicWand, Rectangle, ...", "without a Labels tag",
            view(IMAGE, '<Brush name="b" toName="img"/>'), "found Brush without a Labels tag"),
]  # fmt: skip

SPECIES = '<Choice value="A"/><Choice value="B" alias="b"/>'


def choices(more: str = "", inner: str = SPECIES, called: str = "kind") -> str:
    """A `Choices` tag that gives every region a choice."""
    return tag("Choices", inner, f'perRegion="true"{more and " "}{more}', called=called)


MARKED = choices('taudis="class"')
DRAWN = '<Brush name="brush" toName="img"/>'
BY_CHOICE: dict[str, Any] = {"labels": ("A", "b"), "written": ("brush", "choices")}
CHOICES = [
    ConfigCase("Choices", 'perRegion="true" beside Brush', view(IMAGE, DRAWN, choices()), **BY_CHOICE),
    *(ConfigCase("Choices", f'perRegion="true" beside {tool}',
                 view(IMAGE, f'<{tool} name="t" toName="img"/>', choices()), labels=("A", "b"),
                 written=(tool.lower(), "choices"))
      for tool in ("Bitmask", "Polygon", "Ellipse", "Rectangle")),
    ConfigCase("Choices", "perRegion, visibleWhen=\"region-selected\", layout, required, displayMode, ...",
               view(IMAGE, DRAWN, choices('visibleWhen="region-selected" layout="select" required="true"'
                    ' choice="single-radio" showInline="true" displayMode="region-list"')), **BY_CHOICE),
    ConfigCase("Choices", "perRegion, beside questions that a choice leads to, and choices of the whole image",
               view(IMAGE, DRAWN, choices(), tag("Choices", SPECIES, called="scene"),
                    choices('visibleWhen="choice-selected" whenTagName="kind" whenChoiceValue="A"', called="age"),
                    choices('choice="multiple"', called="marks")), **BY_CHOICE),
    ConfigCase("Choices", 'two perRegion, one with taudis="class"',
               view(IMAGE, DRAWN, choices(called="shade"), MARKED), **BY_CHOICE),
    ConfigCase("Choices", 'taudis="class" beside BrushLabels of one label',
               view(IMAGE, tag("BrushLabels", '<Label value="Object"/>'), MARKED), labels=("A", "b"),
               written=("brushlabels", "choices")),
    ConfigCase("Choices", 'taudis="class" beside Labels of one label and Polygon',
               view(IMAGE, '<Polygon name="t" toName="img"/>', tag("Labels"), MARKED), labels=("A", "b"),
               written=("polygon", "choices")),
    scores_only("Choices", 'taudis="class" beside BrushLabels of two labels',
                view(IMAGE, tag("BrushLabels", A + '<Label value="B"/>'), MARKED),
                "has several labels", labels=("A", "b")),
    ConfigCase("Choices", "perRegion beside MagicWand alone",
               view(IMAGE, '<MagicWand name="w" toName="img"/>', choices()), labels=("A", "b"),
               written=("magicwand", "choices")),
    scores_only("Choices", "perRegion, a choice as text: <Choice>A</Choice>",
                view(IMAGE, DRAWN, choices(inner="<Choice>A</Choice>" + '<Choice value="B"/>')),
                "write 'A' as <Choice", served=False, labels=("A", "B")),
    ignored("Choices", "perRegion beside BrushLabels of one label: doctor says how they become the classes",
            view(IMAGE, BRUSH, choices())),
    ignored("Choices", "perRegion beside BrushLabels of several labels",
            view(IMAGE, tag("BrushLabels", A + '<Label value="B"/>'), choices()), labels=("A", "B")),
    refused("Choices", "two perRegion beside Brush", view(IMAGE, DRAWN, choices(), choices(called="shade")),
            'add taudis="class" to that one'),
    refused("Choices", 'two with taudis="class"',
            view(IMAGE, DRAWN, MARKED, choices('taudis="class"', called="shade")), "keep it in one"),
    refused("Choices", 'perRegion, choice="multiple"', view(IMAGE, DRAWN, choices('choice="multiple"')),
            "lets people choose several"),
    refused("Choices", 'perRegion, allowNested="true"', view(IMAGE, DRAWN, choices('allowNested="true"')),
            "take allowNested away"),
    refused("Choices", "without perRegion beside Brush", view(IMAGE, DRAWN, tag("Choices", SPECIES)),
            "lacks perRegion"),
    refused("Choices", 'taudis="class" without perRegion',
            view(IMAGE, BRUSH, tag("Choices", SPECIES, 'taudis="class"', called="kind")),
            'add perRegion="true"'),
    refused("Choices", 'taudis="class" beside KeyPoint alone',
            view(IMAGE, '<KeyPoint name="t" toName="img"/>', MARKED), "no tag draws regions with an area"),
    refused("Choices", 'perRegion, value="$choices" (from the task data)',
            view(IMAGE, DRAWN, '<Choices name="kind" toName="img" perRegion="true" value="$choices"/>'),
            "takes its choices from the task data"),
    refused("Choices", 'perRegion, alias=""', view(IMAGE, DRAWN, choices(inner='<Choice value="A" alias=""/>')),
            "empty alias"),
]  # fmt: skip

DOCUMENTS = [
    ignored("Choices, TextArea, Rating, Relations, Text, HyperText, Header, Style, Filter", "anywhere",
            view("<Style>.a {color: red}</Style><Header value='h'/>", IMAGE, BRUSH,
                 "<Choices name='c' toName='img' perRegion='true'><Choice value='x'/></Choices>",
                 "<TextArea name='t' toName='img' perRegion='true'/><Rating name='r' toName='img'/>",
                 "<Relations><Relation value='is'/></Relations>",
                 "<HyperText name='h' value='$html'/><Filter name='f' toName='tag'/>")),
    ignored("View", "nested, with style, className, visibleWhen",
            view('<View style="display:flex" className="a"><View>', IMAGE, "</View></View>",
                 '<View visibleWhen="region-selected">', BRUSH, "</View>")),
    ignored("XML", "comments, also with a task in them",
            view('<!-- {"data": {"image": "/b.png"}} -->', IMAGE, BRUSH, "<!-- <Image/> -->")),
    ignored("XML", "a declaration", '<?xml version="1.0"?>' + view(IMAGE, BRUSH)),
    refused("XML", "broken", "<View>", "not valid XML", served=False),
    refused("XML", "a DTD or entities",
            '<!DOCTYPE b [<!ENTITY a "a">]>' + view(IMAGE, BRUSH), "DTD or entities", served=False),
    refused("XML", "nothing", "", "is empty", served=False),
    ConfigCase("XML", "tags in other letters: <brushlabels>, <label>, <image>",
               '<view><image name="img" value="$image"/><brushlabels name="tag" toName="img">'
               '<label value="A"/></brushlabels></view>'),
    scores_only("XML", "attributes in other letters: toname, Value",
                view(IMAGE, f'<BrushLabels name="tag" toname="img">{A}</BrushLabels>'),
                "in these very letters", served=False),
    scores_only("XML", "a namespace: <View xmlns=...>",
                f'<View xmlns="urn:label">{IMAGE}{BRUSH}</View>', "XML namespace"),
]  # fmt: skip

CASES = [*LABELS, *IMAGES, *CONTROLS, *TOOLS, *CHOICES, *DOCUMENTS]
