"""Which checkpoint serves, and which stands in for it when it cannot be read: names only.

The web process needs this too, so nothing here imports torch.
"""

from __future__ import annotations

from pathlib import Path

from backend.errors import RoundError
from backend.store.database import Store
from backend.store.projects import Project
from backend.store.versions import Version


def serving_model(project: Project) -> str:
    """The version whose checkpoint scores the pool: promoted by hand, else the one that serves."""
    return str(project.state.get("promoted") or project.state.get("model") or "")


def stand_ins(store: Store, project: Project, model: str) -> list[str]:
    """`model`, then the models of orders older than the served one, newest first.

    Whichever of them can be read first serves. Newer orders are left out: after a rollback, the
    served order is older than one that somebody did not want. [] before the first model.
    """
    older = older_versions(store, project)
    names = [model, str(project.state.get("model") or ""), *(row.model for row in older)]
    return list(dict.fromkeys(name for name in names if name))


def older_versions(store: Store, project: Project) -> list[Version]:
    """Published orders older than the served one, newest first; all where none of ours serves."""
    published = [row for row in store.versions(project.id) if row.tasks]
    names = [row.version for row in published]
    serving = str(project.state.get("serving") or "")
    return published[names.index(serving) + 1 if serving in names else 0 :]


def kept_models(folder: Path) -> list[str]:
    """Versions whose checkpoint is in `folder`, a project's folder of models, newest first."""
    names = (path.name for path in folder.iterdir()) if folder.is_dir() else ()
    return sorted((name for name in names if not name.startswith(".")), reverse=True)


def model_of(store: Store, project: int, folder: Path, version: str) -> str:
    """The model that a version names: its own checkpoint, else the one that made its order.

    `folder` is the project's folder of models.

    Raises:
        RoundError: there is neither, with the names that there are.
    """
    kept = kept_models(folder)
    made = {row.version: row.model for row in store.versions(project)}
    found = version if version in kept else made.get(version, "")
    if found not in kept:
        raise RoundError(
            f"Expected a version with a kept model, got {version!r}; there are"
            f" {', '.join(kept) or 'none yet'} (`python -m backend versions` lists them)."
        )
    return found
