"""The web process: a Flask app with the HTTP interface of a Label Studio ML backend.

Label Studio calls /health, /setup, /predict, /webhook and /versions. People open the status page,
and monitoring reads /ready and /metrics. A view reads the store or records an event in it, and
leaves all slow work to the worker. Only /predict may take longer: if the store has no prediction
for a task, a small process predicts it.

`backend.web.auth` decides who may call. `backend.web.requests` checks requests: a wrong request
gets a 4xx answer that says what was expected. Bodies, headers and tokens are never logged.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask, Response, g, jsonify, request
from flask.typing import ResponseReturnValue
from gunicorn.http.errors import NoMoreData, ParseException
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException

from backend.errors import StoreError
from backend.settings import Settings
from backend.store import disk
from backend.store.database import Store
from backend.store.next_labels import next_labels
from backend.store.projects import Project
from backend.store.secrets import save_token, token_for
from backend.store.serving import served_version
from backend.store.state import ProjectChanges, ProjectState
from backend.web import live, origin, people, webhook
from backend.web.auth import refuse_strangers
from backend.web.predict import Services, answer_tasks, versions_of
from backend.web.requests import (
    MAX_PROJECTS,
    RequestRefused,
    excerpt,
    kind,
    project_id,
    read_body,
    text,
)
from backend.web.status.ready import not_ready

logger = logging.getLogger(__name__)

MAX_SCHEMA = 5_000_000  # characters of a labelling config
MAX_TASKS = 10_000  # in one /predict request
MAX_ADDRESSES = 4  # the newest addresses under which a project called us
_TOKEN = re.compile(r"[!-~]{0,8192}")  # characters that a header can carry
View = Callable[..., ResponseReturnValue]


def create_app(settings: Settings, store: Store | None = None) -> Flask:
    """Create the app. Two apps in one process share nothing.

    Raises:
        StoreError: the data directory cannot be used.
    """
    services = Services.create(settings, store)
    app = Flask("backend.web", static_folder=None)
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.config.update(MAX_CONTENT_LENGTH=settings.max_request_bytes, PROPAGATE_EXCEPTIONS=False)
    app.extensions["taudis"] = services
    for (path, methods), view in _views(services).items():
        app.add_url_rule(path, endpoint=f"{methods[0]} {path}", view_func=view, methods=[*methods])
    _check_callers_and_count(app, services)
    _answer_errors_as_json(app, settings)
    return app


def _views(services: Services) -> dict[tuple[str, tuple[str, ...]], View]:
    """Every route with its methods and its view. A view takes the request from Flask."""
    store = services.store
    return {
        ("/health", ("GET",)): lambda: jsonify(status="UP", model_class="TaudisModel"),
        ("/", ("GET",)): lambda: people.front(services),
        ("/parts", ("GET",)): lambda: people.front_parts(services),
        ("/projects/<int:number>", ("GET",)): lambda number: people.project(services, number),
        ("/projects/<int:number>/parts", ("GET",)): (
            lambda number: people.project_parts(services, number)
        ),
        ("/projects/<int:number>/queue/<int:task>", ("GET",)): (
            lambda number, task: people.picture(services, number, task)
        ),
        ("/projects/<int:number>/<action>", ("POST",)): (
            lambda number, action: people.act(services, number, action)
        ),
        ("/assets/<name>", ("GET",)): lambda name: people.asset(name),
        ("/live", ("GET",)): lambda: _live(store),
        ("/next_labels", ("GET",)): lambda: _next_labels(services),
        ("/ready", ("GET",)): lambda: _ready(store),
        ("/metrics", ("GET",)): lambda: Response(
            services.metrics.render(), content_type="text/plain; version=0.0.4; charset=utf-8"
        ),
        ("/setup", ("POST",)): lambda: _setup(services),
        ("/predict", ("POST",)): lambda: _predict(services),
        ("/webhook", ("POST",)): lambda: _webhook(store),
        ("/versions", ("GET", "POST")): lambda: _versions(store),
        ("/is_training", ("GET",)): lambda: _is_training(store),
    }


# --- the views ----------------------------------------------------------------------------------


def _setup(services: Services) -> ResponseReturnValue:
    """Record a project for the worker. Answers with the version that the project serves.

    Label Studio calls /setup often, for example when a person opens a task without a prediction.
    This view therefore writes only changed values. It records an event if a value changed, or if
    the worker has not yet set up the project's webhook and order.
    """
    body = read_body(request)
    project = project_id(body.get("project"))
    schema, token = text(body, "schema", MAX_SCHEMA), text(body, "access_token", 8192)
    hostname = text(body, "hostname", 2000)
    if not _TOKEN.fullmatch(token):
        raise RequestRefused(400, "access_token: expected printable ASCII, got other characters.")
    store, known = services.store, services.store.project(project)
    try:
        candidate = origin.accept(services.settings, known, hostname)
    except RequestRefused as refused:
        _note(store, known, str(refused))
        raise
    _note(store, known, "")
    if known is None and len(store.projects()) >= MAX_PROJECTS:
        raise RequestRefused(409, f"project: this backend serves {MAX_PROJECTS} projects already.")
    values = _values_to_keep(known, schema, candidate)
    fresh = token and token != token_for(services.settings, project)
    if fresh and not services.settings.label_studio_api_key.get_secret_value():
        save_token(services.settings.model_dir, project, token)
    else:
        fresh = ""  # with a configured token, no other token is stored
    state = ProjectState() if known is None else known.state
    changed = known is None or any(getattr(state, key) != value for key, value in values.items())
    if changed:
        store.update_project(project, **values)
    # After `disconnect`, only the worker's poll may detect a new connection. An event here would
    # repeat for ever, because listing the backends makes Label Studio call /setup.
    if changed or fresh or not (state.armed or state.disconnected):
        store.record_event(project, "setup")
    return jsonify(model_version=served_version(known))


def _values_to_keep(known: Project | None, schema: str, candidate: str) -> ProjectChanges:
    """The values of a /setup call: the config, Label Studio's address, and our address."""
    values: ProjectChanges = {}
    called = request.url_root.rstrip("/")  # the address under which Label Studio calls us
    addresses = [] if known is None else list(known.state.backend_urls)
    if called not in addresses:
        values["backend_urls"] = [*addresses, called][-MAX_ADDRESSES:]
    if schema:
        values["label_config"] = schema
    if candidate:
        values["candidate_origin"] = candidate
    return values


def _note(store: Store, known: Project | None, reason: str) -> None:
    """Store a refusal for the status page if the project is known; '' after an accepted call."""
    if known is not None and known.state.message != reason:
        store.update_project(known.id, message=reason)


def _predict(services: Services) -> ResponseReturnValue:
    """One prediction for each task, in the order of the tasks."""
    body = read_body(request)
    project = project_id(body.get("project"))
    tasks, config = _tasks(body), text(body, "label_config", MAX_SCHEMA)
    params = body.get("params") or {}
    if not isinstance(params, Mapping):
        raise RequestRefused(400, f"params: expected an object, got {kind(params)}.")
    known = services.store.project(project)
    if known is None:
        raise RequestRefused(
            404, f"project: {project} is not connected here. Add this backend in its Settings."
        )
    results = answer_tasks(services, project, tasks, config)
    return jsonify(results=results, model_version=served_version(known))


def _tasks(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The tasks of a /predict request."""
    tasks = body.get("tasks")
    if not isinstance(tasks, list):
        raise RequestRefused(400, f"tasks: expected a list, got {kind(tasks)}.")
    if len(tasks) > MAX_TASKS:
        raise RequestRefused(413, f"tasks: expected at most {MAX_TASKS}, got {len(tasks)}.")
    for index, task in enumerate(tasks):
        if not isinstance(task, Mapping):
            raise RequestRefused(400, f"tasks[{index}]: expected an object, got {kind(task)}.")
        if not isinstance(task.get("id", 0), int) or isinstance(task.get("id"), bool):
            raise RequestRefused(
                400, f"tasks[{index}].id: expected an integer, got {kind(task['id'])}."
            )
    return tasks


def _webhook(store: Store) -> ResponseReturnValue:
    """Record the event of a webhook.

    Every readable event is answered with 2xx, because newer versions of Label Studio switch off
    failing webhooks. If the store cannot be written now, the answer says that the worker's next
    poll will find the changed label. No poll finds Start Training, so it is answered with 503.
    """
    body = read_body(request)
    event = text(body, "action", 200)
    if not event:
        raise RequestRefused(400, "action: expected the event's name, got none.")
    if event not in webhook.EVENTS:
        return jsonify(status="ignored")
    project = webhook.project_of(body, request.args.get("project"))
    try:
        return jsonify(status=webhook.record(store, event, project))
    except SQLAlchemyError:
        logger.exception("Event %s of project %s was not recorded", event, project)
        if webhook.EVENTS[event] == "train":
            return jsonify(error="The store is busy or full; press Start Training again."), 503
        return jsonify(status="not recorded", detail="The worker's next poll finds it."), 202


def _versions(store: Store) -> ResponseReturnValue:
    """A project's versions. Label Studio's GET names no project, so it gets the only project's."""
    named = request.args.get("project")
    if named is None and request.method == "POST":
        named = read_body(request).get("project")
        project_id(named)
    if named is not None:
        return jsonify(versions=versions_of(store, project_id(named)))
    projects = store.projects()
    if len(projects) == 1:
        return jsonify(versions=versions_of(store, projects[0].id))
    return jsonify(versions=[], message="Several projects are served: ask with ?project=<id>.")


def _is_training(store: Store) -> ResponseReturnValue:
    """Whether a round runs in the named project, or in any project if none is named."""
    named = request.args.get("project")
    wanted = None if named is None else project_id(named)
    found = [r for r in store.open_rounds() if wanted is None or r.project == wanted]
    return jsonify(is_training=bool(found))


def _ready(store: Store) -> ResponseReturnValue:
    """200 if rounds can run, else 503 with every reason."""
    reasons = not_ready(store)
    return jsonify(ready=not reasons, reasons=reasons), 503 if reasons else 200


def _live(store: Store) -> ResponseReturnValue:
    """Project id -> live evaluation, of the project in `?project=`, else of all projects."""
    found = {str(p): live.current(store, p).to_json() for p in _asked_for(store)}
    return jsonify(projects=found)


def _next_labels(services: Services) -> ResponseReturnValue:
    """Project id -> expected gain of the next `?more=` labelled images (else BUDGET)."""
    store, more = services.store, request.args.get("more", str(services.settings.budget))
    if not re.fullmatch("[1-9][0-9]{0,8}", more):
        raise RequestRefused(400, f"more: expected a whole number from 1 on, got {more[:20]!r}.")
    found = {str(p): next_labels(store, p, int(more)).to_json() for p in _asked_for(store)}
    return jsonify(projects=found)


def _asked_for(store: Store) -> list[int]:
    """The project in `?project=`, else all projects. Refuses a project that is not connected."""
    named = request.args.get("project")
    wanted = None if named is None else project_id(named)
    found = [p.id for p in store.projects() if wanted in (None, p.id)]
    if wanted is not None and not found:
        raise RequestRefused(404, f"project: {wanted} is not connected here.")
    return found


# --- around every view --------------------------------------------------------------------------


def _check_callers_and_count(app: Flask, services: Services) -> None:
    """Check credentials before each view. After it, count, log and set headers."""

    @app.before_request
    def _before() -> Response | None:
        g.started = time.perf_counter()
        return refuse_strangers(services.settings, request)

    @app.after_request
    def _after(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else "unknown"
        seconds = time.perf_counter() - g.get("started", time.perf_counter())
        services.metrics.request(route, response.status_code, seconds)
        level = logging.DEBUG if response.status_code < 400 else logging.WARNING
        logger.log(level, "%s %s %s", excerpt(request.method), route, response.status_code)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers.setdefault("Cache-Control", "no-store")
        return response


def _answer_errors_as_json(app: Flask, settings: Settings) -> None:
    """Answer every error with `{"error": reason}`, never with a traceback."""

    @app.errorhandler(RequestRefused)
    def _refused(error: RequestRefused) -> ResponseReturnValue:
        logger.warning("Refused %s: %s", excerpt(request.path), error)
        return jsonify(error=str(error)), error.status

    @app.errorhandler(HTTPException)
    def _http(error: HTTPException) -> Any:
        code = error.code or 500
        if code < 400:
            return error
        headers = {name: v for name, v in error.get_headers() if name in ("Allow", "Retry-After")}
        return jsonify(error=_reason(code, error.description, settings)), code, headers

    @app.errorhandler(ParseException)  # chunks without a size
    @app.errorhandler(NoMoreData)
    @app.errorhandler(ConnectionResetError)  # the body did not come in time
    def _broken(_error: Exception) -> ResponseReturnValue:
        return jsonify(error="Expected a whole body, got a part of one."), 400

    @app.errorhandler(Exception)
    def _unexpected(error: Exception) -> ResponseReturnValue:
        incident = uuid.uuid4().hex[:12]
        logger.error("Incident %s", incident, exc_info=error)
        known = isinstance(error, (StoreError, SQLAlchemyError)) or disk.refusal(
            error, settings.model_dir
        )
        what = "The store cannot be used just now." if known else "Unexpected error."
        status = 503 if known else 500
        return jsonify(error=f"{what} The log has it as incident {incident}."), status


def _reason(code: int, description: str | None, settings: Settings) -> str:
    """The reason of an HTTP error. Replaces werkzeug's text if it says too little."""
    if code == 413:
        return f"Expected a body of at most {settings.max_request_bytes} bytes, got more."
    if code == 404:
        return "There is no such route. Label Studio uses /health, /setup, /predict and /webhook."
    return description or f"HTTP {code}"
