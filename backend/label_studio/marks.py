"""Marks: texts in the data of tasks, which the review tab of the Data Manager shows and sorts by.

Task data is the only column of the Data Manager that can be written for a labelled task without
changing labels, predictions or the queue. Writing it triggers no webhook. Label Studio counts the
keys of all task data and has a column for each key. Measured on Label Studio 1.23.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.errors import StudioRejected
from backend.label_studio.addresses import UNDEFINED
from backend.label_studio.http import Transport
from backend.label_studio.listings import (
    PAGE,
    PAGE_SECONDS,
    Listing,
    PageSizes,
    Row,
    condition,
)

MARK = "taudis_review"
"""The key of a mark in a task's data, and the title of its column."""
FIELDS = "id,data,updated_at,annotations,was_cancelled,ground_truth,created_at"
"""The fields that are read of tasks and annotations: no regions."""
EVER = "1970-01-01T00:00:00.000000Z"
Columns = Mapping[str, Any]
"""Key of task data -> how many tasks have it."""


@dataclass(frozen=True)
class Marks:
    """The calls about marks. Every method raises the same errors as the methods of `Studio`.

    Rows of tasks have the imported addresses in their data, not the addresses that Label Studio
    resolves them to, and annotations without regions.
    """

    http: Transport
    sizes: PageSizes

    def tasks(self, project: int, numbers: Sequence[int]) -> list[Row]:
        """The tasks with these ids that still exist, ordered by id."""
        what = f"Reading {len(numbers)} tasks of project {project}"
        found: list[Row] = []
        for first in range(0, len(numbers), PAGE["labels"]):
            some = list(numbers[first : first + PAGE["labels"]])
            found += self._listing(project, what, condition("id", "in_list", "Number", some)).rows()
        return found

    def marked(self, project: int, since: str = "") -> list[Row]:
        """The marked tasks by id; with `since`, only those with a later `updated_at`."""
        what = f"Listing the marked tasks of project {project}"
        later = condition("updated_at", "greater", "Datetime", since or EVER)
        some = condition(f"data.{MARK}", "empty", "Unknown", "false")
        return self._listing(project, what, some, later).rows()

    def write(self, task: Row, text: str, columns: Columns) -> None:
        """Mark a task, or change its mark; '' removes the mark.

        Label Studio replaces all data of the task, so it is sent along. `task`: a row of `tasks` or
        `marked`. `columns`: the project's `columns`.
        """
        what = f"Marking task {task['id']}"
        data = {key: value for key, value in task["data"].items() if key != MARK}
        data = _as_imported(data, columns)
        body = {"data": {**data, MARK: text} if text else data}
        self.http.call("PATCH", f"/api/tasks/{task['id']}/", what=what, body=body)

    def columns(self, project: int) -> Columns:
        """Label Studio's count of the keys in the project's task data."""
        what = f"Reading the data columns of project {project}"
        found = self.http.call("GET", f"/api/projects/{project}/summary/", what=what)
        if not isinstance(found, dict) or not isinstance(found.get("all_data_columns"), dict):
            raise StudioRejected(f"{what}: expected `all_data_columns`, got {found!r:.200}.")
        return dict(found["all_data_columns"])

    def recount(self, project: int) -> None:
        """Make Label Studio count the keys of all task data again, as its Reset Cache does.

        Saving an annotation adds its task's keys to the count again, so a column may remain
        although no task has its key.
        """
        path, what = f"/api/projects/{project}/summary/reset/", f"Counting project {project} anew"
        self.http.call("POST", path, what=what, body={}, timeout=PAGE_SECONDS)

    def _listing(self, project: int, what: str, *conditions: Row) -> Listing:
        def fetch(params: Row, shrinks: bool, words: str) -> Row:
            query = {**params, "resolve_uri": "false"}
            answer: Row = self.http.call(
                "GET", "/api/tasks", what=words, params=query, timeout=PAGE_SECONDS, shrinks=shrinks
            )
            return answer

        return Listing(fetch, self.sizes, what, project, FIELDS, conditions, "labels")


def _as_imported(data: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    """Task data under its stored keys: Label Studio answers with the config's key for UNDEFINED.

    That key is the only one in the answer that no task has in the stored data.
    """
    renamed = [key for key in data if key not in columns]
    if UNDEFINED not in columns or len(renamed) != 1:
        return dict(data)
    return {UNDEFINED if key == renamed[0] else key: value for key, value in data.items()}
