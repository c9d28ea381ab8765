"""The step `scored`: what it leaves for the selection, whichever attempt wrote it."""

import json
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from backend.label_studio.label_config import parse_label_config
from backend.label_studio.regions import encode_prediction
from backend.store import predictions
from backend.worker import score
from backend.worker.anytime import TimeLimit
from backend.worker.context import version_name
from taudis.data.pool_reader import load_pool
from taudis.detector.checkpoint import load_checkpoint, save_checkpoint
from taudis.selection.params import Labelled, SelectionParams
from taudis.selection.strategies import STRATEGIES, query
from taudis.time_left import TimeLeft
from tests.backend.worker.round_cases import BUDGET, CONFIG, POOL, open_round, run
from tests.taudis.detector_cases import LABELS, detector


@pytest.mark.slow
def test_the_strategies_that_start_from_labelled_images_are_those_that_look_at_them(make_context):
    context = make_context()
    folder = context.round_dir(run(context, open_round(context), "scored"))
    pool, seen = load_pool(folder / score.POOL_FILE), load_pool(folder / score.LABELLED_FILE)

    def utilities(name, labelled):
        found = query(
            name, pool, budget=BUDGET, labelled=labelled, params=SelectionParams(), seed=0
        )
        return found.utilities.tolist()

    bare, full = Labelled(2.0), Labelled(2.0, seen.image_embeddings, seen.image_ids)
    look = {name for name in STRATEGIES if utilities(name, bare) != utilities(name, full)}
    assert look == {name for name in STRATEGIES if STRATEGIES[name].labelled_embeddings}


def test_the_progress_has_the_time_left_which_the_limit_cuts(monkeypatch):
    now, reports = [0.0], []
    monkeypatch.setattr(score, "TimeLeft", partial(TimeLeft, clock=lambda: now[0]))
    limit = SimpleNamespace(left=30.0)
    tell = score.ScoringProgress(reports.append, limit, pool=10, labelled=4)
    # The limit ends the pool at 30 s. The first image of a part has its start in its time.
    for done, seconds in ((1, 2), (5, 10), (10, 30), (11, 40), (12, 43)):
        now[0], limit.left = seconds, max(0.0, 30.0 - seconds)
        tell(done)
    found = [report.get("eta_s") for report in reports]
    assert found == [None, 10.0 + 8.0, None, None, 6.0]
    assert reports[-1] == {"step": "scored", "done": 12, "total": 14, "eta_s": 6.0}
    endless = score.ScoringProgress(reports.append, TimeLimit(None), pool=100, labelled=0)
    endless(1)
    now[0] += 4
    endless(5)
    assert reports[-1]["eta_s"] == 95.0


@pytest.mark.slow
def test_what_a_killed_attempt_saw_does_not_outlive_a_change_of_strategy(make_context):
    context = make_context()
    round_ = open_round(context)
    score.score(context, round_, lambda progress: None)  # killed before its row
    run(make_context(strategy="random"), round_, "scored")
    assert not (context.round_dir(round_) / score.LABELLED_FILE).exists()


def test_the_regions_of_each_image_are_stored_as_a_post_takes_them(make_context):
    context = make_context(broken=[3], strategy="random", score_threshold=0.01)
    bold = detector()
    with torch.no_grad():  # untrained masks are specks, which nobody is shown
        bold.model.roi_heads.mask_predictor.mask_fcn_logits.bias.add_(3)
    save_checkpoint(context.model_dir("v1"), bold, card={})
    round_ = run(context, open_round(context), "scored")
    served, _ = load_checkpoint(context.model_dir("v1"), label_map=LABELS)
    config, counts = parse_label_config(CONFIG), []
    path = predictions.path_of(context.data, 7, version_name(round_))
    with predictions.Stored.opened(path) as stored:
        for task in sorted(set(POOL) - {3}):
            (alone,) = served.fast().detect([context.images.load("", task=task)])
            regions = encode_prediction(alone, config, threshold=0.01)
            found = json.loads(stored.result(task))
            assert [each["value"] for each in found] == [each["value"] for each in regions]
            counts.append(len(found))
        assert sum(counts) > 0, "no region was found: the test shows nothing"
        assert stored.result(3) == b"[]" and stored.sizes() == []
    assert (round_.steps["scored"]["images"], round_.steps["scored"]["unreadable"]) == (6, 1)
    kept = json.loads((context.round_dir(round_) / score.UNREADABLE_FILE).read_text())
    assert kept == {"3": "/3: gone"}
