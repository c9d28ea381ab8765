"""What a round says to people when it ends."""

import pytest

from backend.worker import round as rounds


@pytest.mark.parametrize(
    ("trained", "says"),
    [
        (
            {"start": "", "unused_labels": ["bar", "dot"]},
            "labels without an object to train on, which the model cannot find: bar, dot",
        ),
        (
            {"start": "taudis-0001-a", "unused_labels": ["bar"]},
            "labels without an object to train on: bar",
        ),
        ({"start": "", "unused_labels": []}, ""),
        ({}, ""),
    ],
)
def test_labels_without_an_object(trained, says):
    """A training that started from an earlier model may know them from it."""
    assert rounds._unused_labels(trained) == says
