"""Turns requests to a Label Studio, and its webhooks, into the records of a history."""

import re

from demo.records import (
    NEVER,
    Counted,
    Deleted,
    Done,
    Edited,
    Posted,
    Records,
    Served,
    Snapshot,
    Switched,
    Webhook,
)


class Recorder:
    """Records the requests about one project. Called with each `Exchange`.

    Args:
        project: its id.
        names: Authorization header -> name of the annotator.
    """

    def __init__(self, project, names):
        self.project, self.names = project, names
        self.records = Records()
        self.by_person = False  # set while a person, not the worker, changes the project

    def __call__(self, exchange):
        if exchange.status < 400:
            for pattern, record in ROUTES:
                found = re.fullmatch(pattern, f"{exchange.method} {exchange.path.rstrip('/')}")
                if found:
                    record(self, exchange, *map(int, found.groups()))
                    return

    def next(self, exchange, project):
        who = self.names.get(exchange.token)
        if who and project == self.project and exchange.answer:
            predictions = tuple(
                (each["model_version"], each["score"]) for each in exchange.answer["predictions"]
            )
            self.records.served.append(
                Served(who, exchange.began, exchange.ended, exchange.answer["id"],
                       predictions=predictions)
            )  # fmt: skip

    def submit(self, exchange, task):
        row = exchange.answer
        self.records.done.append(
            Done(self.names.get(exchange.token, "?"), task, exchange.began, exchange.ended,
                 bool(row["was_cancelled"]), row["id"], row["updated_at"])
        )  # fmt: skip

    def edit(self, exchange, annotation):
        when = exchange.answer["updated_at"]
        self.records.edited.append(Edited(annotation, exchange.began, exchange.ended, when))

    def delete(self, exchange, annotation):
        self.records.deleted.append(Deleted(annotation, exchange.began, exchange.ended))

    def post(self, exchange, project):
        if project == self.project:
            for version in sorted({row["model_version"] for row in exchange.body}):
                rows = [row for row in exchange.body if row["model_version"] == version]
                scores = {row["task"]: row["score"] for row in rows}
                assert len(scores) == len(rows), "a task twice in one post"
                self.records.posted.append(Posted(version, exchange.began, exchange.ended, scores))

    def switch(self, exchange, project):
        if project == self.project and "model_version" in exchange.body:
            version = exchange.body["model_version"] or ""
            self.records.switched.append(
                Switched(version, exchange.began, exchange.ended, self.by_person)
            )

    def remove_task(self, exchange, task):
        self.records.gone[task] = (exchange.began, exchange.ended)

    def webhook(self, delivery):
        """Record a webhook of Label Studio: a `callbacks.Delivery`."""
        if delivery.project == self.project:
            self._add_webhook(delivery.action, delivery.payload, delivery)

    def to_backend(self, exchange):
        """Record a webhook that a proxy before the backend saw. It is about no other project."""
        if exchange.path == "/webhook" and isinstance(exchange.body, dict):
            self._add_webhook(exchange.body.get("action", ""), exchange.body, exchange)

    def _add_webhook(self, action, payload, request):
        rows = [payload.get("annotation"), *payload.get("annotations", ())]
        ids = tuple(row["id"] for row in rows if row)
        self.records.webhooks.append(
            Webhook(action, request.began, request.ended, request.status, ids)
        )

    def snapshot(self, number, began, ended, entries):
        """Record the snapshot of a round, from the entries of its file."""
        counted = tuple(
            Counted(row["task_id"], row["annotation_id"], row["split"], row["updated_at"])
            for row in entries
        )
        self.records.snapshots.append(Snapshot(number, began, ended, counted))

    def unanswered(self, exchange):
        """Record a switch whose answer nobody saw; it may have acted."""
        self.records.switched.append(
            Switched(exchange.body["model_version"], exchange.began, NEVER, self.by_person)
        )


ROUTES = (
    (r"GET /api/projects/(\d+)/next", Recorder.next),
    (r"POST /api/tasks/(\d+)/annotations", Recorder.submit),
    (r"PATCH /api/annotations/(\d+)", Recorder.edit),
    (r"DELETE /api/annotations/(\d+)", Recorder.delete),
    (r"POST /api/projects/(\d+)/import/predictions", Recorder.post),
    (r"PATCH /api/projects/(\d+)", Recorder.switch),
    (r"DELETE /api/tasks/(\d+)", Recorder.remove_task),
)
