"""Predictions files for tests, written as the steps `score` and `select` write them."""

from backend.store import predictions
from backend.store.predictions import Place


def write(path, regions, reason="because"):
    """A file of tasks and their regions, ranked as they come. Returns their places."""
    with predictions.writing(path) as add:
        for task, found in regions.items():
            add(task, found)
    places = [
        Place(task, rank, rank / len(regions), reason) for rank, task in enumerate(regions, start=1)
    ]
    assert predictions.set_order(path, places) == len(regions)
    return places


def given(regions, reason="because"):
    """The regions as people are given them: the first one says why the image comes."""
    if not regions:
        return []
    first, *others = regions
    return [{**first, "meta": {"text": [f"Why this image: {reason}"]}}, *others]
