"""What Label Studio keeps, and how it shows each thing as JSON."""

import threading
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count

UNSET = "$undefined$"
"""The data key of files that were uploaded before the labelling config had an image."""
UPLOADS_A_PAGE = 1000
"""SQLite allows 1,000 conditions in a query, and a page takes one for each uploaded task."""


class Clock:
    """Moments as Label Studio writes them; each is later than the one before, but for a jump."""

    def __init__(self):
        self._ahead = timedelta()
        self._last = self.now()

    def now(self):
        return datetime.now(UTC) + self._ahead

    def jump(self, seconds):
        """Set the clock forward, or back where `seconds` is negative."""
        self._ahead += timedelta(seconds=seconds)
        self._last = self.now()

    def __call__(self):
        self._last = max(self.now(), self._last + timedelta(microseconds=1))
        return self._last.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(eq=False)
class User:
    """A person with an account."""

    id: int
    email: str
    token: str  # legacy token
    personal: str = ""  # personal access token, once it was made

    def row(self):
        return {"id": self.id, "email": self.email, "username": "", "first_name": ""}


@dataclass(eq=False)
class Annotation:
    """A submitted or skipped annotation of a task."""

    id: int
    task: "Task"
    result: list
    completed_by: User
    created_at: str
    updated_at: str
    was_cancelled: bool = False
    ground_truth: bool = False
    lead_time: float | None = None
    parent_prediction: int | None = None

    def row(self):
        return {
            "id": self.id,
            "result": self.result,
            "completed_by": self.completed_by.id,
            "was_cancelled": self.was_cancelled,
            "ground_truth": self.ground_truth,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "lead_time": self.lead_time,
            "parent_prediction": self.parent_prediction,
            "task": self.task.id,
            "project": self.task.project.id,
        }


@dataclass(eq=False)
class Prediction:
    """A prediction of one version for a task."""

    id: int
    task: "Task"
    result: list
    score: float | None
    model_version: str
    created_at: str
    updated_at: str

    def row(self):
        return {
            "id": self.id,
            "result": self.result,
            "model_version": self.model_version,
            "score": self.score,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "task": self.task.id,
            "project": self.task.project.id,
        }


@dataclass(eq=False)
class Task:
    """A task with its annotations, its predictions, and who holds a lock on it."""

    id: int
    project: "Project"
    data: dict
    created_at: str
    updated_at: str
    upload: bytes | None = None
    annotations: dict = field(default_factory=dict)
    predictions: dict = field(default_factory=dict)
    locks: set = field(default_factory=set)  # ids of users; they do not expire here

    @property
    def submitted(self):
        return [each for each in self.annotations.values() if not each.was_cancelled]

    @property
    def is_labeled(self):
        return len(self.submitted) >= self.project.maximum_annotations

    @property
    def answered_data(self):
        """Data as Label Studio answers: the image's key of the config in place of UNSET."""
        key = self.project.image_value().removeprefix("$") or UNSET
        return {key if name == UNSET else name: value for name, value in self.data.items()}

    def row(self):
        return {
            "id": self.id,
            "data": self.answered_data,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "is_labeled": self.is_labeled,
            "overlap": self.project.maximum_annotations,
            "total_annotations": len(self.submitted),
            "cancelled_annotations": len(self.annotations) - len(self.submitted),
            "total_predictions": len(self.predictions),
            "project": self.project.id,
        }


@dataclass(eq=False)
class Webhook:
    """An address that is told of a project's events."""

    id: int
    project: "Project"
    url: str
    send_payload: bool = True
    send_for_all_actions: bool = True
    headers: dict = field(default_factory=dict)
    is_active: bool = True
    actions: list = field(default_factory=list)

    def wants(self, action):
        return self.is_active and (self.send_for_all_actions or action in self.actions)

    def row(self):
        return {
            "id": self.id,
            "project": self.project.id,
            "url": self.url,
            "send_payload": self.send_payload,
            "send_for_all_actions": self.send_for_all_actions,
            "headers": self.headers,
            "is_active": self.is_active,
            "actions": list(self.actions),
        }


@dataclass(eq=False)
class Backend:
    """An ML backend that is connected to a project."""

    id: int
    project: "Project"
    url: str
    title: str
    auth: tuple | None = None
    state: str = "Connected"
    model_version: str | None = None
    error_message: str | None = None

    def row(self):
        return {
            "id": self.id,
            "project": self.project.id,
            "url": self.url,
            "title": self.title,
            "auth_method": "BASIC_AUTH" if self.auth else "NONE",
            "readable_state": self.state,
            "model_version": self.model_version,
            "error_message": self.error_message,
            "is_interactive": False,
        }


@dataclass(eq=False)
class Project:
    """A project with all that belongs to it, by id."""

    id: int
    created_by: User
    created_at: datetime
    title: str
    label_config: str
    sampling: str = "Sequential sampling"
    model_version: str | None = ""
    show_collab_predictions: bool = True
    maximum_annotations: int = 1
    tasks: dict = field(default_factory=dict)
    webhooks: dict = field(default_factory=dict)
    backends: dict = field(default_factory=dict)
    tabs: dict = field(default_factory=dict)  # id -> what it shows
    keys_counted_twice: Counter = field(default_factory=Counter)  # of data, by saved annotations

    FIELDS = (
        "title",
        "label_config",
        "sampling",
        "model_version",
        "show_collab_predictions",
        "maximum_annotations",
    )

    @property
    def predictions(self):
        return [each for task in self.tasks.values() for each in task.predictions.values()]

    def versions(self):
        """Number of predictions by version; the current version is there even with 0."""
        found = {self.model_version: 0} if self.model_version else {}
        for each in self.predictions:
            found[each.model_version] = found.get(each.model_version, 0) + 1
        return found

    def controls(self):
        """Name of a control -> its tag, and the names of what it labels."""
        found = {}
        for tag in ElementTree.fromstring(self.label_config).iter():
            if "name" in tag.attrib and "toName" in tag.attrib:
                found[tag.get("name")] = (tag.tag.lower(), tag.get("toName").split(","))
        return found

    def image_value(self):
        """What the first Image tag shows, such as `$image`; '' without one."""
        tags = ElementTree.fromstring(self.label_config).iter("Image")
        return next((tag.get("value", "") for tag in tags), "")

    def row(self):
        tasks = self.tasks.values()
        return {name: getattr(self, name) for name in self.FIELDS} | {
            "id": self.id,
            "created_by": {"id": self.created_by.id, "email": self.created_by.email},
            "task_number": len(self.tasks),
            "finished_task_number": sum(task.is_labeled for task in tasks),
            "total_annotations_number": sum(len(task.submitted) for task in tasks),
            "total_predictions_number": len(self.predictions),
        }


class Records:
    """All that Label Studio keeps, by id. Whoever reads or changes it holds `lock`."""

    def __init__(self):
        self.lock = threading.RLock()
        self.now = Clock()
        self.users, self.projects, self.tasks = {}, {}, {}
        self.annotations, self.predictions = {}, {}
        self.webhooks, self.backends = {}, {}
        self.uploads = {}  # path -> bytes
        self.observers = []  # each is called with every `callbacks.Delivery`
        self._numbers = {}

    def number(self, kind):
        """A new id; as in Label Studio, each kind of record counts by itself."""
        return next(self._numbers.setdefault(kind, count(1)))

    def add_task(self, project, data, upload=None):
        moment = self.now()
        task = Task(self.number("task"), project, data, moment, moment, upload)
        self.tasks[task.id] = project.tasks[task.id] = task
        return task

    def add_prediction(self, task, result, score, version):
        moment, number = self.now(), self.number("prediction")
        made = Prediction(number, task, result, score, version, moment, moment)
        self.predictions[number] = task.predictions[number] = made
        return made

    def remove_prediction(self, prediction):
        del self.predictions[prediction.id], prediction.task.predictions[prediction.id]
        for each in prediction.task.annotations.values():
            if each.parent_prediction == prediction.id:
                each.parent_prediction = None

    def remove_task(self, task):
        for each in list(task.predictions.values()):
            self.remove_prediction(each)
        for number in task.annotations:
            del self.annotations[number]
        del self.tasks[task.id], task.project.tasks[task.id]
