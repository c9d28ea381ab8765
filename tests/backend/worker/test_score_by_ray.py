"""A round's scoring on a cluster leaves the files of a round without one."""

from __future__ import annotations

import pytest

from backend.store import predictions
from backend.worker import score
from backend.worker.anytime import POOL_FILE, UNREADABLE_FILE
from backend.worker.context import read_json, version_name
from taudis.detector.mask_rcnn import Detector
from tests.backend.worker.round_cases import POOL, open_round

GIVEN = {"broken": [3], "strategy": "random", "score_threshold": 0.01}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def files_of(context, round_):
    """The pool file, the regions of each task, the unreadable images."""
    folder = context.round_dir(round_)
    path = predictions.path_of(context.data, 7, version_name(round_))
    with predictions.Stored.opened(path) as stored:
        regions = {task: stored.found(task) for task in sorted(set(POOL) - {3})}
    return (folder / POOL_FILE).read_bytes(), regions, read_json(folder / UNREADABLE_FILE)


@pytest.fixture
def round_(make_context):
    return open_round(make_context())


@pytest.fixture
def wanted(make_context, round_):
    """The files that the worker by itself leaves."""
    context = make_context(**GIVEN)
    score.score(context, round_, lambda progress: None)
    return files_of(context, round_)


def test_a_cluster_scores_what_the_worker_scores(make_context, round_, wanted, nodes, monkeypatch):
    context = make_context(**GIVEN, ray_address=nodes.address, ray_actors=2)
    monkeypatch.setattr(Detector, "detect", None)  # this process detects nothing
    seen = []
    score.score(context, round_, seen.append)
    assert files_of(context, round_) == wanted
    assert seen[-1]["done"] == len(POOL)


def test_without_an_answer_the_worker_scores(make_context, round_, wanted, caplog):
    context = make_context(**GIVEN, ray_address="127.0.0.1:1")
    score.score(context, round_, lambda progress: None)
    assert files_of(context, round_) == wanted
    assert "scoring in this process" in caplog.text
