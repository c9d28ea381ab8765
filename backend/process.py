"""How a process that reads many images of mixed sizes keeps its own size."""

from __future__ import annotations

from backend.settings import set_for_libraries
from taudis.detector.memory import keep_heap_small

PREDICT_BYTES = 1_800_000_000
"""Most memory that scoring a pool, or predicting on the spot, takes with the small model and images
of up to 4,000 x 3,000 px; 0.8 GB of it is PyTorch. `tests/benchmarks/test_memory.py` holds it."""
TRAINING_KERNELS, PREDICTING_KERNELS = 192, 96
"""oneDNN keeps this many compiled kernels (its default: 1024), one for each shape that it has met:
after 300 images 96 of them took 130 MB less than 512. A training step is up to a tenth slower with
96 and as fast with 192 as with 512; predicting is as fast with 96."""


def keep_memory_steady(*, training: bool) -> None:
    """Call at the start of the process, before the first image; `training`: it trains, too."""
    kernels = TRAINING_KERNELS if training else PREDICTING_KERNELS
    set_for_libraries("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(kernels))
    keep_heap_small()
