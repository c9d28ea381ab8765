"""Inside the prediction process: two models at most, one image at a time."""

from __future__ import annotations

import contextlib
import logging
import os
from collections import OrderedDict
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from backend.desk import image_source
from backend.errors import BackendError
from backend.label_config import LabelConfig, parse_label_config
from backend.logs import setup_logging
from backend.predictor import Answer, Job
from backend.regions import encode_prediction
from backend.settings import Settings
from backend.studio import Studio
from taudis.checkpoint import load_checkpoint
from taudis.errors import TaudisError
from taudis.mask_rcnn import Detector

logger = logging.getLogger(__name__)

MODELS = 2  # the serving one, and the one before or another project's


def serve(connection: Connection, settings: Settings, idle_seconds: float) -> None:
    """Answer jobs until the web process is gone or nothing was asked for `idle_seconds`."""
    setup_logging(settings.log_level)
    torch.set_num_threads(1)
    with contextlib.suppress(OSError):
        os.nice(5)  # a webhook goes first
    desk = PredictionDesk(settings)
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


class PredictionDesk:
    """Keeps the latest models loaded."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.models: OrderedDict[Path, Detector] = OrderedDict()

    def answer(self, job: Job) -> Answer:
        """The regions of one task above SCORE_THRESHOLD; faults of task or model as `problem`."""
        try:
            config = parse_label_config(job.label_config)
            address = config.image.address(job.data)
            detector = self._model(job.checkpoint, config)
            source = image_source(self.settings, Studio(job.studio_url, job.token))
            detection = detector.detect([source.load(address)])[0]
        except (BackendError, TaudisError) as error:
            return Answer([], str(error))
        return Answer(encode_prediction(detection, config, threshold=self.settings.score_threshold))

    def _model(self, folder: Path, config: LabelConfig) -> Detector:
        """The checkpoint's detector, verified and made for these labels; the oldest one goes."""
        found = self.models.pop(folder, None)
        if found is None or found.label_map != config.label_map:
            while len(self.models) >= MODELS:
                self.models.popitem(last=False)
            found = load_checkpoint(folder, label_map=config.label_map)[0]
        self.models[folder] = found
        return found
