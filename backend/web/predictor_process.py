"""The prediction process. It holds at most two models and predicts one image at a time."""

from __future__ import annotations

import contextlib
import logging
import os
from collections import OrderedDict
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from backend.errors import BackendError, ImageError
from backend.images.source import image_source
from backend.label_studio.client import Studio
from backend.label_studio.label_config import LabelConfig, parse_label_config
from backend.label_studio.regions import encode_prediction
from backend.logs import setup_logging
from backend.process import limit_memory
from backend.settings import Settings
from backend.web.messages import Job, PredictedRegions
from taudis.detector.checkpoint import load_checkpoint
from taudis.detector.memory import give_back_free_pages
from taudis.detector.registry import TrainedDetector
from taudis.errors import CheckpointError, TaudisError
from taudis.evaluation.visible import CARD_KEY, thresholds_for
from taudis.types import FloatArray

logger = logging.getLogger(__name__)

Loaded = tuple[TrainedDetector, FloatArray]
"""A model, and the lowest score [K] at which each label is shown."""

_TIDY = 16  # number of predictions after which free memory is returned to the system
MODELS = 2  # the serving model, and its predecessor or another project's model


def serve(connection: Connection, settings: Settings, idle_seconds: float) -> None:
    """Answer jobs until the web process is gone, or no job has come for `idle_seconds`."""
    setup_logging(settings.log_level)
    torch.set_num_threads(1)
    limit_memory(training=False)
    with contextlib.suppress(OSError):
        os.nice(5)  # webhooks have priority
    models, answered = LoadedModels(settings), 0
    while connection.poll(idle_seconds):
        try:
            job = connection.recv()
        except (EOFError, OSError):
            return  # the web process ended
        try:
            outcome: PredictedRegions | None = models.predict(job)
        except Exception:
            logger.exception("A prediction of task %s failed", job.task)
            outcome = None
        connection.send(outcome)
        answered += 1
        if answered % _TIDY == 0:
            give_back_free_pages()


class LoadedModels:
    """A memory cache of the most recently used models, at most `MODELS`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.models: OrderedDict[Path, Loaded] = OrderedDict()

    def predict(self, job: Job) -> PredictedRegions:
        """The regions of one task whose scores reach the model's thresholds.

        An error of the task or the model is returned as the answer's `problem`.
        """
        try:
            config = parse_label_config(job.label_config)
            try:
                address = config.image.address(job.data)
            except ImageError as error:
                return PredictedRegions([], str(error), lasting=True)
            studio = Studio(job.studio_url, job.token)
            detector, thresholds = self._readable((job.checkpoint, *job.stand_ins), config)
            source = image_source(self.settings, studio.url, studio.auth_headers)
            detection = detector.detect([source.load(address, task=job.task or None)])[0]
        except (BackendError, TaudisError) as error:
            return PredictedRegions([], str(error))
        return PredictedRegions(encode_prediction(detection, config, threshold=thresholds))

    def _readable(self, folders: tuple[Path, ...], config: LabelConfig) -> Loaded:
        """The first detector that can be read.

        If none can be read, raises the CheckpointError of the first folder.
        """
        failed: list[CheckpointError] = []
        for folder in folders:
            try:
                return self._model(folder, config)
            except CheckpointError as error:
                logger.warning("Predicting on the spot with an earlier model, if any: %s", error)
                failed.append(error)
        raise failed[0]

    def _model(self, folder: Path, config: LabelConfig) -> Loaded:
        """The verified detector of a checkpoint for these labels, from memory if possible.

        A newly loaded detector replaces the least recently used one.
        """
        found = self.models.pop(folder, None)
        if found is None or found[0].label_map != config.label_map:
            # Loaded before the eviction, so that a bad checkpoint does not evict a good one. Always
            # on the CPU: for single images a GPU saves little, takes seconds to start, and uses
            # memory that a training may need.
            detector, card = load_checkpoint(folder, label_map=config.label_map, device="cpu")
            chosen, fixed = card.get(CARD_KEY, {}), self.settings.score_threshold
            found = detector.fast(), thresholds_for(config.label_map, chosen, fixed)
            while len(self.models) >= MODELS:
                self.models.popitem(last=False)
        self.models[folder] = found
        return found
