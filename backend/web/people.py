"""The views for people in a browser: the status page, its parts, and its forms.

A form records a request. The worker carries it out, because the web process never calls Label
Studio.
"""

from __future__ import annotations

import logging
import time

from flask import Response, redirect, request
from flask.typing import ResponseReturnValue

from backend.errors import StoreError
from backend.store import queue_head
from backend.store.projects import Project
from backend.web import forms
from backend.web.predict import Services
from backend.web.requests import RequestRefused, project_id
from backend.web.status import page

logger = logging.getLogger(__name__)

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
ACTIONS = {
    "train": "Start Training was recorded. The round appears here once the worker opens it.",
    "rollback": "The roll back was recorded.",
    "promote": "The promotion was recorded.",
    "unpin": "The unpinning was recorded.",
}
"""Action of a form -> the sentence on the page after it."""


def front(services: Services) -> ResponseReturnValue:
    """The overview. `?labels=<project>` adds a row for each label to its live evaluation."""
    return _html(page.overview_page(services, by_label=request.args.get("labels", type=int)))


def front_parts(services: Services) -> ResponseReturnValue:
    """The parts of the overview that the script keeps up to date."""
    return _html(page.overview_parts(services))


def project(services: Services, number: int) -> ResponseReturnValue:
    """A project's page. `?labels=<project>` as above, `?before=<round>` for earlier rounds."""
    known = _known(services, number)
    before, done = request.args.get("before", type=int), request.args.get("done", "")
    labels = request.args.get("labels", type=int) == known.id
    html = page.project_page(
        services, known, by_label=labels, before=before, done=ACTIONS.get(done, "")
    )
    return _html(html)


def project_parts(services: Services, number: int) -> ResponseReturnValue:
    """The parts of a project's page that the script keeps up to date."""
    return _html(page.project_parts(services, _known(services, number)))


def asset(name: str) -> ResponseReturnValue:
    """The style sheet or the script. Its address changes with its content."""
    if name not in page.ASSETS:
        raise RequestRefused(404, f"There are the assets {', '.join(page.ASSETS)}, no other.")
    answer = Response(page.asset(name), content_type=f"{page.ASSETS[name]}; charset=utf-8")
    answer.headers["Cache-Control"] = "private, max-age=86400"
    return answer


def picture(services: Services, number: int, task: int) -> ResponseReturnValue:
    """The worker's picture of a task near the head of the queue."""
    known = _known(services, number)
    try:
        path = queue_head.picture_of(
            services.settings.model_dir, known.id, known.state.serving, task
        )
        data = path.read_bytes()
    except (OSError, StoreError):
        raise RequestRefused(404, f"There is no picture of task {task}.") from None
    answer = Response(data, content_type="image/jpeg")
    answer.headers["Cache-Control"] = "private, max-age=3600"
    return answer


def act(services: Services, number: int, action: str) -> ResponseReturnValue:
    """Record the request of a form on a project's page. A refusal is shown as a page."""
    try:
        _act(services, _known(services, number), action)
    except RequestRefused as error:
        logger.warning("A form of project %s was refused: %s", number, error)
        answer = _html(page.refused_page(services, str(error), f"/projects/{number}"))
        answer.status_code = error.status
        return answer
    return redirect(f"/projects/{number}?done={action}", code=303)


def _act(services: Services, known: Project, action: str) -> None:
    """Check a form and record its request."""
    if action not in ACTIONS:
        raise RequestRefused(404, f"A form may ask to {', '.join(ACTIONS)}.")
    forms.check(services.settings, request, known.id)
    if not known.state.armed:
        raise RequestRefused(
            409, "The project is not connected (any more): connect it in its Settings > Model."
        )
    if action == "train":
        services.store.record_event(known.id, "train")
        return
    version = request.form.get("version", "") if action != "unpin" else ""
    published = {row.version for row in services.store.versions(known.id) if row.tasks}
    if action != "unpin" and version not in published:
        raise RequestRefused(409, "version: expected one of the page, got another: it is pruned.")
    if known.state.asked is not None:
        raise RequestRefused(409, "The worker has not done the last request yet. Wait for it.")
    asked = {"action": action, "version": version, "at": time.time()}
    services.store.update_project(known.id, asked=asked, asked_result="")


def _known(services: Services, number: int) -> Project:
    """A connected project. Raises RequestRefused (404) for any other."""
    found = services.store.project(project_id(number))
    if found is None:
        raise RequestRefused(404, f"project: {number} is not connected here.")
    return found


def _html(text: str) -> Response:
    """A page that loads nothing from other origins and runs only our script."""
    answer = Response(text, content_type="text/html; charset=utf-8")
    answer.headers["Content-Security-Policy"] = POLICY
    answer.headers["Referrer-Policy"] = "same-origin"
    return answer
