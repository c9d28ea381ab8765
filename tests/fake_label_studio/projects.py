"""Calls about projects: making and changing them, importing tasks and predictions, versions."""

import secrets
import time
from collections import Counter
from datetime import UTC, datetime

from tests.fake_label_studio import callbacks, listing
from tests.fake_label_studio.answers import Refused, found, invalid
from tests.fake_label_studio.records import UNSET, Project


def add_routes(route):
    """Register this module's calls."""
    route("GET", "/api/projects/", list_projects)
    route("POST", "/api/projects/", create_project)
    route("GET", "/api/projects/<int:project>/", get_project)
    route("PATCH", "/api/projects/<int:project>/", patch_project)
    route("DELETE", "/api/projects/<int:project>/", delete_project)
    route("POST", "/api/projects/<int:project>/import/", import_tasks)
    route("POST", "/api/projects/<int:project>/import/predictions/", import_predictions)
    route("GET", "/api/projects/<int:project>/summary/", get_summary)
    route("POST", "/api/projects/<int:project>/summary/reset/", reset_summary)
    route("GET", "/api/projects/<int:project>/model-versions/", list_versions)
    route("DELETE", "/api/projects/<int:project>/model-versions/", delete_version)
    route("GET", "/api/tasks/", list_tasks)
    route("GET", "/data/upload/<path:name>", get_upload)


def of(call, project):
    """The project of a call."""
    return found(call.records.projects, project, "Project")


def list_projects(call):
    """GET /api/projects/: pages with `count`, `next` and `results`."""
    size, page = int(call.query.get("page_size", 30)), int(call.query.get("page", 1))
    with call.records.lock:
        rows = [project.row() for project in call.records.projects.values()]
    include = call.query["include"].split(",") if "include" in call.query else None
    some = rows[(page - 1) * size : page * size]
    more = f"{call.studio.url}/api/projects/?page={page + 1}" if page * size < len(rows) else None
    if include:
        some = [{name: row[name] for name in include} for row in some]
    return 200, {"count": len(rows), "next": more, "results": some}


def create_project(call):
    """POST /api/projects/."""
    fields = {name: call.body[name] for name in Project.FIELDS if name in call.body}
    if len(fields.get("title", "")) < 3:
        raise invalid("title", "Ensure this field has at least 3 characters.")
    with call.records.lock:
        number = call.records.number("project")
        made = Project(number, call.user, datetime.now(UTC), **fields)
        call.records.projects[number] = made
        return 201, made.row()


def get_project(call, project):
    """GET /api/projects/<id>/."""
    with call.records.lock:
        return 200, of(call, project).row()


def patch_project(call, project):
    """PATCH /api/projects/<id>/: a version must have predictions, or be a backend's title."""
    with call.records.lock:
        changed, fields = of(call, project), call.body
        version = fields.get("model_version", changed.model_version)
        titles = {backend.title for backend in changed.backends.values()}
        known = {each.model_version for each in changed.predictions} | titles
        if version != changed.model_version and version != "" and version not in known:
            words = "Model version doesn't exist either as live model or as static predictions."
            raise invalid("model_version", words)
        for name in Project.FIELDS:
            if name in fields:
                setattr(changed, name, fields[name])
        row = changed.row()
    callbacks.tell(call.records, changed, "PROJECT_UPDATED", {"project": row})
    return 200, row


def delete_project(call, project):
    """DELETE /api/projects/<id>/."""
    with call.records.lock:
        gone = of(call, project)
        for task in list(gone.tasks.values()):
            call.records.remove_task(task)
        for number in gone.webhooks:
            del call.records.webhooks[number]
        for number in gone.backends:
            del call.records.backends[number]
        del call.records.projects[gone.id]
    return 204, None


def import_tasks(call, project):
    """POST /api/projects/<id>/import: tasks as JSON, or files as the import page sends them."""
    with call.records.lock:
        target = of(call, project)
        if call.files:
            made = [_upload(call.records, target, name, data) for name, data in call.files]
        else:
            made = [call.records.add_task(target, item["data"]) for item in call.body]
        answer = {"task_count": len(made), "annotation_count": 0, "prediction_count": 0}
        if call.query.get("return_task_ids") == "true":
            answer["task_ids"] = [task.id for task in made]
        rows = [task.row() for task in made]
    callbacks.tell(call.records, target, "TASKS_CREATED", {"tasks": rows})
    return 201, answer


def _upload(records, project, name, data):
    """A task for an uploaded file, under the key that the first image of the config names."""
    path = f"/data/upload/{project.id}/{secrets.token_hex(4)}-{name.replace(' ', '_')}"
    records.uploads[path] = data
    value = project.image_value()
    return records.add_task(project, {value.removeprefix("$") if value else UNSET: path}, data)


def get_upload(call, name):
    """GET /data/upload/...: the bytes of an uploaded file."""
    with call.records.lock:
        data = call.records.uploads.get(f"/data/upload/{name}")
    if data is None:
        raise Refused(404, "Not found.")
    return 200, data


def list_tasks(call):
    """GET /api/tasks."""
    with call.records.lock:
        return 200, listing.page(of(call, call.query["project"]), call.query)


def import_predictions(call, project):
    """POST /api/projects/<id>/import/predictions: a missing task refuses all, a bad region drops
    its row in silence.
    """
    with call.records.lock:
        target = of(call, project)
        for row in call.body:
            if row["task"] not in target.tasks:
                words = (
                    f'{row} contains invalid "task" field: corresponding task ID couldn\'t be'
                    f" retrieved from project {target.title} (id={target.id}) tasks"
                )
                raise invalid("non_field_errors", words)
        controls = target.controls()
        taken = [row for row in call.body if _fits(row["result"], controls)]
        for row in taken:
            version = row.get("model_version", "undefined")
            task = target.tasks[row["task"]]
            call.records.add_prediction(task, row["result"], row.get("score"), version)
        return 201, {"created": len(taken)}


def _fits(result, controls):
    """Whether every region's names and type are those of a control of the labelling config."""
    for region in result:
        kind, targets = controls.get(region["from_name"], ("", []))
        if region["type"] != kind or region["to_name"] not in targets:
            return False
    return True


def get_summary(call, project):
    """GET /api/projects/<id>/summary/: how many tasks have each key of data."""
    with call.records.lock:
        target = of(call, project)
        keys = [key for task in target.tasks.values() for key in task.data]
        return 200, {
            "project": project,
            "all_data_columns": dict(Counter(keys) + target.keys_counted_twice),
        }


def reset_summary(call, project):
    """POST /api/projects/<id>/summary/reset/."""
    with call.records.lock:
        of(call, project).keys_counted_twice.clear()
        return 200, None


def list_versions(call, project):
    """GET /api/projects/<id>/model-versions/."""
    with call.records.lock:
        return 200, of(call, project).versions()


def delete_version(call, project):
    """DELETE /api/projects/<id>/model-versions/: the current version becomes null."""
    version = call.body["model_version"]
    with call.records.lock:
        target = of(call, project)
        doomed = [each for each in target.predictions if each.model_version == version]
        for each in doomed:
            call.records.remove_prediction(each)
        titles = {backend.title for backend in target.backends.values()}
        if target.model_version and target.model_version in {version, *titles}:
            target.model_version = None
    time.sleep(call.studio.deletion_seconds)
    return 200, {"deleted_predictions": len(doomed)}
