"""The two messages between the web process and the prediction process: a job and its result.

The web process sends a Job over a pipe (`backend.web.predictor`). The prediction process answers
with PredictedRegions (`backend.web.predictor_process`). Both modules import this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.store.predictions import Region


@dataclass(frozen=True)
class Job:
    """One task to predict. It is sent over a pipe, so its token appears in no command line."""

    project: int
    task: int  # task id, by which Label Studio resolves cloud addresses; 0 for a task without id
    checkpoint: Path
    label_config: str
    data: Mapping[str, Any]  # the task's data
    studio_url: str
    token: str
    stand_ins: tuple[Path, ...] = ()  # replacements, in this order, for an unreadable `checkpoint`

    def __repr__(self) -> str:
        name = self.checkpoint.name
        return f"Job(project={self.project}, task={self.task}, checkpoint={name!r})"


@dataclass(frozen=True)
class PredictedRegions:
    """The regions of one task, or the reason why there are none (`problem`, else '').

    `lasting`: a retry cannot help, because the task names no image.
    """

    regions: list[Region]
    problem: str = ""
    lasting: bool = False
