"""What Label Studio tells others: webhooks on events, and the calls to an ML backend.

Both are sent inside the request that causes them, without repetition, as in a default install.
"""

import ipaddress
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

import requests

from tests.fake_label_studio.answers import NO_CHOICE, Refused, found, invalid
from tests.fake_label_studio.records import Backend, Webhook

WEBHOOK_SECONDS = 1.0
SECONDS = {"health": 1.0, "setup": 3.0, "predict": 100.0, "webhook": 100.0}
HOOK_FIELDS = ("url", "send_payload", "send_for_all_actions", "headers", "is_active")


def add_routes(route):
    """Register this module's calls."""
    route("GET", "/api/webhooks/", list_webhooks)
    route("POST", "/api/webhooks/", create_webhook)
    route("PATCH", "/api/webhooks/<int:webhook>/", patch_webhook)
    route("DELETE", "/api/webhooks/<int:webhook>/", delete_webhook)
    route("GET", "/api/ml/", list_backends)
    route("POST", "/api/ml/", create_backend)
    route("PATCH", "/api/ml/<int:backend>/", patch_backend)
    route("DELETE", "/api/ml/<int:backend>/", delete_backend)
    route("POST", "/api/ml/<int:backend>/train/", train)


# --- webhooks -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Delivery:
    """One webhook: what it told of which project, and when it began and ended, monotonic seconds.

    payload: what Label Studio knows of the event, also if the webhook did not carry it. status: of
    the answer; 0 if none came.
    """

    project: int
    action: str
    payload: dict
    began: float
    ended: float
    status: int


def deliver(records, project, action, payload, send):
    """Call `send` for the answer to a webhook, and tell `records.observers` of the delivery."""
    began = time.monotonic()
    try:
        status = send().status_code
    except requests.RequestException:
        status = 0
    made = Delivery(project.id, action, payload, began, time.monotonic(), status)
    for observer in records.observers:
        observer(made)


def tell(records, project, action, payload):
    """Send an event to every webhook of the project that wants it; failures are only logged."""
    with records.lock:
        hooks = [hook for hook in project.webhooks.values() if hook.wants(action)]
        whole = {**payload, "project": project.row()}
    for hook in hooks:
        body = {"action": action, **(whole if hook.send_payload else {})}

        def send(hook=hook, body=body):
            how = {"headers": hook.headers, "timeout": WEBHOOK_SECONDS}
            return requests.post(hook.url, json=body, **how)

        deliver(records, project, action, payload, send)


def list_webhooks(call):
    """GET /api/webhooks/?project=: 400, not 404, for a project that is gone."""
    with call.records.lock:
        project = call.records.projects.get(int(call.query["project"]))
        if project is None:
            raise invalid("project", NO_CHOICE)
        return 200, [hook.row() for hook in project.webhooks.values()]


def create_webhook(call):
    """POST /api/webhooks/."""
    _check_address(call, call.body["url"])
    with call.records.lock:
        project = _project(call)
        made = Webhook(call.records.number("webhook"), project, call.body["url"])
        _change(made, call.body)
        call.records.webhooks[made.id] = project.webhooks[made.id] = made
        return 201, made.row()


def patch_webhook(call, webhook):
    """PATCH /api/webhooks/<id>/: actions that are not given are cleared."""
    with call.records.lock:
        changed = found(call.records.webhooks, webhook, "Webhook")
        _change(changed, call.body)
        return 200, changed.row()


def _change(hook, fields):
    for name in HOOK_FIELDS:
        if name in fields:
            setattr(hook, name, fields[name])
    hook.actions = list(fields.get("actions") or [])


def delete_webhook(call, webhook):
    """DELETE /api/webhooks/<id>/."""
    with call.records.lock:
        gone = found(call.records.webhooks, webhook, "Webhook")
        del call.records.webhooks[gone.id], gone.project.webhooks[gone.id]
    return 204, None


def _project(call):
    """The project that a body names; Label Studio refuses another one with 400."""
    number = call.body["project"]
    project = call.records.projects.get(int(number))
    if project is None:
        raise invalid("project", f'Invalid pk "{number}" - object does not exist.')
    return project


def _check_address(call, url):
    """Refuse loopback and private addresses where the install guards against them."""
    host = urlsplit(url).hostname or ""
    address = "127.0.0.1" if host == "localhost" else host
    try:
        private = ipaddress.ip_address(address).is_private
    except ValueError:
        private = False
    if call.studio.refuses_private_addresses and private:
        raise Refused(403, f"URL resolves to a reserved network address (block: {address})")


# --- ML backends --------------------------------------------------------------------------------


def _ask(backend, name, body=None):
    """One call to a backend: whether it went well, and its JSON answer or the reason."""
    method = "GET" if body is None else "POST"
    url = f"{backend.url.rstrip('/')}/{name}"
    try:
        answer = requests.request(method, url, json=body, auth=backend.auth, timeout=SECONDS[name])
        answer.raise_for_status()
        return True, answer.json()
    except (requests.RequestException, ValueError) as error:
        return False, str(error)


def _identifier(project):
    return f"{project.id}.{int(project.created_at.timestamp())}"


def _set_up(studio, backend):
    """POST /setup, with the project, its labelling config and its maker's legacy token."""
    project = backend.project
    body = {
        "project": _identifier(project),
        "schema": project.label_config,
        "hostname": studio.hostname or studio.url,
        "access_token": project.created_by.token,
        "extra_params": "",
    }
    return _ask(backend, "setup", body)


def look_at(studio, backend):
    """GET /health and POST /setup, as on every look at the Model page; the answered version."""
    well, _ = _ask(backend, "health")
    if not well:
        backend.state = "Disconnected"
        return None
    well, answer = _set_up(studio, backend)
    backend.state = "Connected" if well else "Error"
    backend.error_message = None if well else answer
    if well:
        backend.model_version = answer.get("model_version")
    return backend.model_version if well else None


def evaluate(studio, task):
    """Ask the project's first backend for the prediction of a task that is opened, and keep it."""
    backend = next(iter(task.project.backends.values()), None)
    if backend is None:
        return
    version = look_at(studio, backend)
    known = {each.model_version for each in task.predictions.values()}
    if backend.state != "Connected" or version in known:
        return
    project = task.project
    body = {"tasks": [{**task.row(), "annotations": [], "predictions": []}]}
    body |= {"project": _identifier(project), "label_config": project.label_config}
    well, answer = _ask(backend, "predict", {**body, "params": {"context": None}})
    if well and len(answer.get("results", [])) == 1:
        row = answer["results"][0]
        with studio.records.lock:
            named = row.get("model_version") or answer.get("model_version") or ""
            studio.records.add_prediction(task, row["result"], row.get("score"), named)


def list_backends(call):
    """GET /api/ml?project=: looks at each of them first."""
    with call.records.lock:
        project = found(call.records.projects, call.query["project"], "Project")
        backends = list(project.backends.values())
    for backend in backends:
        look_at(call.studio, backend)
    return 200, [backend.row() for backend in backends]


def create_backend(call):
    """POST /api/ml: checks the address, the project, then /health and /setup; adds a webhook."""
    body = call.body
    _check_address(call, body["url"])
    with call.records.lock:
        project = _project(call)
    auth = None
    if body.get("auth_method") == "BASIC_AUTH":
        auth = (body["basic_auth_user"], body["basic_auth_pass"])
    made = Backend(0, project, body["url"], body.get("title", ""), auth)
    _check_backend(call.studio, made)
    with call.records.lock:
        made.id = call.records.number("backend")
        call.records.backends[made.id] = project.backends[made.id] = made
        url = made.url.rstrip("/") + "/webhook"
        if all(hook.url != url for hook in project.webhooks.values()):
            hook = Webhook(call.records.number("webhook"), project, url)
            call.records.webhooks[hook.id] = project.webhooks[hook.id] = hook
    look_at(call.studio, made)
    with call.records.lock:
        if project.show_collab_predictions and not project.model_version:
            project.model_version = made.title
    return 201, made.row()


def _check_backend(studio, backend):
    """Refuse a backend whose /health or /setup does not answer well."""
    well, answer = _ask(backend, "health")
    if not well:
        words = f"Can't connect to ML backend {backend.url}, health check failed. {answer}"
        raise invalid("non_field_errors", words)
    well, answer = _set_up(studio, backend)
    if not well:
        words = (
            f"Successfully connected to {backend.url} but it doesn't look like a valid ML backend."
            f" Reason: {answer}."
        )
        raise invalid("non_field_errors", words)


def patch_backend(call, backend):
    """PATCH /api/ml/<id>: a version that was the old title becomes the new one."""
    changed = found(call.records.backends, backend, "MLBackend")
    look_at(call.studio, changed)
    with call.records.lock:
        title = call.body.get("title", changed.title)
        if changed.project.model_version == changed.title:
            changed.project.model_version = title
        changed.title, changed.url = title, call.body.get("url", changed.url)
    look_at(call.studio, changed)
    return 200, changed.row()


def delete_backend(call, backend):
    """DELETE /api/ml/<id>: looks at it once more; its webhook stays."""
    gone = found(call.records.backends, backend, "MLBackend")
    look_at(call.studio, gone)
    with call.records.lock:
        if gone.project.model_version == gone.title:
            gone.project.model_version = ""
        del call.records.backends[gone.id], gone.project.backends[gone.id]
    return 204, None


def train(call, backend):
    """POST /api/ml/<id>/train: 200 with an empty body, whatever the backend answers."""
    asked = found(call.records.backends, backend, "MLBackend")
    body = {"action": "START_TRAINING", "project": asked.project.row()}
    url, how = f"{asked.url.rstrip('/')}/webhook", {"auth": asked.auth}

    def send():
        return requests.post(url, json=body, timeout=SECONDS["webhook"], **how)

    deliver(call.records, asked.project, body["action"], {}, send)
    return 200, None
