"""Telling a memory shortage from other errors, on the CPU and on a GPU."""

from __future__ import annotations

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a smaller batch may help: MemoryError, or torch's CPU or GPU allocator failed."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
