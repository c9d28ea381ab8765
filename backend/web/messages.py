"""The two messages between the web process and the prediction process: a job, and its outcome.

The web process sends a Job over a pipe (backend.web.predictor). The prediction process sends back
PredictedRegions (backend.web.predictor_process). This file imports neither of the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.store.predictions import Region


@dataclass(frozen=True)
class Job:
    """One task to predict. It travels over a pipe, so its token is in no command line."""

    project: int
    task: int  # its id, by which Label Studio resolves cloud addresses; 0 for one without
    checkpoint: Path
    label_config: str
    data: Mapping[str, Any]  # the task's data
    studio_url: str
    token: str
    stand_ins: tuple[Path, ...] = ()  # checkpoints to take, in this order, if it cannot be read

    def __repr__(self) -> str:
        name = self.checkpoint.name
        return f"Job(project={self.project}, task={self.task}, checkpoint={name!r})"


@dataclass(frozen=True)
class PredictedRegions:
    """The regions of one task, or the reason why there are none (`problem`, else '').

    `lasting`: no later try can give regions, because the task names no image.
    """

    regions: list[Region]
    problem: str = ""
    lasting: bool = False
