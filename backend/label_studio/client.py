"""The client for Label Studio's HTTP API: the calls that a round needs.

Names, fields and measured times are of Label Studio 1.23.2. `backend.label_studio.http` makes and
repeats the calls. Every method may raise StudioUnreachable, StudioAuthError, StudioNotFound or
StudioRejected.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from backend.errors import StudioAuthError, StudioNotFound, StudioRejected
from backend.label_studio.http import Transport
from backend.label_studio.listings import PAGE_SECONDS, Kind, Listing, PageSizes, Row, condition
from backend.label_studio.queue import BulkPost
from backend.label_studio.tabs import Tabs

LONG_SECONDS = 900.0
"""Timeout of calls whose time grows with the project: bulk import, deleting a version."""
TASK_FIELDS = "id,data,is_labeled,updated_at,total_annotations,cancelled_annotations"
ANNOTATION_FIELDS = (
    "annotations,result,was_cancelled,ground_truth,completed_by,created_at,lead_time,"
    "parent_prediction"
)
"""`include` lists the fields of all depths together: those of annotations and those of tasks."""
LABEL_FIELDS = f"{TASK_FIELDS},{ANNOTATION_FIELDS}"


class Studio:
    """A client for one Label Studio and one user's token; safe to share between threads.

    Args:
        url, token: Label Studio's address; legacy token or personal access token.
        timeout, patience: seconds for one attempt of a call, and for all attempts with pauses.
        pages: numbers of tasks in a page; None starts at the usual sizes.
        guard: see `Transport`.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout: float = 30.0,
        patience: float = 90.0,
        pages: PageSizes | None = None,
        guard: Callable[[], None] | None = None,
    ) -> None:
        self._http = Transport(url, token, timeout=timeout, patience=patience, guard=guard)
        self.pages = PageSizes() if pages is None else pages
        self.clock = self._http.clock
        self.tabs = Tabs(self._http, self.pages)

    def __repr__(self) -> str:
        return f"Studio({self.url!r})"

    @property
    def url(self) -> str:
        """Label Studio's address, without a trailing slash."""
        return self._http.url

    def auth_headers(self) -> dict[str, str]:
        """The Authorization header. Send it only to Label Studio's own origin."""
        return self._http.auth_headers()

    # --- who and what -----------------------------------------------------------------------

    def whoami(self) -> Row:
        """The user behind the token."""
        return self._row("GET", "/api/current-user/whoami", "Asking who the token belongs to")

    def version(self) -> str:
        """Label Studio's version, e.g. `1.23.2`."""
        return str(self._row("GET", "/api/version", "Asking Label Studio's version")["release"])

    # --- projects ---------------------------------------------------------------------------

    def project(self, project: int) -> Row:
        """Everything about a project: title, label_config, sampling, model_version, ..."""
        return self._row("GET", f"/api/projects/{project}/", f"Reading project {project}")

    def projects(self) -> list[Row]:
        """Every project that the user sees, with `id` and `title`."""
        found: list[Row] = []
        for page in range(1, 10_000):
            params = {"page": page, "page_size": 500, "include": "id,title"}
            answer = self._row("GET", "/api/projects/", "Listing projects", params=params)
            found += answer["results"]
            if not answer.get("next"):
                break
        return found

    def patch_project(self, project: int, **fields: Any) -> Row:
        """Change some of a project's fields. A `model_version` without predictions is refused."""
        what = f"Changing {', '.join(fields)} of project {project}"
        return self._row("PATCH", f"/api/projects/{project}/", what, body=fields)

    # --- tasks and annotations --------------------------------------------------------------

    def tasks(self, project: int) -> list[Row]:
        """All tasks by id, each with TASK_FIELDS and no annotations (10,000 in 5 s, 1.4 MB)."""
        what = f"Listing the tasks of project {project}"
        return self._listing(project, what, include=TASK_FIELDS).whole()

    def unlabelled(self, project: int) -> int:
        """How many tasks Label Studio still serves, by the project's counters."""
        row = self.project(project)
        return int(row["task_number"]) - int(row["finished_task_number"])

    def newest_change(self, project: int) -> str:
        """The newest `updated_at` of the project's tasks; '' without tasks.

        Ask for it before a listing, so that it is older than changes during the listing.
        """
        what = f"Asking for the newest change in project {project}"
        newest = self._listing(project, what, include="id,updated_at")
        tasks = newest.page(at_most=1, ordering="-tasks:updated_at")["tasks"]
        return str(tasks[0]["updated_at"]) if tasks else ""

    def tasks_touched_since(self, project: int, moment: str) -> list[Row]:
        """As `tasks`, but only with a later `updated_at`, which a single prediction also sets."""
        what = f"Asking what was touched in project {project}"
        later = condition("updated_at", "greater", "Datetime", moment)
        return self._listing(project, what, later, include=TASK_FIELDS).rows()

    def tasks_changed_since(self, project: int, moment: str) -> list[Row]:
        """Tasks whose `updated_at` is later than `moment`, with their annotations.

        Label Studio sets it for a new, changed or deleted annotation and for a single prediction,
        but not for an import of predictions. Only tasks with an annotation are read; use
        `tasks_touched_since` to find deleted annotations. `moment` is an `updated_at` in Label
        Studio's format. Edits may finish out of order, so ask from shortly before the newest.
        """
        what = f"Asking what changed in project {project}"
        later = condition("updated_at", "greater", "Datetime", moment)
        some = condition("total_annotations", "greater", "Number", 0)
        return self._listing(project, what, later, some, include=LABEL_FIELDS, kind="labels").rows()

    def export_annotated(self, project: int) -> list[Row]:
        """Every task with an annotation, even if cancelled (skipped), by task id.

        It is not read from /export, because Label Studio keeps a copy of every export on its disk.
        """
        what = f"Reading the labels of project {project}"
        found: dict[int, Row] = {}
        for counter in ("total_annotations", "cancelled_annotations"):
            some = condition(counter, "greater", "Number", 0)
            listing = self._listing(project, what, some, include=LABEL_FIELDS, kind="labels")
            found |= {row["id"]: row for row in listing.rows()}
        return [found[task] for task in sorted(found)]

    def get_task(self, task: int) -> Row:
        """One task with its annotations and predictions."""
        return self._row("GET", f"/api/tasks/{task}/", f"Reading task {task}")

    def next_task(self, project: int) -> Row | None:
        """The next task for the token's user, who then holds its lock; None if there is none.

        Raises:
            StudioNotFound: the project itself is gone.
        """
        what = f"Asking for the next task of project {project}"
        try:
            return self._row("GET", f"/api/projects/{project}/next", what)
        except StudioNotFound:
            self.project(project)  # raises if the project is gone: both cases answer 404
            return None

    def create_annotation(
        self, task: int, result: Sequence[Row], *, was_cancelled: bool = False, **fields: Any
    ) -> Row:
        """Submit regions for a task as the token's user. `was_cancelled`: as a skip."""
        body = {"result": list(result), "was_cancelled": was_cancelled, **fields}
        what = f"Submitting an annotation of task {task}"
        return self._row("POST", f"/api/tasks/{task}/annotations/", what, body=body)

    # --- predictions ------------------------------------------------------------------------

    def import_predictions(self, project: int, rows: Sequence[Row] | BulkPost) -> int:
        """Add predictions `{task, result, score, model_version}` in one post. Returns how many.

        The post is never repeated if Label Studio may have acted on it, because a second copy would
        distort the order. After StudioUnreachable, check `model_versions` or use a new version.

        Raises:
            StudioRejected: a task is gone (nothing was imported), or regions do not fit the config.
        """
        if not len(rows):
            return 0
        body = rows.body if isinstance(rows, BulkPost) else list(rows)
        what = f"Importing {len(rows)} predictions into project {project}"
        path = f"/api/projects/{project}/import/predictions"
        created = int(self._row("POST", path, what, body=body, timeout=LONG_SECONDS)["created"])
        if created != len(rows):
            raise StudioRejected(
                f"{what}: Label Studio took {created} and dropped the others without a word, as it"
                " does with regions whose from_name, to_name or type is not in the labelling"
                " config. Check whether the config changed; take a fresh version for the next try."
            )
        return created

    def predictions_of(self, task: int) -> list[Row]:
        """All predictions of a task, of every version."""
        what, params = f"Reading the predictions of task {task}", {"task": task}
        return self._rows("GET", "/api/predictions/", what, params=params)

    def prediction(self, prediction: int) -> Row:
        """One prediction by its id. Raises StudioNotFound if it was deleted."""
        return self._row("GET", f"/api/predictions/{prediction}/", "Reading a prediction")

    def patch_prediction(self, prediction: int, **fields: Any) -> Row:
        """Change some of a prediction's fields (result, score, ...) in place."""
        path = f"/api/predictions/{prediction}/"
        return self._row("PATCH", path, f"Changing prediction {prediction}", body=fields)

    def model_versions(self, project: int) -> dict[str, int]:
        """Version -> number of predictions. Has the project's current version even with 0."""
        what = f"Listing the versions of project {project}"
        return self._row("GET", f"/api/projects/{project}/model-versions/", what)

    def delete_version(self, project: int, version: str) -> int:
        """Delete a version's predictions in one call. On SQLite all users wait: 3 s for 1,000."""
        what = f"Deleting version {version} of project {project}"
        path, body = f"/api/projects/{project}/model-versions/", {"model_version": version}
        answer = self._row("DELETE", path, what, body=body, timeout=LONG_SECONDS)
        return int(answer["deleted_predictions"])

    def delete_predictions(
        self, project: int, version: str, *, at_most: int = 100, above: float = -1.0
    ) -> int:
        """Delete up to `at_most` of a version's predictions one by one. Returns how many.

        Only those with a score above `above`. Call again until it returns 0; nobody waits for long.
        """
        what = f"Deleting part of version {version} of project {project}"
        # A list, because Label Studio would treat each letter of a text as a version.
        holds = condition("predictions_model_versions", "contains", "List", [version])
        listing = self._listing(project, what, holds, include="id,predictions", kind="predictions")
        doomed, last = list[int](), 0
        while len(doomed) < at_most:  # a page may hold only rows that stay
            behind = condition("id", "greater", "Number", last)
            if not (tasks := listing.page(behind, at_most=at_most)["tasks"]):
                break
            # `contains` also finds longer names, and lists a task once for each match.
            rows = [p for t in tasks for p in t["predictions"] if p["model_version"] == version]
            doomed += dict.fromkeys(p["id"] for p in rows if (p["score"] or 0.0) > above)
            last = tasks[-1]["id"]
        for prediction in doomed[:at_most]:
            self._delete(f"/api/predictions/{prediction}/", what)
            time.sleep(0.05)  # others come in between
        return min(len(doomed), at_most)

    # --- backends and webhooks --------------------------------------------------------------

    def create_ml_backend(
        self, project: int, *, url: str, title: str, user: str = "", password: str = ""
    ) -> Row:
        """Connect a backend with the fields of the Model page. Label Studio then calls it.

        Raises:
            StudioRejected: the address does not answer, or refuses the credentials.
            StudioAuthError: Label Studio refuses private addresses (see `refuses_address`).
        """
        body: Row = {"project": project, "title": title, "url": url, "is_interactive": False}
        body["auth_method"] = "BASIC_AUTH" if user else "NONE"
        if user:
            body |= {"basic_auth_user": user, "basic_auth_pass": password}
        return self._row("POST", "/api/ml", f"Connecting the backend {url}", body=body)

    def refuses_address(self, url: str) -> list[str]:
        """Why Label Studio would not call `url` as a backend or a webhook; [] if it would.

        Asks it to create both for a project that cannot exist. Label Studio checks the address
        first (403) and then the project (400), so nothing is created.
        """
        reasons = []
        for path, body in (
            ("/api/ml", {"project": 0, "url": url, "title": "address check"}),
            ("/api/webhooks/", {"project": 0, "url": url, "is_active": False}),
        ):
            try:
                self._http.call("POST", path, what=f"Checking the address {url}", body=body)
            except StudioAuthError as error:
                reasons.append(str(error))
            except StudioRejected:
                continue
        return reasons

    def ml_backends(self, project: int) -> list[Row]:
        """The connected backends. Label Studio first calls /health and /setup of each."""
        what = f"Listing the backends of project {project}"
        return self._rows("GET", "/api/ml/", what, params={"project": project})

    def webhooks(self, project: int) -> list[Row]:
        """The project's webhooks."""
        what = f"Listing the webhooks of project {project}"
        try:
            return self._rows("GET", "/api/webhooks/", what, params={"project": project})
        except StudioRejected:
            self.project(project)  # raises if the project is gone, which the listing answers by 400
            raise

    def create_webhook(self, project: int, **fields: Any) -> Row:
        """Add a webhook: url, send_payload, send_for_all_actions, actions, headers, is_active."""
        what, body = f"Adding a webhook to project {project}", {"project": project, **fields}
        return self._row("POST", "/api/webhooks/", what, body=body)

    def patch_webhook(self, webhook: int, **fields: Any) -> Row:
        """Change some of a webhook's fields; `actions` replaces the whole list."""
        what = f"Changing webhook {webhook}"
        return self._row("PATCH", f"/api/webhooks/{webhook}/", what, body=fields)

    def delete_webhook(self, webhook: int) -> None:
        """Delete a webhook. A webhook that is already gone is no error."""
        self._delete(f"/api/webhooks/{webhook}/", f"Deleting webhook {webhook}")

    # --- helpers ----------------------------------------------------------------------------

    def _row(self, method: str, path: str, what: str, **kwargs: Any) -> Row:
        """A call that must answer with a JSON object."""
        answer = self._http.call(method, path, what=what, **kwargs)
        if not isinstance(answer, dict):
            raise StudioRejected(f"{what}: expected a JSON object, got {type(answer).__name__}.")
        return answer

    def _rows(self, method: str, path: str, what: str, **kwargs: Any) -> list[Row]:
        """A call that must answer with a JSON list of objects."""
        answer = self._http.call(method, path, what=what, **kwargs)
        if not isinstance(answer, list):
            raise StudioRejected(f"{what}: expected a JSON list, got {type(answer).__name__}.")
        return answer

    def _delete(self, path: str, what: str) -> None:
        """Send a DELETE. 404 is no error."""
        with suppress(StudioNotFound):
            self._http.call("DELETE", path, what=what)

    def _listing(
        self, project: int, what: str, *conditions: Row, include: str, kind: Kind = "tasks"
    ) -> Listing:
        """A listing of the project's tasks that meet all the conditions."""

        def fetch(params: Row, shrinks: bool, words: str) -> Row:
            query = {"params": params, "timeout": PAGE_SECONDS, "shrinks": shrinks}
            return self._row("GET", "/api/tasks", words, **query)

        return Listing(fetch, self.pages, what, project, include, conditions, kind)
