"""How a process that reads many images of mixed sizes keeps its own size."""

from __future__ import annotations

from backend.settings import set_for_libraries
from taudis.memory import give_back_large_blocks

PREDICT_BYTES = 1_800_000_000
"""Most memory that scoring a pool, or predicting on the spot, takes with the small model and images
of up to 4,000 x 3,000 px; 0.8 GB of it is PyTorch. `tests/benchmarks/test_memory.py` holds it."""
KEPT_KERNELS = "512"
"""oneDNN keeps this many compiled kernels (its default: 1024), one for each shape that it has met.
A training step uses fewer than 256; each size of picture and number of detections adds some."""


def keep_memory_steady() -> None:
    """Call at the start of the process, before the first image."""
    set_for_libraries("ONEDNN_PRIMITIVE_CACHE_CAPACITY", KEPT_KERNELS)
    give_back_large_blocks()
