"""A round's scoring on a cluster leaves the files of a round without one."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext

import pytest
from ray.exceptions import ActorDiedError

from backend.store import predictions
from backend.worker import score
from backend.worker.anytime import POOL_FILE, UNREADABLE_FILE
from backend.worker.context import read_json, version_name
from taudis.detector.mask_rcnn import Detector
from taudis.distributed import cluster, stream
from taudis.errors import CheckpointError
from tests.backend.worker.round_cases import POOL, open_round
from tests.taudis.distributed.stand_in import NEVER, StandIn

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


@pytest.mark.parametrize(
    "fault", ["no place", "dies as it starts", "dies as it scores", "fails", "dies in the middle"]
)
def test_a_cluster_that_fails_leaves_the_rest_to_the_worker(
    make_context, round_, wanted, monkeypatch, caplog, fault
):
    calls = Counter()

    def fate(actor, method, arguments):
        calls[method] += 1
        if fault == "no place":
            return NEVER
        if fault == "fails":
            return CheckpointError("other release") if method == "prepare" else None
        first = fault == "dies in the middle" and calls["score"] == 1
        dies = method == ("prepare" if fault == "dies as it starts" else "score") and not first
        return ActorDiedError() if dies else None

    ray = StandIn(fate)
    monkeypatch.setattr(stream, "PATIENCE", 0.0)
    monkeypatch.setattr(cluster, "connected", lambda _: nullcontext(ray.cluster()))
    monkeypatch.setattr(stream, "MOST_DEATHS", 1)  # no image is suspected of so few
    score.score(make_context(**GIVEN, ray_address="stand-in"), round_, lambda progress: None)
    context = make_context(**GIVEN)
    assert files_of(context, round_) == wanted
    assert "scoring in this process" in caplog.text and calls
    assert bool(calls["score"]) == (fault in ("dies as it scores", "dies in the middle"))
