"""Every config of config_cases: what it means here, what is written for it, and the docs' table."""

from types import SimpleNamespace

import numpy as np
import pytest

from backend.errors import LabelConfigError
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.regions import decode_annotation, encode_prediction
from taudis.types import Instances
from tests.backend.label_studio.config_cases import ADDRESS, CASES
from tests.backend.label_studio.label_config_table import PAGE, page

SIZE = (66, 44)  # a width at which 100 / 44 * 44 is more than 100
USABLE = [case for case in CASES if not case.refused]


def named(case):
    return f"{case.tag}: {case.what}"


def found(label):
    """One instance that reaches the image's right and lower border, and one that fills it."""
    boxes = np.array([[20, 30, 44, 66], [0, 0, 44, 66]], np.float32)
    instances = Instances(
        image_index=np.zeros(2, np.int64),
        boxes=boxes,
        scores=np.array([0.9, 0.8], np.float32),
        labels=np.full(2, label),
        class_probs=np.full((2, 9), 0.1, np.float32),
        embeddings=np.zeros((2, 3), np.float32),
        mask_probs=np.ones((2, 28, 28), np.float32),
    )
    return SimpleNamespace(instances=instances, size=SIZE)


def written(config, label=1):
    return encode_prediction(found(label), config, threshold=0.5)


@pytest.mark.parametrize("case", [case for case in CASES if case.refused], ids=named)
@pytest.mark.fault("F10", "sentences")
def test_a_config_that_cannot_be_used_is_refused_by_name(case, figures):
    with pytest.raises(LabelConfigError) as caught:
        parse_label_config(case.xml)
    assert case.says in str(caught.value)
    figures(configs=1, crashes=0)


@pytest.mark.parametrize("case", USABLE, ids=named)
def test_a_config_means_what_label_studio_means_by_it(case):
    config = parse_label_config(case.xml)
    assert config.label_map.names == case.labels
    assert config.image.address(case.data) == ADDRESS
    assert bool(config.scores_only) == (not case.written)
    assert case.says in config.scores_only
    regions = written(config)
    assert {region["type"] for region in regions} == set(case.written)
    for region in regions:
        if region["type"] == case.written[-1]:
            assert region["value"][region["type"]] == [case.labels[0]]


@pytest.mark.parametrize("case", [case for case in USABLE if case.written], ids=named)
def test_what_is_written_is_read_again(case):
    config = parse_label_config(case.xml)
    for number in range(1, len(case.labels) + 1):
        decoded = decode_annotation(written(config, number), config, size=SIZE)
        assert decoded.problems == () and decoded.target is not None
        assert decoded.target.labels.tolist() == [number, number]


def test_the_page_is_the_one_that_the_cases_make():
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "run python -m tests.backend.label_studio.label_config_table"
    )
