"""Telling a memory shortage from other errors, and keeping a process's size steady."""

from __future__ import annotations

import ctypes
from typing import Any

import torch

LARGE_BLOCK = 8_000_000
"""Bytes from which a freed block goes back to the system at once: an image of 2.7 Mpx."""
FREE_BLOCKS = 64_000_000
"""Bytes of smaller free blocks that may stay; with none, a training step takes 10 % longer."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # mallopt's, from glibc's malloc.h


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a smaller batch may help: MemoryError, or torch's CPU or GPU allocator failed."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def keep_heap_small() -> bool:
    """Let freed images leave the process; for the start of one that reads many, before its threads.

    glibc's own limit follows the blocks that were freed, up to 32 MB: below it, images of mixed
    sizes leave holes in the heap that are never given back (300 MB after 120 images). Threads
    share one heap: with one each, memory after 1,000 images was 110 to 210 MB more, and differed
    from run to run. Returns whether the C library has such limits; others are left as they are.
    """
    mallopt = _of_the_c_library("mallopt")
    if mallopt is None:
        return False
    wanted = (_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, LARGE_BLOCK), (_M_TRIM_THRESHOLD, FREE_BLOCKS)
    return all(mallopt(what, value) for what, value in wanted)


def give_back_free_pages() -> bool:
    """Return what the heap holds free to the system, also between blocks that are in use.

    Small blocks that stay, compiled kernels above all, lie among those of images that went; glibc
    itself gives back no more than the heap's end. Returns whether the C library can.
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
