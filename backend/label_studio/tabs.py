"""Tabs of the Data Manager: saved views of a project's tasks, the same for all users.

The queue tab lists the unlabelled tasks in the order of the queue. Label Studio's column
"Prediction score" is the mean over a task's predictions with the project's `model_version`, and the
queue serves ascending scores (`backend.label_studio.queue`). The tab therefore follows each new
order and each rollback automatically. The review tab lists the tasks with a mark
(`backend.label_studio.marks`), in descending order of the mark's text. Measured on Label Studio
1.23.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from backend.errors import StudioNotFound, StudioRejected
from backend.label_studio.http import Transport
from backend.label_studio.listings import PageSizes
from backend.label_studio.marks import MARK, Marks

TITLE, REVIEW_TITLE = "TAUDIS queue", "TAUDIS review"
MARK_WIDTH = 640  # px; the column shows a sentence
_HIDDEN_IN_ALL = [
    *("inner_id", "annotations_results", "annotations_ids", "predictions_model_versions"),
    *("predictions_results", "file_upload", "storage_filename", "created_at", "updated_at"),
    *("updated_by", "avg_lead_time", "draft_exists"),
]
_HIDDEN_HERE = ["completed_at", "cancelled_annotations", "total_predictions", "annotators"]


def _hidden(*names: str) -> list[str]:
    return [f"tasks:{name}" for name in (*names, *_HIDDEN_IN_ALL, f"data.{MARK}")]


QUEUE: Mapping[str, Any] = {
    "title": TITLE,
    "type": "list",
    "target": "tasks",
    "ordering": ["tasks:predictions_score"],
    "filters": {
        "conjunction": "and",
        "items": [
            {
                # set once a task has the required number of annotations
                "filter": "filter:tasks:completed_at",
                "operator": "empty",
                "type": "Datetime",
                "value": "true",
            }
        ],
    },
    "hiddenColumns": {"explore": _hidden(*_HIDDEN_HERE), "labeling": _hidden(*_HIDDEN_HERE)},
}
"""The queue tab: unlabelled tasks by ascending score."""
DEFAULT: Mapping[str, Any] = {
    "title": "Default",
    "type": "list",
    "target": "tasks",
    "hiddenColumns": {
        "explore": _hidden("predictions_score"),
        "labeling": _hidden("id", "predictions_score", *_HIDDEN_HERE),
    },
}
"""The default tab with all tasks, as Label Studio's page makes it in a project without tabs."""
_HIDDEN_IN_REVIEW = [
    f"tasks:{name}"
    for name in (*_HIDDEN_IN_ALL, "predictions_score", "cancelled_annotations", "total_predictions")
]
REVIEW: Mapping[str, Any] = {
    "title": REVIEW_TITLE,
    "type": "list",
    "target": "tasks",
    # A mark begins with its suspicion, always with three decimals, so text order is its order.
    "ordering": [f"-tasks:data.{MARK}"],
    "filters": {
        "conjunction": "and",
        "items": [
            {
                "filter": f"filter:tasks:data.{MARK}",
                "operator": "empty",
                "type": "Unknown",
                "value": "false",
            }
        ],
    },
    "columnsWidth": {f"tasks:data.{MARK}": MARK_WIDTH},
    "hiddenColumns": {
        "explore": _HIDDEN_IN_REVIEW,
        "labeling": _HIDDEN_IN_REVIEW,
    },
}
"""The review tab: marked tasks, the most suspicious first."""


class Tabs:
    """The calls about tabs and marks. Every method raises the same errors as those of `Studio`."""

    def __init__(self, http: Transport, pages: PageSizes) -> None:
        self._http = http
        self.marks = Marks(http, pages)

    def of(self, project: int) -> list[dict[str, Any]]:
        """The project's tabs from left to right, each with `id` and `data`."""
        what = f"Listing the Data Manager's tabs of project {project}"
        found = self._http.call("GET", "/api/dm/views/", what=what, params={"project": project})
        if not isinstance(found, list):
            raise StudioRejected(f"{what}: expected a JSON list, got {type(found).__name__}.")
        return found

    def add(self, project: int, data: Mapping[str, Any]) -> int:
        """Add a tab on the right. Returns its id."""
        what = f"Adding the tab {data['title']!r} to project {project}"
        body = {"project": project, "data": data}
        return int(self._http.call("POST", "/api/dm/views/", what=what, body=body)["id"])

    def remove(self, tab: int) -> None:
        """Remove a tab. A tab that is already gone is no error."""
        with suppress(StudioNotFound):
            self._http.call("DELETE", f"/api/dm/views/{tab}/", what=f"Removing tab {tab}")
