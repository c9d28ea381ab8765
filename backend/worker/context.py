"""The context of a round: settings, store, lease, one project, its client and its files."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from backend.errors import RoundError, SettingsError
from backend.images.source import ImageSource, image_source
from backend.label_studio.client import Studio
from backend.label_studio.clock import shared_jumps
from backend.label_studio.listings import shared_sizes
from backend.settings import Settings
from backend.store.database import Store
from backend.store.lease import Lease
from backend.store.projects import Project
from backend.store.rounds import Round
from backend.store.secrets import token_for
from backend.store.serving import models_folder
from taudis import files

ADDRESS_HINT = "Set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY for the backend and restart it."


@dataclass(frozen=True)
class RoundContext:
    """The context of one project's round. Client and image source are created on first use."""

    settings: Settings
    store: Store
    lease: Lease
    project_id: int
    patience: float = 90.0  # seconds for one call to Label Studio, including retries
    switching: threading.Lock = field(default_factory=threading.Lock)
    """Held while a thread of the worker compares the served version with the store and switches
    it."""

    def load_project(self) -> Project:
        """Read the project's row from the store, as it is now.

        Raises RoundError if the store has no such project.
        """
        found = self.store.project(self.project_id)
        if found is None:
            raise RoundError(
                f"Project {self.project_id} is not connected to this backend (any more)."
            )
        return found

    @cached_property
    def studio(self) -> Studio:
        """A client for the Label Studio of this project.

        Raises:
            SettingsError: the address or the token is unknown; the message names the setting.
        """
        known = self.store.project(self.project_id)
        url = self.settings.label_studio_url or (origin_seen(known) if known else "")
        token = token_for(self.settings, self.project_id)
        if not url:
            raise SettingsError(f"Label Studio's address is not known. {ADDRESS_HINT}")
        if not token:
            raise SettingsError(
                "Label Studio sent no access token (legacy tokens are off there, the default since"
                f" 1.20). {ADDRESS_HINT}"
            )
        studio = Studio(
            url, token, patience=self.patience, pages=shared_sizes(url), guard=self.check_lease
        )
        studio.clock.jumps = shared_jumps(studio.url)
        return studio

    def check_lease(self) -> None:
        """Raise LeaseLost if another worker took over. This worker must then change nothing."""
        self.store.check(self.lease)

    @cached_property
    def images(self) -> ImageSource:
        """Loads the images of this project's tasks."""
        return image_source(self.settings, self.studio.url, self.studio.auth_headers)

    # --- files ------------------------------------------------------------------------------

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.settings.model_dir

    def round_dir(self, round_: Round) -> Path:
        """Working files of a round: snapshot, pool, training state."""
        folder = self.data / "rounds" / str(self.project_id) / f"{round_.number:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def model_dir(self, version: str) -> Path:
        """The checkpoint folder of a version."""
        return models_folder(self.data, self.project_id) / version

    @property
    def imagenet_dir(self) -> Path:
        """The folder of the converted ImageNet weights, shared by all projects."""
        return self.data / "weights" / "imagenet"


def origin_seen(project: Project) -> str:
    """The address of a project's Label Studio, confirmed or not; '' while it is unknown."""
    return project.origin or project.state.candidate_origin


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, value, private=True)


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def remove(path: Path) -> None:
    """Remove a file or a folder with its contents, if it exists.

    Inside `files.guarded`, raises LeaseLost if another worker took over.
    """
    files.check_guard()
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def version_name(round_: Round, attempt: int = 1) -> str:
    """A new version name: the round's number, its start in hex seconds, the publish attempt.

    The start keeps names unique when a new data directory is used for an old project.
    """
    name = f"taudis-{round_.number:04d}-{int(round_.started):x}"
    return name if attempt == 1 else f"{name}-{attempt}"
