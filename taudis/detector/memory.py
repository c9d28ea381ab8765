"""Detects out-of-memory errors, and returns freed memory to the operating system."""

from __future__ import annotations

import ctypes
from typing import Any

import torch

LARGE_BLOCK = 8_000_000
"""A freed block of at least so many bytes returns to the system at once: an image of 2.7 Mpx."""
FREE_BLOCKS = 64_000_000
"""So many bytes of smaller free blocks stay; with none, a training step takes 10 % longer."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # mallopt's, from glibc's malloc.h


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a smaller batch may help: MemoryError, or torch's CPU or GPU allocator failed."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def keep_heap_small() -> bool:
    """Return freed images to the system. Call it at the start of a process, before its threads.

    glibc raises its own limit with the size of freed blocks, up to 32 MB. Below the limit, images
    of mixed sizes leave holes in the heap that are never returned (300 MB after 120 images).
    Threads share one heap: with one each, memory after 1,000 images was 110 to 210 MB more, and
    differed from run to run. Returns whether the C library has such
    limits; others are left as they are.
    """
    mallopt = _of_the_c_library("mallopt")
    if mallopt is None:
        return False
    wanted = (_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, LARGE_BLOCK), (_M_TRIM_THRESHOLD, FREE_BLOCKS)
    return all(mallopt(what, value) for what, value in wanted)


def give_back_free_pages() -> bool:
    """Return free memory of the heap to the system, also between blocks that are in use.

    Small blocks in use (mostly compiled kernels) lie between freed images; glibc itself returns
    only the end of the heap. Returns whether the C library can.
    """
    trim = _of_the_c_library("malloc_trim")
    if trim is None:
        return False
    trim(0)
    return True


def _of_the_c_library(name: str) -> Any:
    """A function of the C library; None where it has none of that name, as outside glibc."""
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except OSError:
        return None
