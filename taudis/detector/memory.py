"""Detects out-of-memory errors, and returns freed memory to the operating system."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

import torch

LARGE_BLOCK = 16_000_000
"""Freed blocks of at least this many bytes return to the system at once: images of 5.3 Mpx."""
FREE_BLOCKS = 64_000_000
"""Bytes of smaller free blocks that are kept; with none, a training step takes 10 % longer."""
_OF_OTHERS = (
    "can't allocate memory",  # torch's CPU allocator
    "Cannot allocate memory",  # ENOMEM, for example when a weights file is mapped
    "Insufficient memory",  # OpenCV
    "can't start new thread",  # Python: no memory for the thread's stack
    "CUDA error: out of memory",  # the GPU driver, also for pinned memory
    "CUBLAS_STATUS_ALLOC_FAILED",  # GPU libraries that do not use torch's allocator
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
)
GROWTH = 64_000_000
"""Bytes by which a process may grow before its free memory is returned to the system."""
# Parameters of mallopt, from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: in Python, torch, OpenCV, the system or on the GPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error) for words in _OF_OTHERS)


def keep_heap_small() -> bool:
    """Make glibc return freed images to the system. Call this before the process starts threads.

    By default, glibc returns a freed block at once only above a limit that grows with the sizes of
    freed blocks, up to 32 MB. Images of mixed sizes below the limit leave holes in the heap that
    are never returned (300 MB after 120 images). Here the limit is fixed, and all threads share one
    heap. With a heap per thread, memory after 1,000 images was 110 to 210 MB larger and varied from
    run to run. Returns whether the C library has these settings; if not, nothing changes.
    """
    mallopt = _of_the_c_library("mallopt")
    if mallopt is None:
        return False
    wanted = (_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, LARGE_BLOCK), (_M_TRIM_THRESHOLD, FREE_BLOCKS)
    return all(mallopt(what, value) for what, value in wanted)


def give_back_free_pages() -> bool:
    """Return free memory of the heap to the system, also from between blocks in use.

    Small blocks in use, mostly compiled kernels, lie between freed images. By itself, glibc returns
    only the end of the heap. Returns whether the C library supports this.
    """
    trim = _of_the_c_library("malloc_trim")
    if trim is None:
        return False
    trim(0)
    return True


class FreePages:
    """Returns free memory to the system, but only when the process has grown.

    The system fills a page with zeros when the process needs it again. At 512 x 384 px this took 5
    of 36 ms per image when free memory was returned every 16 images.
    """

    def __init__(self) -> None:
        self.usual: int | None = None

    def give_back_if_grown(self) -> bool:
        """Call this regularly, such as every 16 images. Returns whether memory was returned.

        The first call, and the first call after memory was returned, record the resident size.
        Memory is returned when the size has grown by more than GROWTH since then, and in every call
        if the resident size is unknown.
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
    """The resident size of this process; None without /proc, that is outside Linux."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _of_the_c_library(name: str) -> Any:
    """A function of the C library; None if it does not have it (it is not glibc)."""
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except OSError:
        return None
