"""The command `disconnect`: what it restored, and what it leaves in Label Studio, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def in_words(project: int, restored: Mapping[str, Any]) -> str:
    """What a disconnection did, what stays in Label Studio, and how a person removes it.

    restored: the values of the project's fields, as `worker.connection.disarm` returns them.
    """
    version = str(restored.get("model_version") or "")
    serves = f"serves the version {version}" if version else "serves no version of predictions"
    sampling = restored.get("sampling") or "not set"
    return (
        f"Project {project} is disconnected. Its task sampling is {sampling} and it {serves}, as"
        " before. This backend's webhook and tabs are removed. Label Studio keeps the labels, the"
        " predictions named taudis-… and the backend's row. No command here removes these"
        " predictions: tick all tasks in the Data Manager, then Actions > Delete Predictions. This"
        " also deletes those of other backends. Remove the row in Settings > Model."
    )
