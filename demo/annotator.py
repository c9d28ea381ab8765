"""Simulated annotators, who submit the ground truth through Label Studio's API.

Each annotator has an account and a token. An annotator asks for the next task like the Label All
Tasks button, waits for a while as if drawing, and submits or skips. Label Studio's answers are kept
for the check of the served order (`demo.order_check`) and for the summary.
"""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from backend.errors import StudioError, StudioUnreachable
from backend.label_studio.client import Studio
from backend.label_studio.label_config import LabelConfig
from backend.label_studio.regions.objects import Region, encode_objects
from demo.errors import DemoError
from demo.pre_annotations import PreAnnotation, compare
from demo.records import Done, Served
from taudis.data.coco import CocoSamples
from taudis.types import ANY_LABEL, LabelMap, Target

UPLOADED = re.compile(r"^[0-9a-f]{8}-")
"""Label Studio puts eight hexadecimal digits and a dash before the name of an uploaded file."""
GIVE_UP_AFTER = 10
"""Number of consecutive errors of Label Studio after which an annotator stops."""


class Truth:
    """The ground truth of each picture as Label Studio regions: a careful person's labels.

    Args:
        samples: the data set. Crowd regions are not drawn, since their members cannot be outlined.
        label_map: names of the samples' labels.
        config: the project's labelling config; each label is drawn with its control tag.
    """

    def __init__(self, samples: CocoSamples, label_map: LabelMap, config: LabelConfig) -> None:
        self._samples, self._label_map, self._config = samples, label_map, config
        self._rows = {Path(name).name: row for row, name in enumerate(samples.file_names)}

    def regions(self, data: Mapping[str, Any]) -> list[Region]:
        """The regions of a task, found by the file name in the task's data.

        Raises:
            DemoError: the task's picture is not in the data set.
        """
        return encode_objects(self._target(data), self._label_map, self._config)

    def compare(self, task: Mapping[str, Any], version: str) -> PreAnnotation:
        """The pre-annotation that an annotator sees on a served task, compared with the truth.

        Args:
            task: Label Studio's answer to `next`. The page shows its first prediction.
            version: the project's model version, for a task without a prediction.

        Raises:
            DemoError: the task's picture is not in the data set.
        """
        nothing: Region = {"model_version": version, "result": []}
        visible = next(iter(task.get("predictions", [])), nothing)
        target = self._target(task["data"])
        theirs = self._config.label_map.index
        labels = [
            label if label == ANY_LABEL else theirs(self._label_map.name(label))
            for label in target.labels.tolist()
        ]
        target = replace(target, labels=np.array(labels, np.int64))
        return compare(
            task["id"], visible["model_version"], visible["result"], target, self._config
        )

    def _target(self, data: Mapping[str, Any]) -> Target:
        """The objects of a task's picture. Raises DemoError if it is not in the data set."""
        name = unquote(self._config.image.address(data).rpartition("/")[2])
        row = self._rows.get(UPLOADED.sub("", name), self._rows.get(name))
        if row is None:
            raise DemoError(f"No truth is known for {name}; import the pictures of the data set.")
        return self._samples.target(row)


class Annotator:
    """One annotator, who labels in a thread.

    Args:
        url: Label Studio's address.
        token: this annotator's token.
        project: id of the project to label.
        truth: the regions to draw.
        name: the annotator's name in the records and the log.
        pause: mean time from a task's arrival to its submit, seconds.
        skip_part: share of the tasks to skip, 0 to 1; seed, name and task decide which.
        seed: seed of skips and pauses.
        log: JSON lines file for all answers; None keeps them only in memory.
        most: stop after this many submits and skips; None continues until `stop`.
    """

    def __init__(
        self,
        url: str,
        token: str,
        project: int,
        truth: Truth,
        name: str,
        *,
        pause: float = 0.5,
        skip_part: float = 0.0,
        seed: int = 0,
        log: Path | None = None,
        most: int | None = None,
    ) -> None:
        self.name, self.project = name, project
        self.failure: str = ""  # the error that made the annotator stop
        self.paused = threading.Event()  # set by the caller: ask for no task until it is cleared
        self.found_none: float | None = None  # when the last request was sent, if it found no task
        self._studio = Studio(url, token)
        self._truth, self._skip_part, self._seed = truth, skip_part, seed
        self.pause = pause  # the caller may change it while the thread runs
        self._log, self._most = log, most
        self._random = random.Random(f"{seed} {name}")
        self._lock, self._stopping = threading.Lock(), threading.Event()
        self._served: list[Served] = []
        self._done: list[Done] = []
        self._seen: list[PreAnnotation] = []
        self._me: int | None = None
        self._thread = threading.Thread(target=self._work, name=f"annotator {name}", daemon=True)

    @property
    def served(self) -> list[Served]:
        """Every task that Label Studio served this annotator, in order; a copy."""
        with self._lock:
            return list(self._served)

    @property
    def done(self) -> list[Done]:
        """Every submit and skip, in order; a copy."""
        with self._lock:
            return list(self._done)

    @property
    def seen(self) -> list[PreAnnotation]:
        """The pre-annotation of each served task, compared with the truth, in order; a copy."""
        with self._lock:
            return list(self._seen)

    @property
    def working(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float = 60) -> None:
        """Submit the current task and end the thread. Any thread may call this, repeatedly."""
        self._stopping.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _work(self) -> None:
        """Label tasks in turn. Retries after up to GIVE_UP_AFTER errors of Label Studio."""
        errors = 0
        while not self._stopping.is_set() and len(self._done) != self._most:
            if self.paused.is_set():
                self._stopping.wait(0.2)
                continue
            try:
                if not self.label_one():
                    self._stopping.wait(max(self.pause, 1.0))
                errors = 0
            except StudioError as error:
                errors += 1
                self._log_event("error", message=str(error))
                if errors == GIVE_UP_AFTER:
                    self.failure = str(error)
                    return
                self._stopping.wait(1.0)
            except DemoError as error:
                self.failure = str(error)
                return

    def ask_once(self) -> bool:
        """Ask for the next task without labelling it; False if there is none. Use after `stop`."""
        return self._ask() is not None

    def label_one(self) -> bool:
        """Ask for the next task and submit or skip it; False if there is none."""
        asked = time.time()
        task = self._ask()
        self.found_none = asked if task is None else None
        if task is None:
            return False
        skipped = self._skips(task["id"])
        result = [] if skipped else self._truth.regions(task["data"])
        began = time.time()
        # Random pauses keep two annotators from always asking at the same moment.
        self._stopping.wait(self.pause * self._random.uniform(0.5, 1.5))
        sent = time.time()
        row = self._submit(task, result, skipped, lead_time=round(sent - began, 3))
        made = int(row["id"]), str(row["updated_at"])
        done = Done(self.name, task["id"], sent, time.time(), skipped, *made)
        with self._lock:
            self._done.append(done)
        self._log_event("done", task=done.task, sent=sent, answered=done.answered, skipped=skipped)
        return True

    def _ask(self) -> dict[str, Any] | None:
        """Ask for the next task; record it with the version before and after the request."""
        before = self._version()
        asked = time.time()
        task = self._studio.next_task(self.project)
        answered = time.time()
        if task is None:
            return None
        predicted = tuple((p["model_version"], p["score"]) for p in task.get("predictions", []))
        served = Served(self.name, asked, answered, task["id"], before, self._version(), predicted)
        with self._lock:
            self._served.append(served)
        seen = self._truth.compare(task, served.version_after)  # after the request, as it is slow
        with self._lock:
            self._seen.append(seen)
        predictions = [
            {"id": p["id"], "model_version": p["model_version"], "score": p["score"],
             "regions": len(p["result"])}
            for p in task.get("predictions", [])
        ]  # fmt: skip
        facts = {"predictions": predictions, "queue": task.get("queue"), "seen": vars(seen)}
        # `facts` has more details of the predictions than Served, under the same name.
        self._log_event("served", **{**vars(served), **facts})
        return task

    def _version(self) -> str:
        return str(self._studio.project(self.project).get("model_version") or "")

    def _skips(self, task: int) -> bool:
        """Whether this annotator skips this task; the same for every call."""
        return random.Random(f"{self._seed} {self.name} {task}").random() < self._skip_part

    def _submit(
        self, task: dict[str, Any], result: list[Region], skipped: bool, lead_time: float
    ) -> dict[str, Any]:
        """Submit exactly once. Returns the annotation from Label Studio.

        If the response is lost, checks Label Studio before a second attempt.
        """
        first = next(iter(task.get("predictions", [])), None)
        fields: dict[str, Any] = {"lead_time": lead_time, "project": self.project}
        if first is not None and not skipped:
            fields["parent_prediction"] = first["id"]

        def send() -> dict[str, Any]:
            return self._studio.create_annotation(
                task["id"], result, was_cancelled=skipped, **fields
            )

        try:
            return send()
        except StudioUnreachable:
            return self._arrived(task["id"]) or send()

    def _arrived(self, task: int) -> dict[str, Any] | None:
        """The annotator's own annotation of the task, if Label Studio has one."""
        if self._me is None:
            self._me = int(self._studio.whoami()["id"])
        rows: list[dict[str, Any]] = self._studio.get_task(task)["annotations"]
        return next((row for row in rows if row["completed_by"] == self._me), None)

    def _log_event(self, event: str, **facts: Any) -> None:
        """Append one line to the log."""
        if self._log is None:
            return
        line = {"event": event, "annotator": self.name, "at": time.time(), **facts}
        with self._lock, self._log.open("a") as log:
            log.write(json.dumps(line) + "\n")
