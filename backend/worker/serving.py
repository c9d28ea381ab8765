"""Reading the checkpoints that serve: an earlier one stands in for one that is damaged."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from backend.store import serving
from backend.worker.context import Desk
from taudis.detector.checkpoint import load_checkpoint, read_card
from taudis.detector.mask_rcnn import Detector
from taudis.errors import CheckpointError
from taudis.types import LabelMap

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Serving:
    """A detector that serves (`Detector.fast`), and why it is not the one that should, if so."""

    version: str
    detector: Detector
    trouble: str = ""


def load_serving(desk: Desk, label_map: LabelMap) -> Serving:
    """The serving model, or the newest earlier one that can be read and has the same labels.

    Raises:
        CheckpointError: none can; with the file that is wrong with the one that should serve.
    """
    wanted = serving.serving_model(desk.project)
    troubles: list[str] = []
    for version in serving.stand_ins(desk.store, desk.project, wanted):
        try:
            detector, _ = load_checkpoint(desk.model_dir(version), label_map=label_map)
        except CheckpointError as error:
            logger.warning("Project %s, model %s: %s", desk.project_id, version, error)
            troubles.append(str(error))
            continue
        trouble = f"model {version} stands in for {wanted}: {troubles[0]}" if troubles else ""
        return Serving(version, detector.fast(), trouble)
    raise CheckpointError(troubles[0] if troubles else f"Project {desk.project_id} has no model.")


def any_fits(desk: Desk, label_map: LabelMap) -> bool:
    """Whether `load_serving` would find a model, as far as the cards tell."""
    for version in serving.stand_ins(desk.store, desk.project, serving.serving_model(desk.project)):
        try:
            if tuple(read_card(desk.model_dir(version))["labels"]) == label_map.names:
                return True
        except CheckpointError as error:
            logger.warning("Project %s, model %s: %s", desk.project_id, version, error)
    return False
