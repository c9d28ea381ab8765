"""Answers /predict: one prediction for each task, read from the store if there is one.

A task without a stored prediction, such as a task imported after the last round, is predicted on
the spot in a separate process (`backend.web.predictor`). Its score puts it behind all tasks that
have a place.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from backend.errors import StoreError
from backend.label_studio.queue import score_behind
from backend.settings import Settings, load_settings
from backend.store import predictions
from backend.store.blank import is_blank
from backend.store.database import Store
from backend.store.projects import Project
from backend.store.secrets import token_for
from backend.store.serving import models_folder, served_version, serving_model, stand_ins
from backend.web.messages import Job
from backend.web.metrics import Metrics
from backend.web.predictor import Predictor, PredictorUnavailable

logger = logging.getLogger(__name__)

PREDICT_SECONDS = 60.0  # for one request; Label Studio waits 100
TaskPrediction = dict[str, Any]
"""One entry in the answer of /predict: {result: regions, score, model_version}."""
Task = Mapping[str, Any]
"""A task from Label Studio: {id, data, project, ...}."""


@dataclass(frozen=True)
class Services:
    """The settings, store, prediction process and counters of one web process."""

    settings: Settings
    store: Store
    predictor: Predictor
    metrics: Metrics

    @classmethod
    def create(cls, settings: Settings, store: Store | None = None) -> Services:
        """Open the store unless it is given. The prediction process starts on first use."""
        opened = Store(settings.model_dir) if store is None else store
        return cls(settings, opened, Predictor(settings), Metrics(opened, settings.budget))

    @classmethod
    def from_environment(cls) -> Services:
        """The services with the settings from the environment."""
        return cls.create(load_settings())


def answer_tasks(
    services: Services, project_id: int, tasks: Sequence[Task], label_config: str = ""
) -> list[TaskPrediction]:
    """One prediction for each task, in the order of the tasks.

    The score of a stored prediction is its place in the order. Any other task gets the score
    1 + 1/N, behind all N places, because a confidence as score could put it first. If a prediction
    fails for now (no time left, an unreadable image), it names no version, so that Label Studio's
    action "Retrieve predictions" asks again.
    """
    project = services.store.project(project_id)
    version = served_version(project)
    behind = _behind(services.store, project_id, version)
    if project is None or not version:
        services.metrics.predictions("empty", len(tasks))
        return [task_prediction([], behind, version) for _ in tasks]
    stored = _stored(services.settings, project_id, version, tasks)
    services.metrics.predictions("stored", sum(_task_id(task) in stored for task in tasks))
    maker = _OnTheSpot(services, project, label_config, behind)
    return [
        task_prediction(found.result, found.score, version)
        if (found := stored.get(_task_id(task))) is not None
        else maker.result(task, version)
        for task in tasks
    ]


def _stored(
    settings: Settings, project: int, version: str, tasks: Sequence[Task]
) -> dict[int, predictions.Prediction]:
    """The stored predictions of the served version; {} if its file is gone."""
    try:
        path = predictions.path_of(settings.model_dir, project, version)
        return predictions.read(path, {_task_id(task) for task in tasks})
    except StoreError as error:
        logger.warning("Project %s: %s", project, error)
        return {}


def _behind(store: Store, project: int, version: str) -> float:
    """The score behind all N places of a version: 1 + 1/N."""
    known = next((v.tasks for v in store.versions(project) if v.version == version), 0)
    return score_behind(known)


def _task_id(task: Task) -> int:
    """A task's id; 0, which Label Studio never uses, for a task without an id."""
    found = task.get("id")
    return found if isinstance(found, int) and abs(found) < 2**63 else 0


def task_prediction(regions: Sequence[Any], score: float, version: str) -> TaskPrediction:
    """One task's prediction in the format of Label Studio."""
    return {"result": list(regions), "score": score, "model_version": version}


@dataclass
class _OnTheSpot:
    """Predicts the tasks of one request without a stored prediction, within PREDICT_SECONDS."""

    services: Services
    project: Project
    label_config: str
    behind: float

    def __post_init__(self) -> None:
        self.deadline = time.monotonic() + PREDICT_SECONDS
        self.gave_up = False

    def result(self, task: Task, version: str) -> TaskPrediction:
        """A task's prediction. It has no regions if the task is blank or cannot be predicted."""
        settings, number = self.services.settings, _task_id(task)
        if number and is_blank(number, settings.blank_share, settings.seed):
            return self._empty(version)
        job = self._job(task)
        left = self.deadline - time.monotonic()
        if job is None or self.gave_up or left <= 0:
            return self._empty(version if job is None else "")
        try:
            answer = self.services.predictor.predict(job, left)
        except PredictorUnavailable as error:
            logger.warning("Project %s: no prediction on the spot: %s", self.project.id, error)
            self.gave_up = True  # other tasks of this request would wait in vain
            return self._empty("")
        if answer.problem:
            logger.info(
                "Project %s, task %s: no prediction: %s",
                self.project.id,
                _task_id(task),
                answer.problem,
            )
            return self._empty(version if answer.lasting else "")
        self.services.metrics.predictions("computed", 1)
        return task_prediction(answer.regions, self.behind, version)

    def _empty(self, version: str) -> TaskPrediction:
        self.services.metrics.predictions("empty", 1)
        return task_prediction([], self.behind, version)

    def _job(self, task: Task) -> Job | None:
        """The job for the prediction process; None if model, config, address or data is missing."""
        state, settings = self.project.state, self.services.settings
        model, data = serving_model(state), task.get("data")
        config = self.label_config or state.label_config
        url = settings.label_studio_url or self.project.origin
        if not (model and config and url and isinstance(data, Mapping)):
            return None
        predictions.path_of(settings.model_dir, self.project.id, model)  # raises for unsafe names
        names = stand_ins(self.services.store, self.project, model)
        folders = [models_folder(settings.model_dir, self.project.id) / name for name in names]
        token = token_for(settings, self.project.id)
        spare = tuple(folders[1:])
        return Job(self.project.id, _task_id(task), folders[0], config, data, url, token, spare)


def versions_of(store: Store, project: int) -> list[str]:
    """A project's published versions, newest first; [] if the store cannot be read now."""
    try:
        return [version.version for version in store.versions(project)]
    except SQLAlchemyError:
        logger.warning("The store could not be read for /versions", exc_info=True)
        return []
