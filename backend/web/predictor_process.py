"""Inside the prediction process: two models at most, one image at a time."""

from __future__ import annotations

import contextlib
import logging
import os
from collections import OrderedDict
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from backend.errors import BackendError
from backend.label_studio.client import Studio
from backend.label_studio.label_config import LabelConfig, parse_label_config
from backend.label_studio.regions import encode_prediction
from backend.logs import setup_logging
from backend.process import keep_memory_steady
from backend.settings import Settings
from backend.web.predictor import Answer, Job
from backend.worker.context import image_source
from taudis.detector.checkpoint import load_checkpoint
from taudis.detector.mask_rcnn import Detector
from taudis.detector.memory import give_back_free_pages
from taudis.errors import CheckpointError, TaudisError
from taudis.evaluation.visible import CARD_KEY, thresholds_for
from taudis.types import FloatArray

logger = logging.getLogger(__name__)

Loaded = tuple[Detector, FloatArray]  # a model, and the scores [K] from which it is shown

_TIDY = 16  # predictions after which free memory goes back to the system
MODELS = 2  # the serving one, and the one before or another project's


def serve(connection: Connection, settings: Settings, idle_seconds: float) -> None:
    """Answer jobs until the web process is gone or nothing was asked for `idle_seconds`."""
    setup_logging(settings.log_level)
    torch.set_num_threads(1)
    keep_memory_steady(training=False)
    with contextlib.suppress(OSError):
        os.nice(5)  # a webhook goes first
    desk, answered = PredictionDesk(settings), 0
    while connection.poll(idle_seconds):
        try:
            job = connection.recv()
        except (EOFError, OSError):
            return  # the web process ended
        try:
            answer: Answer | None = desk.answer(job)
        except Exception:
            logger.exception("A prediction for project %s failed", job.project)
            answer = None
        connection.send(answer)
        answered += 1
        if answered % _TIDY == 0:
            give_back_free_pages()


class PredictionDesk:
    """Keeps the latest models loaded."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.models: OrderedDict[Path, Loaded] = OrderedDict()

    def answer(self, job: Job) -> Answer:
        """The regions of one task that are worth showing; faults of task or model as `problem`."""
        try:
            config = parse_label_config(job.label_config)
            address = config.image.address(job.data)
            detector, thresholds = self._readable((job.checkpoint, *job.stand_ins), config)
            source = image_source(self.settings, Studio(job.studio_url, job.token))
            detection = detector.detect([source.load(address)])[0]
        except (BackendError, TaudisError) as error:
            return Answer([], str(error))
        return Answer(encode_prediction(detection, config, threshold=thresholds))

    def _readable(self, folders: tuple[Path, ...], config: LabelConfig) -> Loaded:
        """The first detector that can be read; raises CheckpointError of the first if none can."""
        troubles: list[CheckpointError] = []
        for folder in folders:
            try:
                return self._model(folder, config)
            except CheckpointError as error:
                logger.warning("Predicting on the spot with an earlier model, if any: %s", error)
                troubles.append(error)
        raise troubles[0]

    def _model(self, folder: Path, config: LabelConfig) -> Loaded:
        """The checkpoint's detector, verified and made for these labels; the oldest one goes."""
        found = self.models.pop(folder, None)
        if found is None or found[0].label_map != config.label_map:
            # Loaded first: a checkpoint that is refused must not push a good one out.
            detector, card = load_checkpoint(folder, label_map=config.label_map)
            chosen, fixed = card.get(CARD_KEY, {}), self.settings.score_threshold
            found = detector.fast(), thresholds_for(config.label_map, chosen, fixed)
            while len(self.models) >= MODELS:
                self.models.popitem(last=False)
        self.models[folder] = found
        return found
