"""What the backend knows of one project, as a frozen record with a field for each fact.

The record is stored as one JSON object in the row of the project. A reader takes the fields that it
knows. Keys that it does not know stay in the row as they are, so that a newer build finds them
again after an older one has run.
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

    # --- the project as Label Studio showed it last -----------------------------------------------
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
    """Label Studio's address as /setup gave it; it counts once Label Studio has answered there."""
    backend_id: int | None = None
    """Id of this backend's row on the Model page; None before the project was set up."""
    armed: JsonObject | None = None
    """What this backend has set in Label Studio: sampling, ids of webhook and tab, its address."""
    before: JsonObject | None = None
    """What Label Studio had in these places before, for `disconnect`."""
    disarming: JsonObject | None = None
    """The value of `armed` when `disconnect` began; it lets a `disconnect` that was killed, or that
    Label Studio did not answer, go on."""
    disconnected: bool = False
    """Disconnected by a person. Nothing is set in Label Studio until it is connected anew."""
    restored_version: str = ""
    """The model_version that `disconnect` put back."""
    gone: bool = False
    """Label Studio does not show the project to this backend's user any more."""

    review: JsonObject | None = None
    """What the tab of the review lists: {"tab": its id, "since": the newest change in Label Studio
    that it knows of, "annotations": task -> [id, time of the last change] of the annotation that
    was found suspicious, "confirmed": the same of those that a person found right}."""

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
    """The switch that a worker is about to send: {"version": its order, "token" and "owner": of the
    worker's lease}; None once it is done."""
    late_switches: Sequence[str] = ()
    """Orders to which a worker that lost its lease may still switch, because it had sent the switch
    or was about to. Such a switch is undone once."""
    reorder: bool = False
    """A new order is wanted without new labels: connected anew, or promoted."""

    asked: JsonObject | None = None
    """What a person asked for on the status page and the worker has not done yet:
    {"action": rollback, promote or unpin, "version": its name, "at": seconds since 1970}."""
    asked_result: str = ""
    """What became of the last such request, in words; '' where none was made."""

    # --- labels and the queue ---------------------------------------------------------------------
    changed: int | None = None
    """Labelled tasks that changed since the last training; None before the first count."""
    changed_since: int = 0
    """Number of the round of the training since which `changed` counts; 0 before the first."""
    unusable: JsonObject | None = None
    """The summary of regions in the changed tasks that the next training cannot use; None before
    the first look."""
    labelled_at: float = 0.0
    """When `changed` last changed, in seconds since 1970."""
    flipped_at: float = 0.0
    """When the served version last changed, in seconds since 1970."""
    clock_back: int = 0
    """Id of the newest round whose watermark may be later than Label Studio's clock was since."""
    filled: Mapping[str, int] = field(default_factory=dict)
    """Version -> the rank up to which its predictions have regions, where some were added since."""
    left_out: Mapping[str, JsonObject] = field(default_factory=dict)
    """Part (labels, unlabelled) -> the summary of what the last round could not use."""
    seed_mean_instances: float | None = None
    """Mean instances an image of the first training set, for alpha and beta (appendix C)."""

    # --- sentences for people ---------------------------------------------------------------------
    message: str = ""
    """What people should know: a refused /setup, a removed backend."""
    waiting_reason: str = ""
    """Why the worker waits with this project; '' while it works."""
    waiting_reasons: Mapping[str, str] = field(default_factory=dict)
    """Thread of the worker -> why it waits; `waiting_reason` is the first of them."""
    changed_by_person: str = ""
    """What somebody changed in Label Studio so that our order is not served."""
    pages: str = ""
    """That Label Studio answers only smaller pages of tasks; '' if it answers whole ones."""

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
    changed_by_person: str
    pages: str
