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

The tables are written by `python -m tests.backend.label_studio.label_config_table` from
`tests/backend/label_studio/config_cases.py` and
`tests/backend/label_studio/regions/region_cases.py`. The reference is Label Studio 1.23.2.
`tests/studio/test_label_configs.py` saves every config on a server and checks that every prediction
written for it is stored unchanged.

## Labelling configs

- **read**: it means the same as in Label Studio.
- **ignored**: it changes nothing.
- **scores only**: labelling, training and the order of the queue work. Label Studio takes no
  predictions of such a config, so annotators see no masks.
- **refused**: the project is not connected. The sentence says why.

Label Studio itself does not save the configs marked with \\*.

| tag | case | result | message |
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

Annotators draw, select the region and choose. A pre-annotation comes with its choice ticked;
another tick corrects its class. A region without a choice is painted out and counted.

One `Choices` tag gives the class: the one with `perRegion="true"` beside tags that draw without
labels, or, in any config, the one with `taudis="class"`. Beside label tags the attribute is
required, because a choice may describe something else about a labelled object ("in shadow"). Such
a label tag has a single label, which all its regions get
([decision 39](decisions/0039-a-class-by-a-choice.md)).

## Regions

- **read**: an instance of the training set.
- **used**: an instance, though not everything that the region says was followed.
- **painted out**: the place is known and the class is not. The pixels are neither object nor
  background.
- **dropped**: the place is not known. The task is used neither for training nor for evaluation.
- **ignored**: not a region with an area.

All but "read" and "ignored" are counted and reported. "any kind" means brush, bitmask, polygon,
rectangle and vector.

| type | field | result | message |
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
