"""TaudisModel, our subclass of label-studio-ml's LabelStudioMLBase.

Our own server (`backend.web.app`) does not use this class. It is for people who run the server of
label-studio-ml: `init_app(TaudisModel)`. `predict` reads the stored predictions. `fit` records an
event, and the worker trains.

One class serves both generations of label-studio-ml:

- 1.0.9 constructs it with (label_config, train_output), assigns `label_config`, and calls
  `predict(tasks, **params)` and `fit(tasks, workdir, event=..., data=...)`. It does not pass the
  project, so `predict` takes it from the tasks.
- 2.x constructs it for every request with (project_id, label_config). Its `__init__` calls
  `use_label_config`, sets a first `model_version` if there is none, and calls `setup()`. Later it
  calls `predict(tasks, context, **params)` and `fit(event, data, **params)`. Its `label_config` and
  `model_version` are properties that read a cache file; here they read the store.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from label_studio_ml.model import LabelStudioMLBase

from backend.store.serving import served_version
from backend.web import webhook
from backend.web.predict import (
    Services,
    Task,
    TaskPrediction,
    answer_tasks,
    task_prediction,
)
from backend.web.requests import MAX_PROJECTS, RequestRefused, project_id


class TaudisPredictions:
    """TaudisModel without its base class, so that tests can add the base of either generation."""

    services: ClassVar[Services | None] = None

    def __init__(
        self,
        project_id: str | int | None = None,
        label_config: str | None = None,
        train_output: Mapping[str, Any] | None = None,
        **params: Any,
    ) -> None:
        """Accept the arguments of either generation.

        The base class never gets the labelling config: the parser of 1.0.9 expands XML entities
        without a limit.
        """
        self.project_id = "" if project_id is None else str(project_id)
        self._given_config = label_config
        if "project_id" in inspect.signature(super().__init__).parameters:
            super().__init__(project_id=self.project_id, label_config=label_config)  # type: ignore[call-arg]
        else:
            super().__init__(train_output=train_output, **params)  # type: ignore[call-arg]
            self._given_config = label_config  # 1.0.9 assigned None

    @classmethod
    def bound_to(cls, services: Services) -> type[TaudisPredictions]:
        """A subclass that uses these services and shares them with no other class."""
        return type(cls.__name__, (cls,), {"services": services})

    def setup(self) -> None:
        """Record a new project. 2.x calls this method for every request.

        With the server of 2.x, Label Studio's /setup call does not reach this class. The project is
        therefore recorded here, if the settings have Label Studio's address and a token. Our own
        server records it in /setup, with the address and the token that Label Studio sends.
        """
        services, found = self._services(), self._project()
        configured = services.settings.label_studio_url
        token = services.settings.label_studio_api_key.get_secret_value()
        if not (configured and token and found):
            return
        store = services.store
        if store.project(found) is None and len(store.projects()) < MAX_PROJECTS:
            store.update_project(found, label_config=self._given_config or "")
            store.record_event(found, "setup")

    def use_label_config(self, label_config: str) -> None:
        """Keep the labelling config without parsing it, unlike 2.x (`__init__` says why)."""
        self._given_config = label_config

    @property
    def label_config(self) -> str | None:
        """The labelling config that was given, else the project's last known config, else None."""
        if self._given_config is not None:
            return self._given_config
        found = self._project()
        known = None if found is None else self._services().store.project(found)
        return None if known is None else known.state.label_config or None

    @label_config.setter
    def label_config(self, label_config: str | None) -> None:
        """1.0.9 assigns it, 2.x never does."""
        self._given_config = label_config

    @property
    def model_version(self) -> str:
        """The version that the project serves; '' before its first order."""
        found = self._project()
        return "" if found is None else served_version(self._services().store.project(found))

    def get(self, key: str) -> Any:
        """A value of 2.x's cache. Version and labelling config come from the store instead."""
        if key == "model_version":
            return self.model_version
        if key == "label_config":
            return self.label_config
        return super().get(key)  # type: ignore[misc]

    def set(self, key: str, value: Any) -> None:
        """Write a value to 2.x's cache, as text. A given `model_version` is ignored.

        Only rounds make versions. 2.x sets the version "0.0.1" if there is none, which Label Studio
        would list in its version menu.
        """
        if key == "label_config":
            self._given_config = value
        elif key != "model_version":
            text = value if isinstance(value, str) else json.dumps(value)
            super().set(key, text)  # type: ignore[misc]

    def predict(
        self, tasks: Sequence[Task], context: Mapping[str, Any] | None = None, **params: Any
    ) -> list[TaskPrediction]:
        """Exactly one prediction for each task, in the order of the tasks.

        `context` (a person's clicks in interactive mode) does not change a prediction.
        """
        found = self._project() or _project_of(tasks)
        if found is None:
            return [task_prediction([], 2.0, "") for _ in tasks]
        return answer_tasks(self._services(), found, tasks, self._given_config or "")

    def fit(self, *args: Any, **params: Any) -> dict[str, str]:
        """Record an event. The worker trains, never this process.

        2.x passes (event, data), 1.0.9 passes (tasks, workdir) with `event` and `data` by name.
        """
        named = isinstance(args[0], str) if args else False
        event = params.get("event") or (args[0] if named else "")
        data = params.get("data") or (args[1] if named and len(args) > 1 else {})
        body = data if isinstance(data, Mapping) else {}
        try:
            project = webhook.project_of(body, self.project_id or None)
        except RequestRefused as refused:
            return {"status": "ignored", "detail": str(refused)}
        return {"status": webhook.record(self._services().store, str(event), project)}

    def process_event(
        self, event: str, data: Mapping[str, Any], *args: Any, **params: Any
    ) -> dict[str, str]:
        """Pass every event to `fit`. The base classes pass only events that they know."""
        return self.fit(event, data)

    def _project(self) -> int | None:
        """The project's id; None if the caller (1.0.9) names none."""
        try:
            return project_id(self.project_id)
        except RequestRefused:
            return None

    @classmethod
    def _services(cls) -> Services:
        """The services that the class is bound to, else services from the environment."""
        if cls.services is None:
            cls.services = Services.from_environment()
        return cls.services


def _project_of(tasks: Sequence[Task]) -> int | None:
    """The project in the `project` field of all tasks; None if they disagree."""
    try:
        found = {project_id(task.get("project")) for task in tasks}
    except RequestRefused:
        return None
    return found.pop() if len(found) == 1 else None


class TaudisModel(TaudisPredictions, LabelStudioMLBase):  # type: ignore[misc]
    """TAUDIS for Label Studio, on the installed generation of label-studio-ml."""
