"""Connects a project: sets its webhook, sampling and version in Label Studio, and restores them.

When a person connects a backend on the Model page, Label Studio creates a webhook for all actions
without credentials, and sets the project's version to the backend's title. `arm` replaces the
webhook by one for label changes, with our credentials and without payload. It sets uncertainty
sampling and our version, and adds a tab to the Data Manager (`backend.worker.queue_tab`). The store
keeps the previous values, and `disarm` restores them.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from typing import Any

from backend.errors import RoundError
from backend.label_studio.addresses import normal_address
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.queue import SAMPLING
from backend.settings import Settings
from backend.store import serving
from backend.store.secrets import WEBHOOK_USER, webhook_password
from backend.store.state import ProjectChanges
from backend.worker import late_switches, queue_tab, review_tab
from backend.worker.changes_by_person import changes_by_person
from backend.worker.context import RoundContext

logger = logging.getLogger(__name__)

ACTIONS = (
    "ANNOTATION_CREATED",
    "ANNOTATIONS_CREATED",
    "ANNOTATION_UPDATED",
    "ANNOTATIONS_DELETED",
    "PROJECT_UPDATED",
)
PROJECT_FIELDS = ("sampling", "model_version", "show_collab_predictions")
OUR_FIELDS = {"sampling": SAMPLING, "show_collab_predictions": True}
REMOVED = (
    "This backend was removed in Label Studio (Settings > Model), so sampling and version were put"
    " back as they were, and its webhook was removed. Connect it there again to go on."
)
Row = dict[str, Any]


def arm(context: RoundContext) -> Mapping[str, Any]:
    """Set the project up in Label Studio. Returns the values that were set, for the store.

    Another call repairs what only this backend uses, and keeps what a person may have changed.

    Raises:
        RoundError: the project has no ML backend row of ours (it was removed there).
        LabelConfigError: the labelling config cannot be used; the message says what to change.
        StudioError: Label Studio cannot be reached or refuses.
    """
    before = context.load_project().state.before
    project = context.studio.project(context.project_id)
    context.store.update_project(
        context.project_id, title=project["title"], label_config=project["label_config"]
    )
    # Label Studio has answered at this address, so it is confirmed.
    context.store.update_project(context.project_id, origin=context.studio.url)
    parse_label_config(project["label_config"])
    backend = our_backend(context)
    # Recorded before any change there, so that after a `disconnect` this row does not count as new.
    context.store.update_project(context.project_id, backend_id=backend["id"])
    hooks = our_webhooks(context, backend["url"])
    before = before or _remembered(context, project)
    webhook = _one_webhook(context, backend["url"], hooks)
    if not context.load_project().state.armed:  # once armed, a person may have changed them
        use_our_order(context, project)
    tab = queue_tab.added(context)
    armed = {**OUR_FIELDS, "webhook": webhook["id"], "backend_url": backend["url"], "tab": tab}
    # `before` is written again, because a `disconnect` that ended meanwhile deleted it.
    context.store.update_project(
        context.project_id, armed=armed, before=before, gone=False, message=""
    )
    _serve_again(context)
    _gives_way_to_disconnect(context, before)
    return armed


def _gives_way_to_disconnect(context: RoundContext, before: Mapping[str, Any] | None) -> bool:
    """Restore everything again if a person disconnected the project meanwhile; whether it did so.

    The command `disconnect` runs in another process, and may already have deleted `before`.
    """
    state = context.load_project().state
    if not state.disconnected:
        return False
    context.store.update_project(context.project_id, before=state.before or before)
    disarm(context, state.message)
    return True


def use_our_order(context: RoundContext, project: Row) -> None:
    """Switch on uncertainty sampling and predictions in the project, if they are off."""
    changed = {key: value for key, value in OUR_FIELDS.items() if project.get(key) != value}
    if changed:
        context.studio.patch_project(context.project_id, **changed)


def _serve_again(context: RoundContext) -> None:
    """After a new connection, serve the newest order that Label Studio has, or request a new order.

    Connecting sets the version to the backend's title if none was chosen. Tasks then come in random
    order. The title stays when the backend is removed.
    """
    current = context.studio.project(context.project_id).get("model_version") or ""
    titles = {row.get("title") for row in context.studio.ml_backends(context.project_id)}
    versions = context.store.versions(context.project_id)
    held = context.studio.model_versions(context.project_id)
    order = serving.after_connecting(current, titles, versions, held)
    if order == "as it is":
        return
    if order is None:
        context.store.update_project(context.project_id, serving="", reorder=True)
        return
    context.studio.patch_project(context.project_id, model_version=order.version)
    context.store.update_project(context.project_id, serving=order.version, model=order.model)


def our_backend(context: RoundContext) -> Row:
    """The ML backend row in Label Studio that has our address.

    Our address is BACKEND_URL, or else any address at which Label Studio called us. Another row is
    never taken, even if it is the only one: its backend would receive our webhook's credentials.
    """
    rows = context.studio.ml_backends(context.project_id)
    ours = _rows_of_ours(context, rows)
    if not ours:
        seen = sorted(our_addresses(context))
        urls = [row["url"] for row in rows] or "none"
        raise RoundError(
            f"Expected an ML backend at {seen or 'our address'} in the project's Settings > Model,"
            f" found {urls}. Connect this backend there, or set BACKEND_URL to the address there."
        )
    return dict(ours[0])


def _rows_of_ours(context: RoundContext, rows: list[Row]) -> list[Row]:
    """Those of a project's ML backend rows that have an address of ours.

    Listing the rows makes Label Studio call us, so our addresses are read after the listing.
    """
    addresses = {_in_one_spelling(address) for address in our_addresses(context)}
    return [row for row in rows if _in_one_spelling(row["url"]) in addresses]


def _in_one_spelling(address: str) -> str:
    """The address with its host in lower case, without its default port and trailing slash."""
    try:
        return normal_address(address)
    except ValueError:  # for example, an address with a user name
        return address.rstrip("/")


def our_addresses(context: RoundContext) -> set[str]:
    """BACKEND_URL if it is set, else every address at which Label Studio has called us."""
    if context.settings.backend_url:
        return {context.settings.backend_url}
    known = context.store.project(context.project_id)
    return set(known.state.backend_urls) if known else set()


def our_webhooks(context: RoundContext, backend_url: str) -> list[Row]:
    """Every webhook of the project that calls our address, with or without ?project=."""
    ours = backend_url.rstrip("/") + "/webhook"
    rows = context.studio.webhooks(context.project_id)
    return [row for row in rows if row["url"].split("?", 1)[0].rstrip("/") == ours]


def _remembered(context: RoundContext, project: Row) -> Row:
    """Store the project's values from before we change them, and return them."""
    titles = {row.get("title") for row in context.studio.ml_backends(context.project_id)}
    before = {field: project.get(field) for field in PROJECT_FIELDS}
    if before["model_version"] in titles:
        before["model_version"] = ""  # connecting wrote the backend's title there
    context.store.update_project(context.project_id, before=before)
    return before


def webhook_fields(settings: Settings, backend_url: str, project_id: int) -> Row:
    """The fields of our webhook: label changes, our credentials, no payload."""
    return {
        "url": f"{backend_url.rstrip('/')}/webhook?project={project_id}",
        "send_payload": False,
        "send_for_all_actions": False,
        "is_active": True,
        "headers": _auth_header(settings),
        "actions": list(ACTIONS),
    }


def _one_webhook(context: RoundContext, backend_url: str, hooks: list[Row]) -> Row:
    """Keep one webhook with our fields and delete the others. Connecting twice leaves two, because
    Label Studio compares exact addresses.
    """
    wanted = webhook_fields(context.settings, backend_url, context.project_id)
    if not hooks:
        return context.studio.create_webhook(context.project_id, **wanted)
    kept, *doubles = sorted(hooks, key=lambda row: int(row["id"]))
    for double in doubles:
        context.studio.delete_webhook(double["id"])
    if not webhook_is_armed(kept, wanted):
        kept = context.studio.patch_webhook(kept["id"], **wanted)
    return kept


def webhook_is_armed(row: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a webhook row has the wanted fields, with its actions in any order."""
    return all(
        sorted(row.get(key) or []) == sorted(value) if key == "actions" else row.get(key) == value
        for key, value in wanted.items()
    )


def _auth_header(settings: Settings) -> dict[str, str]:
    """The Authorization header that Label Studio must send with the webhook.

    It gives access to `/webhook` only, because Label Studio shows it to all its users.
    """
    if not settings.has_credentials:
        return {}
    pair = f"{WEBHOOK_USER}:{webhook_password(settings.model_dir, make=True)}"
    return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def was_removed(context: RoundContext) -> bool:
    """Whether our backend was removed on the Model page after the project was armed.

    False if it was also added again.
    """
    known = context.load_project().state.backend_id
    rows = context.studio.ml_backends(context.project_id)
    if known is None or any(row["id"] == known for row in rows):
        return False
    again = _rows_of_ours(context, rows)
    if again:
        context.store.update_project(context.project_id, backend_id=again[0]["id"])
        _serve_again(context)
    return not again


def repair(context: RoundContext) -> str:
    """Compare Label Studio's project with the armed values, at every poll, and repair differences.

    Restores the webhook, which only this backend uses, and the order if a worker without the lease
    switched it. Removes review marks from labels that changed. Leaves sampling and version as they
    are, since a person may have chosen them, and returns these differences in words, '' if none.
    """
    state = context.load_project().state
    armed = state.armed
    if not armed or _gives_way_to_disconnect(context, state.before):
        return ""
    project = context.studio.project(context.project_id)
    changes: ProjectChanges = {}
    if project["title"] != state.title:
        changes["title"] = project["title"]
    if project["label_config"] != state.label_config:
        changes["label_config"] = project["label_config"]
    if changes:
        context.store.update_project(context.project_id, **changes)
    backend_url = str(armed["backend_url"])
    webhook = _one_webhook(context, backend_url, our_webhooks(context, backend_url))
    if webhook["id"] != armed.get("webhook"):
        armed = {**armed, "webhook": webhook["id"]}
        context.store.update_project(context.project_id, armed=armed, before=state.before)
    titles = {row.get("title") or "" for row in context.studio.ml_backends(context.project_id)}
    if state.serving != project.get("model_version") and late_switches.undo(context):
        project = {**project, "model_version": state.serving}
    review_tab.settle(context)
    rows = context.studio.model_versions(context.project_id)
    changed = changes_by_person(project, state, titles, rows)
    if _gives_way_to_disconnect(context, state.before):
        return ""
    if changed != state.changed_by_person:
        context.store.update_project(context.project_id, changed_by_person=changed)
    return changed


def disarm(context: RoundContext, message: str = "") -> Mapping[str, Any]:
    """Restore the sampling, version and tabs from before `arm`, and remove our webhooks.

    If Label Studio stops answering, `finish_disarm` completes the work. The first step writes
    `message`, which people see, to the store.
    """
    state = context.load_project().state
    before = state.before
    if not before:
        raise RoundError(f"Project {context.project_id} is not connected: nothing to restore.")
    armed = state.armed or state.disarming or {}
    restored = _version_to_restore(context, str(before["model_version"] or ""))
    # The store first: a running round or repair must see it before it changes Label Studio.
    context.store.update_project(
        context.project_id,
        armed=None,
        disarming=armed,
        disconnected=True,
        message=message,
        restored_version=restored,
        pinned="",
        promoted="",
    )
    # Also the webhook that Label Studio made at connect: nobody else removes it.
    addresses = {str(armed.get("backend_url") or ""), *our_addresses(context)} - {""}
    rows = [row for address in sorted(addresses) for row in our_webhooks(context, address)]
    for row_id in {row["id"] for row in rows}:
        context.studio.delete_webhook(row_id)
    queue_tab.remove(context, armed)
    fields = {key: before[key] for key in PROJECT_FIELDS}
    context.studio.patch_project(context.project_id, **{**fields, "model_version": restored})
    review_tab.remove(context)  # last, because it takes one request per task
    context.store.update_project(context.project_id, before=None, serving="", changed_by_person="")
    return {**before, "model_version": restored}


def finish_disarm(context: RoundContext) -> None:
    """Complete an interrupted `disarm`, which keeps the previous values until its end."""
    state = context.load_project().state
    if state.disconnected and state.before:
        disarm(context, state.message)


def _version_to_restore(context: RoundContext, version: str) -> str:
    """The version served before `arm`, or '' if its predictions are gone: it would be refused."""
    return version if context.studio.model_versions(context.project_id).get(version) else ""
