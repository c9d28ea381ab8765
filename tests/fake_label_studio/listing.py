"""GET /api/tasks: the Data Manager's filters, its order, its pages, and the fields of a row."""

import json

from tests.fake_label_studio.answers import Refused
from tests.fake_label_studio.records import UPLOADS_A_PAGE

TOO_DEEP = "Expression tree is too large (maximum depth 1000)"
COLUMNS = {
    "id": lambda task: task.id,
    "updated_at": lambda task: task.updated_at,
    "total_annotations": lambda task: len(task.submitted),
    "cancelled_annotations": lambda task: len(task.annotations) - len(task.submitted),
}


def page(project, query):
    """One page of a project's tasks.

    Args:
        project: whose tasks.
        query: `page_size`, `page`, `include`, `fields`, and `query` with filters and ordering.

    Raises:
        Refused: 500 for a page of too many uploaded tasks.
    """
    wanted = json.loads(query.get("query", "{}"))
    rows = list(project.tasks.values())
    for item in wanted.get("filters", {}).get("items", []):
        rows = _filtered(rows, item)
    (order,) = wanted.get("ordering") or ["tasks:id"]
    column = COLUMNS[order.removeprefix("-").removeprefix("tasks:")]
    rows.sort(key=column, reverse=order.startswith("-"))
    size, number = int(query.get("page_size", 30)), int(query.get("page", 1))
    some = rows[(number - 1) * size : number * size]
    if sum(task.upload is not None for task in some) > UPLOADS_A_PAGE:
        raise Refused(500, TOO_DEEP)
    include = query["include"].split(",") if "include" in query else None
    return {
        "total": len(rows),
        "total_annotations": sum(len(task.submitted) for task in rows),
        "total_predictions": sum(len(task.predictions) for task in rows),
        "tasks": [_row(task, include, everything=query.get("fields") == "all") for task in some],
    }


def _filtered(tasks, item):
    """The tasks that meet one condition."""
    column, value = item["filter"].removeprefix("filter:tasks:"), item["value"]
    if column == "predictions_model_versions" and item["operator"] == "contains":
        return [task for task in tasks if _has_version(task, value)]
    if column.startswith("data.") and (item["operator"], value) == ("empty", "false"):
        key = column.removeprefix("data.")
        return [task for task in tasks if task.data.get(key) not in (None, "")]
    if item["operator"] == "in_list":
        return [task for task in tasks if COLUMNS[column](task) in value]
    if item["operator"] == "greater":
        return [task for task in tasks if COLUMNS[column](task) > value]
    raise AssertionError(f"tests/fake_label_studio does not know the condition {item}")


def _has_version(task, wanted):
    """Whether the name of a version of the task contains one of those wanted."""
    names = {each.model_version for each in task.predictions.values()}
    return any(part in name for name in names for part in wanted)


def _row(task, include, *, everything):
    """A task's row with the fields that are asked for, at every depth."""
    row = task.row()
    if everything:
        annotations = [each.row() for each in task.annotations.values()]
        row["annotations"] = [
            _only(each, include, keep=("id", "updated_at")) for each in annotations
        ]
        row["predictions"] = [each.row() for each in task.predictions.values()]
    return _only(row, include)


def _only(row, include, keep=()):
    """The named fields of a row; all where nothing is named."""
    return row if include is None else {k: v for k, v in row.items() if k in include or k in keep}
