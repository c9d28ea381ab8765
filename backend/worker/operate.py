"""A person's decisions about versions: roll back, promote, unpin.

The commands call these functions. The status page writes its request to the project's state, and
the scheduler carries it out (`carry_out`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from backend.errors import BackendError, LeaseLost, RoundError, StudioAuthError, StudioUnreachable
from backend.label_studio.label_config import parse_label_config
from backend.store import serving
from backend.store.version_names import resolve
from backend.store.versions import Version
from backend.worker.context import RoundContext
from taudis.detector.card import read_card
from taudis.errors import TaudisError

logger = logging.getLogger(__name__)


def carry_out(context: RoundContext) -> None:
    """Carry out the request from the status page, and store a sentence about the result.

    Raises:
        StudioUnreachable, StudioAuthError: Label Studio cannot be used now; the request stays.
        LeaseLost: another worker holds the lease.
    """
    asked = context.load_project().state.asked
    if asked is None:
        return
    try:
        result = _do(context, str(asked.get("action")), str(asked.get("version") or ""))
    except (StudioUnreachable, StudioAuthError, LeaseLost):
        raise
    except (BackendError, TaudisError) as error:
        result = f"Not done: {error}"
    logger.info("Project %s, asked for on the status page: %s", context.project_id, result)
    context.store.update_project(
        context.project_id, lease=context.lease, asked=None, asked_result=result
    )


def _do(context: RoundContext, action: str, version: str) -> str:
    """Carry out one request. Returns a sentence that says what was done."""
    if action == "rollback":
        done = rollback(context, version)
        return f"Rolled back: {done.version} is served and pinned until you unpin it."
    if action == "promote":
        model = promote(context, version)
        return (
            f"Promoted: a round scores the unlabelled images with {model} and serves its order."
            " Until then the current order is served."
        )
    if action == "unpin":
        newest = unpin(context)
        return f"Unpinned: {newest.version if newest else 'no order'} is served."
    raise RoundError(f"Expected rollback, promote or unpin, got {action!r}.")


def rollback(context: RoundContext, version: str = "") -> Version:
    """Serve an earlier version's order and predictions until `unpin`.

    Args:
        context: the project's context.
        version: the version to serve, or the beginning of its name alone; "" for the newest version
            older than the served one.

    Raises:
        RoundError: there is no such version, or Label Studio no longer has its predictions. The
            message names the versions that there are.
    """
    target = _rollback_target(context, version)
    before = context.load_project().state
    # The pin is written first, because a round that is about to switch the order reads it.
    context.store.update_project(
        context.project_id, lease=context.lease, pinned=target.version, promoted=""
    )
    try:
        context.studio.patch_project(context.project_id, model_version=target.version)
    except Exception:
        pinned, promoted = before.pinned, before.promoted
        context.store.update_project(
            context.project_id, lease=context.lease, pinned=pinned, promoted=promoted
        )
        raise
    return _now_serves(context, target)


def _now_serves(context: RoundContext, row: Version) -> Version:
    """Record the version that Label Studio now serves, and return it."""
    context.store.update_project(
        context.project_id,
        lease=context.lease,
        serving=row.version,
        model=row.model,
        changed_by_person="",
    )
    return row


def _rollback_target(context: RoundContext, version: str) -> Version:
    """The version to roll back to. Raises RoundError unless Label Studio has its predictions."""
    held = context.studio.model_versions(context.project_id)
    published = [row for row in context.store.versions(context.project_id) if row.tasks]
    there = {row.version: row for row in published if held.get(row.version)}
    if version:
        return there[resolve(version, there, "a published version to go back to")]
    project = context.load_project()
    older = serving.older_versions(context.store, project)[:1]
    if not older:
        raise RoundError(_nothing_older(project.state.serving, list(there)))
    if older[0].version not in there:
        raise RoundError(
            f"Label Studio no longer has the predictions of {older[0].version}, the version before"
            f" {project.state.serving!r}; it has those of {', '.join(there) or 'none'}."
        )
    return older[0]


def _nothing_older(served: str, there: Sequence[str]) -> str:
    """Why there is no version to go back to, and which versions there are.

    there: the published versions that Label Studio has, newest first.
    """
    if not served:
        return "There is no earlier version to go back to: no order was published yet."
    text = f"There is no earlier version to go back to: {served} serves and is the"
    others = [version for version in there if version != served]
    if not others:
        return f"{text} only one. The next round publishes another."
    return f"{text} oldest. Later versions are {', '.join(others)}: `rollback VERSION` serves one."


def promote(context: RoundContext, version: str) -> str:
    """Make a kept model serve, even if its evaluation was worse; returns the model's version.

    The worker opens a round that scores the unlabelled pool with the model and switches to that
    order. Until then the current order is served. Later rounds train and evaluate new models but do
    not replace this one until `unpin`, `rollback` or another `promote`. A rollback's pin ends.

    Args:
        context: the project's context.
        version: a model's version, or an order's version, whose model is then promoted.

    Raises:
        RoundError: there is no such model, or its labels differ from the labelling config.
        CheckpointError: the model is damaged; the message names the file.
    """
    model = serving.model_of(context.store, context.project_id, context.model_dir(""), version)
    labels = tuple(read_card(context.model_dir(model))["labels"])
    config = parse_label_config(context.studio.project(context.project_id)["label_config"])
    if labels != config.label_map.names:
        raise RoundError(
            f"Expected a model for the labels {list(config.label_map.names)}, got {model} for"
            f" {list(labels)}. Press Start Training to train one for the present labels."
        )
    context.store.update_project(
        context.project_id,
        lease=context.lease,
        promoted=model,
        pinned="",
        reorder=True,
        changed_by_person="",
    )
    context.store.record_event(context.project_id, "changed")  # ends the worker's wait
    return model


def unpin(context: RoundContext) -> Version | None:
    """End a rollback or a promotion, and serve the newest order that Label Studio still has.

    Returns that version, or None if there is none. If all orders were deleted in Label Studio, the
    worker makes a new one. A promoted model serves until a round trains a model that is not clearly
    worse.
    """
    published = [row for row in context.store.versions(context.project_id) if row.tasks]
    context.store.update_project(context.project_id, lease=context.lease, pinned="", promoted="")
    if not published:
        return None
    held = context.studio.model_versions(context.project_id)
    newest = next((row for row in published if held.get(row.version)), None)
    # Without a version, a new order serves: nobody chose another.
    version = newest.version if newest else ""
    context.studio.patch_project(context.project_id, model_version=version)
    return _now_serves(context, newest) if newest else None
