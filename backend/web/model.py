"""The LabelStudioMLBase subclass: `predict` reads, `fit` rings the bell.

One subclass serves both generations of label-studio-ml. 1.0.9 makes it with (label_config,
train_output), assigns `label_config`, calls `predict(tasks, **params)` and `fit(tasks, workdir,
event=..., data=...)`. 2.x makes a new one for every request with (project_id, label_config). Its
`__init__` calls `use_label_config`, sets a first `model_version` where there is none, and calls
`setup()`; later it calls `predict(tasks, context, **params)` and `fit(event, data, **params)`. Its
`label_config` and `model_version` are properties that read a cache file; here they read the store.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from label_studio_ml.model import LabelStudioMLBase

from backend.web import webhook
from backend.web.predict import Result, Services, Task, answer_tasks, serving_version
from backend.web.requests import MAX_PROJECTS, RequestRefused, project_id


class TaudisPredictions:
    """All of the model but its base class, so that either generation's base can stand below."""

    services: ClassVar[Services | None] = None

    def __init__(
        self,
        project_id: str | int | None = None,
        label_config: str | None = None,
        train_output: Mapping[str, Any] | None = None,
        **params: Any,
    ) -> None:
        """Take either generation's arguments.

        The labelling config stays away from the base classes: 1.0.9's parser expands entity bombs,
        and the one that counts is read from Label Studio anyway.
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
        """A subclass with its services: two apps in one process do not share them."""
        return type(cls.__name__, (cls,), {"services": services})

    def setup(self) -> None:
        """2.x calls this for every request. There is nothing to load.

        Under 2.x's own `init_app` this call is all that is heard of a new project, so the project
        is recorded here, where the settings say where Label Studio is. `backend.web.app` records it
        in /setup and knows more: the address and the token that Label Studio gives.
        """
        services, found = self._services(), self._project()
        named = services.settings.label_studio_url
        if not (named and services.settings.label_studio_api_key.get_secret_value() and found):
            return
        store = services.store
        if store.project(found) is None and len(store.projects()) < MAX_PROJECTS:
            store.update_project(found, label_config=self._given_config or "")
            store.ring(found, "setup")

    def use_label_config(self, label_config: str) -> None:
        """2.x parses the config here; see `__init__` for why this one does not."""
        self._given_config = label_config

    @property
    def label_config(self) -> str | None:
        """The labelling config that was given, else the project's last known one, else None."""
        if self._given_config is not None:
            return self._given_config
        found = self._project()
        known = None if found is None else self._services().store.project(found)
        return None if known is None else known.state.get("label_config")

    @label_config.setter
    def label_config(self, label_config: str | None) -> None:
        """1.0.9 assigns it, 2.x never does."""
        self._given_config = label_config

    @property
    def model_version(self) -> str:
        """The version that the project serves; '' before its first order."""
        found = self._project()
        return "" if found is None else serving_version(self._services().store.project(found))

    def get(self, key: str) -> Any:
        """A value of 2.x's cache; version and labelling config are the store's."""
        if key == "model_version":
            return self.model_version
        if key == "label_config":
            return self.label_config
        return super().get(key)  # type: ignore[misc]

    def set(self, key: str, value: Any) -> None:
        """Write to 2.x's cache, which takes text alone. Rounds make versions, nobody else does.

        2.x sets a version "0.0.1" where there is none. Label Studio would list it in its menu.
        """
        if key == "label_config":
            self._given_config = value
        elif key != "model_version":
            text = value if isinstance(value, str) else json.dumps(value)
            super().set(key, text)  # type: ignore[misc]

    def predict(
        self, tasks: Sequence[Task], context: Mapping[str, Any] | None = None, **params: Any
    ) -> list[Result]:
        """Exactly one result a task, in order (a list, which both generations take).

        `context` (a person's clicks in interactive mode) does not change a prediction.
        """
        found = self._project()
        if found is None:
            return [{"result": [], "score": 2.0, "model_version": ""} for _ in tasks]
        return answer_tasks(self._services(), found, tasks, self._given_config or "")

    def fit(self, *args: Any, **params: Any) -> dict[str, str]:
        """Ring for an event. Training happens in the worker, never here.

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
        return {"status": webhook.ring(self._services().store, str(event), project)}

    def process_event(
        self, event: str, data: Mapping[str, Any], *args: Any, **params: Any
    ) -> dict[str, str]:
        """1.0.9's and 2.x's event hook: every event they know or not goes to `fit`."""
        return self.fit(event, data)

    def _project(self) -> int | None:
        """The project's number, None where the caller (1.0.9) names none."""
        try:
            return project_id(self.project_id)
        except RequestRefused:
            return None

    @classmethod
    def _services(cls) -> Services:
        """The bound services; from the environment where label_studio_ml made this model."""
        if cls.services is None:
            cls.services = Services.from_environment()
        return cls.services


class TaudisModel(TaudisPredictions, LabelStudioMLBase):  # type: ignore[misc]
    """TAUDIS for Label Studio, on the installed generation of label-studio-ml."""
