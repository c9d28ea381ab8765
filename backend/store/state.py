"""The state of one project, as a frozen record with a field for each fact.

The record is stored as one JSON object in the project's row. A build reads the fields that it
knows, and leaves unknown keys in the row. A newer build thus finds its keys again after an older
build has run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

JsonObject = Mapping[str, Any]


@dataclass(frozen=True)
class ProjectState:
    """The facts of one project. A fact that was never stored has the default given here."""

    # --- the project as last read from Label Studio -----------------------------------------------
    title: str = ""
    """The project's title."""
    label_config: str = ""
    """The labelling config, as XML."""
    scores_only: str = ""
    """Why Label Studio takes no regions for this config, only scores; '' if it takes regions."""

    # --- the connection ---------------------------------------------------------------------------
    backend_urls: Sequence[str] = ()
    """Addresses at which Label Studio has called this backend for the project."""
    candidate_origin: str = ""
    """Label Studio's address from /setup, not used until Label Studio has answered there."""
    backend_id: int | None = None
    """Id of this backend's row on the Model page; None before the project is set up."""
    armed: JsonObject | None = None
    """Values that this backend set in Label Studio: sampling, ids of webhook and tab, address."""
    before: JsonObject | None = None
    """Label Studio's previous values, for `disconnect`."""
    disarming: JsonObject | None = None
    """The value of `armed` when `disconnect` began. With it, an interrupted `disconnect` can be
    completed."""
    disconnected: bool = False
    """Disconnected by a person. Nothing is set in Label Studio until the next connection."""
    restored_version: str = ""
    """The model_version that `disconnect` restored."""
    gone: bool = False
    """Label Studio no longer shows the project to this backend's user."""

    review: JsonObject | None = None
    """The review tab: {"tab": its id, "since": the newest change in Label Studio that was read,
    "annotations": task -> [id, time of the last change] of the suspicious annotation, "confirmed":
    the same for annotations that a person confirmed as correct}."""

    # --- which version serves: see backend.store.serving ------------------------------------------
    serving: str = ""
    """The version that this backend switched the project to; '' before the first order."""
    model: str = ""
    """The version whose checkpoint made the served order; '' before the first model."""
    pinned: str = ""
    """The version that a rollback holds, until `unpin`."""
    promoted: str = ""
    """The model that a person chose to score every round, until `unpin`."""
    switching: JsonObject | None = None
    """The switch that a worker is about to send: {"version": the new order, "token" and "owner": of
    the worker's lease}; None once it is done."""
    late_switches: Sequence[str] = ()
    """Orders to which a worker without the lease may still switch, because it had announced the
    switch. Such a switch is undone once."""
    reorder: bool = False
    """A new order is needed without new labels, after a new connection or a promotion."""

    asked: JsonObject | None = None
    """A person's request on the status page that the worker has not carried out yet:
    {"action": rollback, promote or unpin, "version": its name, "at": seconds since 1970}."""
    asked_result: str = ""
    """The result of the last such request, in words; '' if there was none."""

    # --- labels and the queue ---------------------------------------------------------------------
    changed: int | None = None
    """Labelled tasks that changed since the last training; None before the first count."""
    changed_since: int = 0
    """Number of the training round since which `changed` counts; 0 before the first."""
    unusable: JsonObject | None = None
    """The summary of regions in the changed tasks that the next training cannot use; None before
    the first check."""
    labelled_at: float = 0.0
    """When the value of `changed` last changed, in seconds since 1970."""
    flipped_at: float = 0.0
    """When the served version last changed, in seconds since 1970."""
    clock_back: int = 0
    """Id of the newest round whose watermark was discarded, as Label Studio's clock went back."""
    filled: Mapping[str, int] = field(default_factory=dict)
    """Version -> the rank up to which its predictions have regions, if regions were added later."""
    left_out: Mapping[str, JsonObject] = field(default_factory=dict)
    """Part ("labels", "unlabelled") -> summary of what the last round could not use."""
    seed_mean_instances: float | None = None
    """Mean instances per image of the first training set, for alpha and beta (appendix C)."""

    # --- sentences for people ---------------------------------------------------------------------
    message: str = ""
    """A message for people, such as a refused /setup or a removed backend."""
    waiting_reason: str = ""
    """Why this project waits; '' while the worker handles it."""
    waiting_reasons: Mapping[str, str] = field(default_factory=dict)
    """Thread of the worker -> why the project waits; `waiting_reason` is the first reason."""
    cleaner_waits: Mapping[str, str] = field(default_factory=dict)
    """Job of the cleaner -> why it waits; '' if it does not. Rounds go on meanwhile."""
    changed_by_person: str = ""
    """Changes by a person in Label Studio that keep our order from being served, in words."""
    pages: str = ""
    """A notice that Label Studio answers only smaller pages of tasks; '' if pages are full."""

    @classmethod
    def from_json(cls, values: JsonObject) -> ProjectState:
        """Read a stored object. Unknown keys are left out; null means the default."""
        return cls(**{k: v for k, v in values.items() if k in FIELDS and v is not None})


FIELDS = frozenset(each.name for each in dataclasses.fields(ProjectState))
"""The keys of a stored state that this build knows."""


class ProjectChanges(TypedDict, total=False):
    """New values for fields of `ProjectState`, under the same names; None restores the default."""

    title: str
    label_config: str
    scores_only: str
    backend_urls: Sequence[str]
    candidate_origin: str
    backend_id: int
    armed: JsonObject | None
    before: JsonObject | None
    disarming: JsonObject | None
    disconnected: bool
    restored_version: str
    gone: bool
    review: JsonObject | None
    serving: str
    model: str
    pinned: str
    promoted: str
    switching: JsonObject | None
    late_switches: Sequence[str]
    reorder: bool
    asked: JsonObject | None
    asked_result: str
    changed: int
    changed_since: int
    unusable: JsonObject
    labelled_at: float
    flipped_at: float
    clock_back: int
    filled: Mapping[str, int]
    left_out: Mapping[str, JsonObject]
    seed_mean_instances: float
    message: str
    waiting_reason: str
    waiting_reasons: Mapping[str, str]
    cleaner_waits: Mapping[str, str]
    changed_by_person: str
    pages: str
