"""Answers to /predict: one prediction a task, read from the store if there is one.

A task without a stored prediction (imported after the last round, say) is predicted on the spot by
a process of its own (backend.web.predictor). Its score puts it behind all tasks that have a place.
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
from backend.store.serving import models_folder, served_version, stand_ins
from backend.web.messages import Job
from backend.web.metrics import Metrics
from backend.web.predictor import Predictor, PredictorUnavailable

logger = logging.getLogger(__name__)

PREDICT_SECONDS = 60.0  # for one request; Label Studio waits 100
TaskPrediction = dict[str, Any]
"""One entry of /predict's answer: {result: regions, score, model_version}."""
Task = Mapping[str, Any]
"""A task as Label Studio sends it: {id, data, project, ...}."""


@dataclass(frozen=True)
class Services:
    """The settings, store, prediction process and counters of one web process."""

    settings: Settings
    store: Store
    predictor: Predictor
    metrics: Metrics

    @classmethod
    def create(cls, settings: Settings, store: Store | None = None) -> Services:
        """Open the store unless it is given. The prediction process starts when it is needed."""
        opened = Store(settings.model_dir) if store is None else store
        return cls(settings, opened, Predictor(settings), Metrics(opened, settings.budget))

    @classmethod
    def from_environment(cls) -> Services:
        """The services that the environment describes."""
        return cls.create(load_settings())


def answer_tasks(
    services: Services, project_id: int, tasks: Sequence[Task], label_config: str = ""
) -> list[TaskPrediction]:
    """One prediction a task, in the order of the tasks.

    The score of a stored prediction is its place in the order. Any other task gets a score behind
    all N places, 1 + 1/N: a confidence would put it first. A prediction that could not be made this
    time (no time left, an image that cannot be read) names no version, so that Label Studio's
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
    """The stored predictions of the serving version; none if its file is gone."""
    try:
        path = predictions.path_of(settings.model_dir, project, version)
        return predictions.read(path, {_task_id(task) for task in tasks})
    except StoreError as error:
        logger.warning("Project %s: %s", project, error)
        return {}


def _behind(store: Store, project: int, version: str) -> float:
    """The place behind all N known ones: 1 + 1/N."""
    known = next((v.tasks for v in store.versions(project) if v.version == version), 0)
    return score_behind(known)


def _task_id(task: Task) -> int:
    """A task's id; 0, which Label Studio never gives, for one without."""
    found = task.get("id")
    return found if isinstance(found, int) and abs(found) < 2**63 else 0


def task_prediction(regions: Sequence[Any], score: float, version: str) -> TaskPrediction:
    """One task's prediction in the form that Label Studio reads."""
    return {"result": list(regions), "score": score, "model_version": version}


@dataclass
class _OnTheSpot:
    """Predicts the tasks of one request that have no stored prediction, until the time is up."""

    services: Services
    project: Project
    label_config: str
    behind: float

    def __post_init__(self) -> None:
        self.deadline = time.monotonic() + PREDICT_SECONDS
        self.gave_up = False

    def result(self, task: Task, version: str) -> TaskPrediction:
        """A task's prediction; without regions if it is blank, or without model, image or time."""
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
            self.gave_up = True  # the rest of this request would only wait longer
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
        """The message to the prediction process; None if the project has no model or address."""
        state, settings = self.project.state, self.services.settings
        model, data = state.model, task.get("data")
        config = self.label_config or state.label_config
        url = settings.label_studio_url or self.project.origin
        if not (model and config and url and isinstance(data, Mapping)):
            return None
        predictions.path_of(settings.model_dir, self.project.id, model)  # refuses odd names
        names = stand_ins(self.services.store, self.project, model)
        folders = [models_folder(settings.model_dir, self.project.id) / name for name in names]
        token = token_for(settings, self.project.id)
        spare = tuple(folders[1:])
        return Job(self.project.id, _task_id(task), folders[0], config, data, url, token, spare)


def versions_of(store: Store, project: int) -> list[str]:
    """A project's published versions, newest first; [] if the store cannot be read just now."""
    try:
        return [version.version for version in store.versions(project)]
    except SQLAlchemyError:
        logger.warning("The store could not be read for /versions", exc_info=True)
        return []
