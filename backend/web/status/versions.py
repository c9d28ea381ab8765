"""The orders and models of a project, and what a person can do with each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.store.state import ProjectState
from backend.store.versions import Version
from backend.web.status.quality import short_quality
from backend.web.status.words import minute

LISTED = 12


@dataclass(frozen=True)
class Choice:
    """A kept version. `can_roll_back`, `can_promote`: whether the worker would accept the request.

    If a round's new model does not serve, the previous model makes the round's order. The version
    names both: a person can roll back to the order, or promote the new model.
    """

    version: str
    made: str
    tasks: int
    made_by: str  # the model that made the order; '' if none did
    model: str  # the kept model that a promotion of this version promotes; '' if there is none
    quality: str  # of `model`
    states: Sequence[str]
    can_roll_back: bool
    can_promote: bool


@dataclass(frozen=True)
class Choices:
    """Every kept version, newest first."""

    rows: Sequence[Choice]
    more: int  # number of versions that the table leaves out
    held: str  # why new orders or models do not serve automatically; '' if they do
    can_unpin: bool
    asked: str  # the request that the worker has not carried out yet; '' if there is none
    result: str  # the result of the last request


def choices(
    state: ProjectState,
    versions: Sequence[Version],
    models: Collection[str],
    evaluations: Mapping[str, Mapping[str, Any]],
) -> Choices:
    """The versions that are not pruned, and what a person can do with them.

    models: names of the kept checkpoints. evaluations: model -> its metrics, served or not.
    """
    orders = [row for row in versions if row.pruned is None and row.tasks]
    named = {row.version for row in orders}
    busy = state.asked is not None or not state.armed
    rows = []
    for row in orders[:LISTED]:
        # After a second publish attempt, the order has another name than its round's model.
        own = row.version if row.version in models else row.model
        model = own if own in models and (own == row.version or own not in named) else ""
        metrics = row.metrics if model == row.model else evaluations.get(model, {})
        rows.append(_choice(state, row, model, metrics, busy))
    return Choices(
        rows,
        len(orders) - len(rows),
        _held(state),
        bool(state.pinned or state.promoted) and not busy,
        _asked(state),
        state.asked_result,
    )


def _choice(
    state: ProjectState, row: Version, model: str, metrics: Mapping[str, Any], busy: bool
) -> Choice:
    named = {
        "order served": state.serving,
        "pinned": state.pinned,
        "model serves": state.promoted or state.model,
        "promoted": state.promoted,
    }
    return Choice(
        row.version,
        minute(row.created),
        row.tasks,
        row.model,
        model,
        short_quality(metrics),
        [word for word, version in named.items() if version == row.version],
        not busy and row.version != state.serving,
        not busy and model not in ("", state.promoted),
    )


def _held(state: ProjectState) -> str:
    if state.pinned:
        return f"{state.pinned} is pinned by a rollback: new orders wait until it is unpinned"
    if state.promoted:
        return f"model {state.promoted} is held by promotion until it is unpinned"
    return ""


def _asked(state: ProjectState) -> str:
    """The pending request, in words."""
    if state.asked is None:
        return ""
    words = {"rollback": "roll back to", "promote": "promote", "unpin": "unpin"}
    what = words.get(str(state.asked.get("action")), "")
    version = str(state.asked.get("version") or "")
    return f"The worker was asked to {what} {version}".rstrip()
