"""Loads the checkpoint that serves. An earlier checkpoint replaces a damaged checkpoint.

`backend.store.serving` decides which checkpoints these are, and this file reads them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from backend.store import serving
from backend.store.rounds import Round
from backend.worker.context import RoundContext
from taudis.detector.card import read_card
from taudis.detector.checkpoint import load_checkpoint
from taudis.detector.device import device_of_this_process
from taudis.detector.registry import TrainedDetector
from taudis.errors import CheckpointError, DataError
from taudis.types import Embedding, LabelMap

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Serving:
    """The detector that serves (`Detector.fast`). `stand_in` says why, if it replaces another."""

    version: str
    detector: TrainedDetector
    stand_in: str = ""
    evaluated: bool = False  # whether its card has an mAP50


def load_serving(context: RoundContext, label_map: LabelMap) -> Serving:
    """The serving model, or the newest earlier model that can be read and has the same labels.

    While a rollback holds the first order, which no model made: the newest that ever served.

    Raises:
        CheckpointError: no model can be read. The message names the bad file of the serving model.
    """
    project = context.load_project()
    names = serving.stand_ins(context.store, project, serving.serving_model(project.state))
    refused: list[str] = []
    for version in names:
        try:
            detector, card = load_checkpoint(
                context.model_dir(version), label_map=label_map, device=device_of_this_process()
            )
        except CheckpointError as error:
            logger.warning("Project %s, model %s: %s", context.project_id, version, error)
            refused.append(str(error))
            continue
        stand_in = f"model {version} stands in for {names[0]}: {refused[0]}" if refused else ""
        evaluated = card.get("metrics", {}).get("map50") is not None
        return Serving(version, detector.fast(), stand_in, evaluated)
    raise CheckpointError(refused[0] if refused else f"Project {context.project_id} has no model.")


def embedding_of(detector: TrainedDetector, wanted: Embedding) -> Embedding:
    """The branch of EMBEDDING if this model has it, else 'mask', which every model has.

    The serving model can have another architecture than MODEL: after a rollback, or until the first
    model with the new architecture is good enough.
    """
    try:
        detector.embedding_width(wanted)
    except DataError as error:
        logger.warning("EMBEDDING=%s: the serving model lacks it; using mask: %s", wanted, error)
        return "mask"
    return wanted


def any_fits(context: RoundContext, label_map: LabelMap) -> bool:
    """Whether `load_serving` would find a model. Reads only the models' cards."""
    for version in serving.stand_ins(
        context.store, context.load_project(), serving.serving_model(context.load_project().state)
    ):
        try:
            if tuple(read_card(context.model_dir(version))["labels"]) == label_map.names:
                return True
        except CheckpointError as error:
            logger.warning("Project %s, model %s: %s", context.project_id, version, error)
    return False


def is_new(round_: Round) -> bool:
    """Whether the model that this round trained scores the pool."""
    return bool(round_.steps.get("evaluated", {}).get("serve"))


def is_later_promotion(round_: Round, promoted: str) -> bool:
    """Whether a model was promoted too late for this round, so another model made its order.

    If an earlier model stands in for the promoted model, the promotion counts as carried out.
    """
    known = round_.steps["scored" if "scored" in round_.steps else "synced"].get("promoted", "")
    return promoted not in {"", known}


def scoring_version(context: RoundContext, round_: Round) -> str:
    """The version of the model that scored or will score the pool: the new or the serving model.

    Once the pool is scored, a rollback or a promotion only changes the next round.
    """
    scored = round_.steps.get("scored", {})
    if "model" in scored:
        return str(scored["model"])
    if is_new(round_):
        return str(round_.steps["evaluated"]["version"])
    return serving.serving_model(context.load_project().state)


def scoring_model(context: RoundContext, round_: Round, label_map: LabelMap) -> Serving:
    """The detector that scores the pool: the new model, the serving model or its stand-in.

    Raises:
        CheckpointError: the new model is damaged (the previous order stays), or no model can serve.
    """
    if not is_new(round_):
        return load_serving(context, label_map)
    version = str(round_.steps["evaluated"]["version"])
    detector, _ = load_checkpoint(
        context.model_dir(version), label_map=label_map, device=device_of_this_process()
    )
    return Serving(version, detector.fast())
