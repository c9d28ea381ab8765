"""Every region of region_cases: the right mask and label, or the right problem."""

from random import Random

import numpy as np
import pytest

from backend.label_studio.label_config import parse_label_config
from backend.label_studio.regions import decode_annotation
from backend.label_studio.regions.decode import problems_of
from backend.label_studio.regions.problems import KINDS
from backend.label_studio.regions.results import SHAPES
from taudis.types import ANY_LABEL
from tests.backend.label_studio.regions.region_cases import (
    BY_CHOICE,
    CASES,
    GENERIC,
    GENERIC_BRUSH,
    HEIGHT,
    SQUARE,
    WIDTH,
    XML,
    chosen,
)


def named(case):
    return f"{case.type}: {case.field}"


@pytest.mark.parametrize("case", CASES, ids=named)
@pytest.mark.fault("F9", "named")
def test_a_region_is_read_or_told(case):
    decoded = decode_annotation(list(case.rows), parse_label_config(case.xml), size=(HEIGHT, WIDTH))
    assert decoded.target is not None
    found = [(problem.kind, problem.effect) for problem in decoded.problems]
    assert found == ([] if case.becomes in ("read", "ignored") else [(case.kind, case.becomes)])
    assert not case.kind or case.kind in KINDS
    crowd = case.becomes == "painted_out" and case.kind != "no_pixel"
    rows = crowd or case.becomes in ("read", "used")
    assert len(decoded.target) == rows
    assert decoded.target.iscrowd.tolist() == [crowd] * rows
    if rows:
        assert decoded.target.labels.tolist() == [ANY_LABEL if crowd else case.label]
        assert np.array_equal(decoded.target.masks[0], SQUARE) == case.same


@pytest.mark.fault("F9", "named")
def test_no_region_is_lost_in_silence_among_others(figures):
    for case in CASES:
        rows = [each | {"id": f"x-{each.get('id')}"} for each in case.rows]
        config, other = parse_label_config(case.xml), [*CASES[0].rows]
        if case.xml != XML:
            other = list(GENERIC_BRUSH if case.xml == GENERIC else chosen("brush", "A"))
        both = decode_annotation([*rows, *other], config, size=(HEIGHT, WIDTH))
        alone = decode_annotation(rows, config, size=(HEIGHT, WIDTH))
        assert both.target is not None and alone.target is not None
        assert len(both.target) == len(alone.target) + 1
        assert both.problems == alone.problems
    figures(regions=len(CASES), crashes=0)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_look_without_the_image_finds_the_same_problems(case):
    config = parse_label_config(case.xml)
    assert problems_of(case.rows, config) == list(decode_annotation(case.rows, config).problems)


JUNK = [
    None, 0, -1, 1.5, float("nan"), float("inf"), 10**400, "", "x", "1e5", [], [[]], [None], {},
    True, [1, 2, 3], ["A"], "\ud800", 1e308, [[1, 2], [3, 4], [5, "6"]], {"a": {"b": []}},
]  # fmt: skip


def mutated(value, random):
    """A copy in which some values, keys or entries are others, or gone."""
    if random.random() < 0.08:
        return random.choice(JUNK)
    if isinstance(value, dict):
        copy = {k: mutated(v, random) for k, v in value.items() if random.random() > 0.04}
        if random.random() < 0.1:
            copy[random.choice([*SHAPES, "closed", "id", "type", "meta"])] = random.choice(JUNK)
        return copy
    if not isinstance(value, list):
        return value
    if len(value) < 20:
        return [mutated(each, random) for each in value]
    return [*value[:-1], random.choice([value[-1], *JUNK])]


@pytest.mark.slow
def test_no_result_of_any_form_raises():
    random = Random(9)
    configs = [parse_label_config(xml) for xml in (XML, BY_CHOICE, GENERIC)]
    rows = [row for case in CASES for row in case.rows]
    for _ in range(3000):
        odd = [mutated(row, random) for row in random.sample(rows, 2)]
        size = random.choice([(HEIGHT, WIDTH), None])
        decoded = decode_annotation(odd, random.choice(configs), size=size)
        assert all(problem.kind in KINDS for problem in decoded.problems)
