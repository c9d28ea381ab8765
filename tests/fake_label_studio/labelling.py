"""Calls about single tasks, annotations and predictions, and which task a user is served next."""

import random
import uuid

from tests.fake_label_studio import callbacks
from tests.fake_label_studio.answers import NO_CHOICE, Refused, found, invalid
from tests.fake_label_studio.records import Annotation

SEQUENTIAL, UNIFORM, UNCERTAINTY = (
    "Sequential sampling",
    "Uniform sampling",
    "Uncertainty sampling",
)


def add_routes(route):
    """Register this module's calls."""
    route("GET", "/api/tasks/<int:task>/", get_task)
    route("PATCH", "/api/tasks/<int:task>/", patch_task)
    route("DELETE", "/api/tasks/<int:task>/", delete_task)
    route("POST", "/api/tasks/<int:task>/annotations/", create_annotation)
    route("PATCH", "/api/annotations/<int:annotation>/", patch_annotation)
    route("DELETE", "/api/annotations/<int:annotation>/", delete_annotation)
    route("GET", "/api/predictions/", list_predictions)
    route("GET", "/api/predictions/<int:prediction>/", get_prediction)
    route("PATCH", "/api/predictions/<int:prediction>/", patch_prediction)
    route("DELETE", "/api/predictions/<int:prediction>/", delete_prediction)
    route("GET", "/api/projects/<int:project>/next/", next_task)


# --- tasks and annotations ----------------------------------------------------------------------


def get_task(call, task):
    """GET /api/tasks/<id>/: asks the backend first where the task has no prediction."""
    with call.records.lock:
        opened = found(call.records.tasks, task, "Task")
        bare = opened.project.show_collab_predictions and not opened.predictions
    if bare:
        callbacks.evaluate(call.studio, opened)
    with call.records.lock:
        annotations = [each.row() for each in opened.annotations.values()]
        for row, each in zip(annotations, opened.annotations.values(), strict=True):
            row["completed_by"] = each.completed_by.row()
        predictions = [each.row() for each in opened.predictions.values()]
        return 200, {**opened.row(), "annotations": annotations, "predictions": predictions}


def patch_task(call, task):
    """PATCH /api/tasks/<id>/ with all data of the task: no webhook is called."""
    with call.records.lock:
        changed = found(call.records.tasks, task, "Task")
        changed.data, changed.updated_at = dict(call.body["data"]), call.records.now()
        return 200, changed.row()


def delete_task(call, task):
    """DELETE /api/tasks/<id>/."""
    with call.records.lock:
        gone = found(call.records.tasks, task, "Task")
        call.records.remove_task(gone)
    callbacks.tell(call.records, gone.project, "TASKS_DELETED", {"tasks": [{"id": gone.id}]})
    return 204, None


def create_annotation(call, task):
    """POST /api/tasks/<id>/annotations/: a submit, or a skip; the user's lock ends."""
    with call.records.lock:
        target = found(call.records.tasks, task, "Task")
        _check_parent(call)
        moment, number = call.records.now(), call.records.number("annotation")
        names = ("was_cancelled", "ground_truth", "lead_time", "parent_prediction")
        fields = {name: call.body[name] for name in names if name in call.body}
        made = Annotation(number, target, call.body["result"], call.user, moment, moment, **fields)
        call.records.annotations[number] = target.annotations[number] = made
        target.updated_at = call.records.now()
        target.project.keys_counted_twice.update(target.data.keys())
        target.locks.discard(call.user.id)
        row = made.row()
        payload = {"annotation": row, "task": target.row()}
    callbacks.tell(call.records, target.project, "ANNOTATION_CREATED", payload)
    return 201, row


def patch_annotation(call, annotation):
    """PATCH /api/annotations/<id>/."""
    with call.records.lock:
        changed = found(call.records.annotations, annotation, "Annotation")
        _check_parent(call)
        for name in ("result", "was_cancelled", "ground_truth", "parent_prediction"):
            if name in call.body:
                setattr(changed, name, call.body[name])
        changed.updated_at = call.records.now()
        changed.task.updated_at = call.records.now()
        changed.task.project.keys_counted_twice.update(changed.task.data.keys())
        row = changed.row()
        payload = {"annotation": row, "task": changed.task.row()}
    callbacks.tell(call.records, changed.task.project, "ANNOTATION_UPDATED", payload)
    return 200, row


def _check_parent(call):
    """A 400 for an annotation that names a prediction that is gone, also where it is changed."""
    parent = call.body.get("parent_prediction")
    if parent is not None and parent not in call.records.predictions:
        raise invalid("parent_prediction", f'Invalid pk "{parent}" - object does not exist.')


def delete_annotation(call, annotation):
    """DELETE /api/annotations/<id>/."""
    with call.records.lock:
        gone = found(call.records.annotations, annotation, "Annotation")
        del call.records.annotations[gone.id], gone.task.annotations[gone.id]
        gone.task.updated_at = call.records.now()
    payload = {"annotations": [{"id": gone.id}]}
    callbacks.tell(call.records, gone.task.project, "ANNOTATIONS_DELETED", payload)
    return 204, None


# --- predictions --------------------------------------------------------------------------------


def list_predictions(call):
    """GET /api/predictions/?task= or ?project=: 400, not 404, for a task that is gone."""
    with call.records.lock:
        if "task" in call.query:
            task = call.records.tasks.get(int(call.query["task"]))
            if task is None:
                raise invalid("task", NO_CHOICE)
            rows = list(task.predictions.values())
        else:
            rows = found(call.records.projects, call.query["project"], "Project").predictions
        return 200, [each.row() for each in rows]


def get_prediction(call, prediction):
    """GET /api/predictions/<id>/."""
    with call.records.lock:
        return 200, found(call.records.predictions, prediction, "Prediction").row()


def patch_prediction(call, prediction):
    """PATCH /api/predictions/<id>/: the task counts as touched."""
    with call.records.lock:
        changed = found(call.records.predictions, prediction, "Prediction")
        for name in ("result", "score", "model_version"):
            if name in call.body:
                setattr(changed, name, call.body[name])
        changed.updated_at = changed.task.updated_at = call.records.now()
        return 200, changed.row()


def delete_prediction(call, prediction):
    """DELETE /api/predictions/<id>/: the task counts as touched."""
    with call.records.lock:
        gone = found(call.records.predictions, prediction, "Prediction")
        call.records.remove_prediction(gone)
        gone.task.updated_at = call.records.now()
    return 204, None


# --- the queue ----------------------------------------------------------------------------------


def next_task(call, project):
    """GET /api/projects/<id>/next: a task for this user, locked for them."""
    with call.records.lock:
        target = found(call.records.projects, project, "Project")
        task, queue = _choose(target, call.user)
        if task is None:
            raise Refused(404, f"There are no tasks for {call.user.email}")
        task.locks.add(call.user.id)
        live = target.model_version in {each.title for each in target.backends.values()}
    if live and target.show_collab_predictions:
        callbacks.evaluate(call.studio, task)
    with call.records.lock:
        wanted = {target.model_version}
        if live:
            wanted = {each.model_version for each in target.backends.values()}
        offered = target.show_collab_predictions and target.model_version is not None
        rows = [each.row() for each in task.predictions.values() if each.model_version in wanted]
        answer = {**task.row(), "annotations": [], "predictions": rows if offered else []}
        return 200, {**answer, "queue": queue, "unique_lock_id": str(uuid.uuid4())}


def _choose(project, user):
    """The task that a user is served next and the name of the queue it came from, or None."""
    mine = {
        task.id
        for task in project.tasks.values()
        if any(each.completed_by is user for each in task.annotations.values())
    }
    open_ = [t for t in project.tasks.values() if t.id not in mine and not t.is_labeled]
    held = next((task for task in open_ if user.id in task.locks), None)
    if held is not None:
        return held, "Task lock"
    free = [task for task in open_ if not _taken(task, user)]
    if project.maximum_annotations > 1 and (task := _in_progress(open_, free, user)):
        return task, "Breadth first queue"
    if project.sampling == SEQUENTIAL:
        return next(iter(free), None), "Sequence queue"
    if project.sampling == UNIFORM:
        return random.choice(free) if free else None, "Uniform random queue"
    return _by_score(project, open_, free), "Active learning or random queue"


def _by_score(project, open_, free):
    """Ascending score among the predictions of the current version; any task where none has one."""
    scores = {}
    for task in open_:
        for each in task.predictions.values():
            if each.model_version == project.model_version:
                score = float("-inf") if each.score is None else each.score
                scores[task.id] = min(score, scores.get(task.id, score))
    if not scores:
        return random.choice(free) if free else None
    return min(
        (task for task in free if task.id in scores), key=lambda t: scores[t.id], default=None
    )


def _in_progress(open_, free, user):
    """A task that others have begun, with as many annotations as any."""
    counts = {
        task.id: sum(each.completed_by is not user for each in task.annotations.values())
        for task in open_
    }
    most = max(counts.values(), default=0)
    begun = [task for task in free if most and counts[task.id] == most]
    return random.choice(begun) if begun else None


def _taken(task, user):
    """Whether others hold or have labelled the task as often as it may be."""
    locks = len(task.locks - {user.id})
    return locks + len(task.submitted) >= task.project.maximum_annotations
