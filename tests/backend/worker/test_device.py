"""The worker's models compute on its card: those that score, are evaluated, and are compared."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from backend.commands import compare
from backend.label_studio.label_config import parse_label_config
from backend.store import serving as stored
from backend.worker import arm_models, judge, serving
from taudis.training.recipes import Recipe
from tests.backend.worker.round_cases import CONFIG, open_round
from tests.taudis.detector_cases import LABELS

NO_LABELS = SimpleNamespace(config=parse_label_config(CONFIG))


class LoadedTo(Exception):
    """Stops at the load of a model; its argument is the device."""


@pytest.fixture
def context(make_context, monkeypatch):
    """A context whose worker has a card, and stops where it loads a model."""

    def load(_folder, *, label_map=None, device="cpu"):
        raise LoadedTo(device)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for module in (serving, judge, arm_models, compare):
        monkeypatch.setattr(module, "load_checkpoint", load)
    return make_context()


def rounds_model(context, _):
    round_ = open_round(context)
    context.store.finish_step(
        context.lease, round_.id, "evaluated", {"serve": True, "version": "v1"}
    )
    serving.scoring_model(context, context.store.round(round_.id), LABELS)


def evaluated(context, monkeypatch):
    monkeypatch.setattr(judge, "samples_of", lambda *_: (None, NO_LABELS.config))
    monkeypatch.setattr(judge, "_recount", lambda *_: None)
    judge.judge(context, SimpleNamespace(steps={"trained": {"version": "v1"}}), None)


def arm(context, monkeypatch):
    monkeypatch.setattr(arm_models, "_is_there", lambda *_: True)
    arm_models.arm_model(
        context, context.model_dir("v1"), NO_LABELS, [], Recipe.cpu(4), stop=None, report=None
    )


def compared(context, monkeypatch):
    monkeypatch.setattr(stored, "model_of", lambda *_: "v1")
    monkeypatch.setattr(compare, "validation_now", lambda *_: ([], NO_LABELS.config))
    compare.compare_versions(context, "v1", "v1")


@pytest.mark.parametrize(
    "load",
    [
        lambda context, _: serving.load_serving(context, LABELS),
        rounds_model,
        evaluated,
        arm,
        compared,
    ],
    ids=["serving", "scoring", "evaluated", "arm", "compared"],
)
def test_a_model_of_the_worker_is_loaded_to_the_card(context, monkeypatch, load):
    with pytest.raises(LoadedTo, match=r"^cuda$"):
        load(context, monkeypatch)
