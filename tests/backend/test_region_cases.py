"""Every region of region_cases: the right mask and label, or the right problem."""

import numpy as np
import pytest

from backend.label_config import parse_label_config
from backend.regions import decode_annotation
from backend.regions.problems import KINDS
from tests.backend.region_cases import CASES, HEIGHT, SQUARE, WIDTH, XML

CONFIG = parse_label_config(XML)


def named(case):
    return f"{case.type}: {case.field}"


@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_region_is_read_or_told(case):
    decoded = decode_annotation(list(case.rows), CONFIG, size=(HEIGHT, WIDTH))
    assert decoded.target is not None
    told = [(problem.kind, problem.effect) for problem in decoded.problems]
    assert told == ([] if case.becomes in ("read", "ignored") else [(case.kind, case.becomes)])
    assert not case.kind or case.kind in KINDS
    crowd = case.becomes == "painted_out" and case.kind != "no_pixel"
    rows = crowd or case.becomes in ("read", "used")
    assert len(decoded.target) == rows
    assert decoded.target.iscrowd.tolist() == [crowd] * rows
    if rows:
        assert decoded.target.labels.tolist() == [case.label]
        assert np.array_equal(decoded.target.masks[0], SQUARE) == case.same


def test_no_region_is_lost_in_silence_among_others():
    for case in CASES:
        rows = [each | {"id": f"x-{each.get('id')}"} for each in case.rows]
        both = decode_annotation([*rows, *CASES[0].rows], CONFIG, size=(HEIGHT, WIDTH))
        alone = decode_annotation(rows, CONFIG, size=(HEIGHT, WIDTH))
        assert both.target is not None and alone.target is not None
        assert len(both.target) == len(alone.target) + 1
        assert both.problems == alone.problems
