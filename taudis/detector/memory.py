"""Detects out-of-memory errors, and returns freed memory to the operating system."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

import torch

LARGE_BLOCK = 16_000_000
"""A freed block of at least so many bytes returns to the system at once: an image of 5.3 Mpx."""
FREE_BLOCKS = 64_000_000
"""So many bytes of smaller free blocks stay; with none, a training step takes 10 % longer."""
_OF_OTHERS = (
    "can't allocate memory",  # torch's CPU allocator
    "Cannot allocate memory",  # ENOMEM, as where a file of weights is mapped
    "Insufficient memory",  # OpenCV
    "can't start new thread",  # Python: no room for its stack
    "CUDA error: out of memory",  # the card's driver, beside torch's allocator: pinned pages too
    "CUBLAS_STATUS_ALLOC_FAILED",  # libraries of the card, which allocate for themselves
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
)
GROWTH = 64_000_000
"""Bytes by which a process may grow before its free memory is returned to the system."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # mallopt's, from glibc's malloc.h


def is_out_of_memory(error: BaseException) -> bool:
    """Whether less memory may help: MemoryError, or an allocator of torch, OpenCV, the system or
    the card failed.
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error) for words in _OF_OTHERS)


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


class FreePages:
    """Returns free memory to the system when the process has grown, and not more often.

    The system fills a page with zeros before a process gets it back. At 512 x 384 px this took 5
    of 36 ms an image where free memory was returned every 16 images.
    """

    def __init__(self) -> None:
        self.usual: int | None = None

    def give_back_if_grown(self) -> bool:
        """Call it at equal intervals, such as every 16 images. Returns whether memory was returned.

        The first call, and the first one after memory was returned, take the resident size as the
        usual one. Memory is returned once the size is above it by GROWTH, and at each call where
        the system does not tell the size.
        """
        size = resident_bytes()
        if size is None:
            return give_back_free_pages()
        if self.usual is None:
            self.usual = size
        if size <= self.usual + GROWTH:
            return False
        self.usual = None
        return give_back_free_pages()


def resident_bytes() -> int | None:
    """The resident size of this process; None where there is no /proc, as outside Linux."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _of_the_c_library(name: str) -> Any:
    """A function of the C library; None where it has none of that name, as outside glibc."""
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except OSError:
        return None
