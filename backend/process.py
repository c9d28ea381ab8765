"""Limits the memory and lowers the priority of a process that works for minutes.

The worker and the prediction process call `limit_memory` when they start.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from backend.settings import set_for_libraries
from taudis.detector.memory import keep_heap_small

PREDICT_BYTES = 1_800_000_000
"""The maximum memory of scoring a pool, or of predicting on the spot, with the small model and
images of up to 4,000 x 3,000 px. 0.8 GB of it is PyTorch. `tests/benchmarks/test_memory.py` tests
this limit."""
TRAINING_KERNELS, PREDICTING_KERNELS = 192, 96
"""Number of compiled kernels that oneDNN keeps, one for each input shape (default: 1,024).

After 300 images, 96 kernels took 130 MB less than 512. Compared with 512 kernels, a training step
is up to a tenth slower with 96 and equally fast with 192. Predicting is equally fast with 96."""


AUTOGROUP = Path("/proc/self/autogroup")
"""The niceness of this process's session, where Linux groups processes by session."""


def lower_priority(nice: int) -> None:
    """Give way to other processes. nice: 0 to 19, added to the niceness of this process.

    Where Linux groups processes by session, niceness counts only within a session, and each session
    has a niceness of its own (sched(7), "The autogroup feature"). `serve` starts the worker in a
    new session, so that session gets the niceness, too. The session of a terminal keeps its own.
    """
    os.nice(nice)
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):  # no such feature, or a limit on changes
            AUTOGROUP.write_text(str(nice), encoding="ascii")


def limit_memory(*, training: bool) -> None:
    """Keep few kernels, and return freed memory to the system. Call it before the first image.

    `training` says whether the process also trains.
    """
    kernels = TRAINING_KERNELS if training else PREDICTING_KERNELS
    set_for_libraries("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(kernels))
    keep_heap_small()
