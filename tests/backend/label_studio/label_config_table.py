"""Write docs/label_configs.md from the cases of the tests.

python -m tests.backend.label_studio.label_config_table
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from backend.errors import LabelConfigError
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.regions import decode_annotation
from tests.backend.label_studio.config_cases import CASES as CONFIGS
from tests.backend.label_studio.config_cases import ConfigCase
from tests.backend.label_studio.regions.region_cases import CASES as REGIONS
from tests.backend.label_studio.regions.region_cases import HEIGHT, WIDTH, RegionCase

PAGE = Path(__file__).resolve().parents[3] / "docs/label_configs.md"

HEAD = """# Labelling configs and regions: what is read, ignored, refused

Made by `python -m tests.backend.label_studio.label_config_table` from the cases of the tests
(`tests/backend/label_studio/config_cases.py`,
`tests/backend/label_studio/regions/region_cases.py`); a test fails when this page differs. The
reference is Label Studio 1.23.2: its editor for what a config and a region mean, its check at
import for the predictions that it takes. `tests/studio/test_label_configs.py` runs every config on
a server: that it is saved, and that every prediction written for it is stored as written.

## Labelling configs

read: it means what Label Studio means by it. ignored: it changes nothing. scores only: people label
with it, training and the order of the queue work, but Label Studio takes no predictions of it, so
no pre-annotations are shown. refused: the project is not connected, and the sentence says why.
Configs that Label Studio itself does not save are marked with \\*.

| tag | what | becomes | what is said |
|---|---|---|---|
"""

MIDDLE = """
## A class by a choice

```xml
<View>
  <Image name="image" value="$image"/>
  <Brush name="brush" toName="image"/>
  <Choices name="kind" toName="image" perRegion="true" visibleWhen="region-selected">
    <Choice value="oak"/><Choice value="birch"/>
  </Choices>
</View>
```

People draw, select the region and choose. A pre-annotation is drawn with its choice ticked;
another tick corrects its class. A region without a choice is painted out and counted. One
`Choices` tag gives the class: the one with `perRegion="true"` beside tags that draw without
labels, or the one with `taudis="class"` in any config. Beside label tags that attribute has to be
there, because a choice may say something else about a labelled object ("in shadow"). A tag that
draws keeps one label then, which all regions get ([decision
39](decisions/0039-a-class-by-a-choice.md)).

## Regions

read: an instance of the training set. used: an instance, though not all that it says was followed.
painted out: its place is known but not what it shows, so its pixels are neither object nor
background. dropped: its place is not known, so its task is not trained on or judged by. ignored: no
region with an area. Everything but "read" and "ignored" is counted and reported.

Rows of "any kind" hold for brush, bitmask, polygon, rectangle and vector alike.

| type | field | becomes | what is said |
|---|---|---|---|
"""


def page() -> str:
    """The whole page."""
    configs = "".join(_line(*_config(case)) for case in CONFIGS)
    return HEAD + configs + MIDDLE + "".join(_line(*row) for row in _regions(REGIONS))


def _line(*cells: str) -> str:
    escaped = (cell.replace("|", "\\|").replace("<", "\\<").replace("*", "\\*") for cell in cells)
    return f"| {' | '.join(escaped)} |\n".replace("  ", " ")


def _config(case: ConfigCase) -> tuple[str, str, str, str]:
    what = case.what + ("" if case.served else " *")
    try:
        config = parse_label_config(case.xml)
    except LabelConfigError as error:
        return case.tag, what, "refused", str(error)
    if config.scores_only:
        return case.tag, what, "scores only", config.scores_only
    return case.tag, what, "ignored" if case.ignored else "read", ""


def _regions(cases: Sequence[RegionCase]) -> Iterator[tuple[str, str, str, str]]:
    shared = {case.field for case in cases if sum(c.field == case.field for c in cases) > 3}
    seen = set()
    for case in cases:
        if case.field in seen:
            continue
        seen |= {case.field} & shared
        config = parse_label_config(case.xml)
        problems = decode_annotation(case.rows, config, size=(HEIGHT, WIDTH)).problems
        kind = "any kind" if case.field in shared else case.type
        becomes = "".join(problem.effect for problem in problems).replace("_", " ") or case.becomes
        yield kind, case.field, becomes, " ".join(problem.reason for problem in problems)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
