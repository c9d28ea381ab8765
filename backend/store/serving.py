"""Decides which order and which model serve. No other module decides this.

The *order* is the version whose predictions Label Studio serves: `model_version` in Label Studio,
`serving` in our state. If they differ, `model_version` counts, because a person may set it in Label
Studio. The *model* is the version whose checkpoint scores the pool. The functions are pure: callers
read our state and Label Studio, and carry out the decision.

The order after a round has published a new one (`why_to_stay`). The first matching row decides:

    | pinned | serving | Label Studio's model_version   | the new order                    |
    |--------|---------|--------------------------------|----------------------------------|
    | set    | any     | any                            | stays out: a rollback holds      |
    | ''     | any     | '', "None", a backend's title  | serves: nobody chose a version   |
    | ''     | any     | the new version itself         | serves: it is there already      |
    | ''     | any     | equal to serving               | serves: nobody changed it        |
    | ''     | ''      | a name of our form             | serves: an earlier installation  |
    | ''     | any     | an older version of ours       | stays out: a person chose that   |
    | ''     | any     | any other                      | stays out: a person chose that   |

The order, if the state changed while Label Studio was switched (`after_switch`):

    | armed | pinned                                  | what serves now               |
    |-------|-----------------------------------------|-------------------------------|
    | no    | any                                     | what `disconnect` restored    |
    | yes   | ''                                      | the new order                 |
    | yes   | set, and served here and there already  | the pinned version, as it is  |
    | yes   | set, and not served yet                 | the pinned version            |

The order after a new connection (`after_connecting`):

    | Label Studio's model_version | our versions it still holds | what serves              |
    |------------------------------|-----------------------------|--------------------------|
    | chosen by a person           | any                         | that version             |
    | '', or a backend's title     | at least one                | the newest of them       |
    | '', or a backend's title     | none                        | none: a new order is due |

A `model_version` without predictions is the title of a removed backend, not a person's choice.

The model (`serving_model`): `promoted` if a person chose one, else `model`, else none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal

from backend.errors import RoundError
from backend.store.database import Store
from backend.store.projects import Project
from backend.store.state import ProjectState
from backend.store.version_names import resolve
from backend.store.versions import Version

OURS = "taudis-"
"""The prefix of our versions' names."""


def serving_model(state: ProjectState) -> str:
    """The version whose checkpoint scores the pool; '' before the first model."""
    return state.promoted or state.model


def served_version(project: Project | None) -> str:
    """The version that /setup and /predict name to Label Studio; '' before the first order.

    It is '' instead of a text such as "not ready", because Label Studio stores the answers to
    /predict under the version that they name, lists every name in its menu of versions, and calls
    /predict for tasks without a prediction under the name from /setup.
    """
    return "" if project is None else project.state.serving


def why_to_stay(
    state: ProjectState,
    current: str,
    wanted: str,
    *,
    titles: Collection[str | None],
    published: Collection[str],
) -> str:
    """Why a new order must not serve, in words; '' if it serves. See the first table.

    Args:
        state: the project's state.
        current: Label Studio's `model_version`.
        wanted: the version of the new order.
        titles: the titles of the project's ML backends. Label Studio writes one of them into
            `model_version` when a backend is connected.
        published: the names of all versions that we ever published.
    """
    if state.pinned:
        return f"pinned to {state.pinned} by a rollback; `unpin` lets the order move on"
    if current in {"", "None", wanted, state.serving} or current in titles:
        return ""
    if not state.serving and current.startswith(OURS):
        return ""
    kind = "an older version of ours" if current in published else "a version that is not ours"
    return (
        f"somebody chose {current!r} ({kind}) in Label Studio's settings, not {state.serving!r};"
        " left alone. Choose ours there, or run `rollback` / `unpin`, to go on."
    )


def after_switch(
    state: ProjectState, current: str
) -> Literal["the new order", "pinned", "disconnected"]:
    """The order that serves after a switch to a new order. See the second table."""
    if not state.armed:
        return "disconnected"
    if not state.pinned or state.serving == state.pinned == current:
        return "the new order"
    return "pinned"


def after_connecting(
    current: str,
    titles: Collection[str | None],
    versions: Sequence[Version],
    held: Mapping[str, int],
) -> Version | Literal["as it is"] | None:
    """The order that serves after a new connection. See the third table.

    Args:
        current: Label Studio's `model_version`.
        titles: the titles of the project's ML backends.
        versions: our versions, newest first.
        held: version -> number of its predictions in Label Studio.
    """
    if current and current not in titles and held.get(current):
        return "as it is"
    return next((row for row in versions if row.tasks and held.get(row.version)), None)


def orders_in_use(state: ProjectState, current: str) -> set[str]:
    """Versions whose predictions serve, or will after a person's change is reverted."""
    return {version for version in (current, state.serving, state.pinned) if version}


def models_in_use(state: ProjectState) -> set[str]:
    """Versions whose checkpoint serves, or will after `unpin`."""
    return {version for version in (state.model, state.promoted) if version}


def stand_ins(store: Store, project: Project, model: str) -> list[str]:
    """`model`, then the models of orders older than the served order, newest first.

    The first readable model serves. Newer orders are left out, because after a rollback a newer
    order is one that a person rejected. Where no model serves, because a rollback holds the first
    order, the models of all orders count: a new model must not be worse than the one that `unpin`
    would serve. [] before the first model.
    """
    serves = model or project.state.model
    orders = older_versions(store, project) if serves else store.versions(project.id)
    names = [model, project.state.model, *(row.model for row in orders)]
    return list(dict.fromkeys(name for name in names if name))


def older_versions(store: Store, project: Project) -> list[Version]:
    """Published orders older than the served one, newest first; all if no order of ours serves."""
    published = [row for row in store.versions(project.id) if row.tasks]
    names = [row.version for row in published]
    serving = project.state.serving
    return published[names.index(serving) + 1 if serving in names else 0 :]


def models_folder(data: Path, project: int) -> Path:
    """The folder of a project's checkpoints, in the data directory `data`."""
    return data / "models" / str(project)


def kept_models(folder: Path) -> list[str]:
    """Versions with a checkpoint in `folder`, a project's folder of models, newest first."""
    names = (path.name for path in folder.iterdir()) if folder.is_dir() else ()
    return sorted((name for name in names if not name.startswith(".")), reverse=True)


def model_of(store: Store, project: int, folder: Path, version: str) -> str:
    """The model of a version: its own checkpoint, else the model that made its order.

    `folder` is the project's folder of models. `version`: a name, or the beginning of one alone.

    Raises:
        RoundError: there is neither, or several versions begin so. The message has the candidates.
    """
    kept = kept_models(folder)
    made = {row.version: row.model for row in store.versions(project)}
    wanted = "a version with a kept model"
    named = resolve(version, {*kept, *made}, wanted)
    found = named if named in kept else made[named]
    if found not in kept:
        why = f"whose model {found} is not kept" if found else "an order that no model made"
        raise RoundError(
            f"Expected {wanted}, got {named}, {why}; there are {', '.join(kept) or 'none yet'}"
            " (`python -m backend versions` lists all versions)."
        )
    return found
