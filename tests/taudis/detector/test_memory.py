"""The heap of a process that reads many images."""

from __future__ import annotations

import mmap
import platform
import subprocess
import sys

import pytest
import torch

from taudis.detector import memory

PROGRAM = """
import ctypes, sys, threading
if "keep" in sys.argv:
    from taudis.detector.memory import keep_heap_small
    assert keep_heap_small()
meet = threading.Barrier(6)
def work():
    held = [bytearray(50_000) for _ in range(20)]
    meet.wait()
threads = [threading.Thread(target=work) for _ in range(6)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
ctypes.CDLL(None).malloc_stats()
"""


@pytest.mark.slow
# Heaps of threads, and `malloc_stats` to count them, are glibc's alone: elsewhere nothing is set.
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has other heaps")
def test_threads_share_one_heap():
    def heaps(*arguments):
        command = [sys.executable, "-c", PROGRAM, *arguments]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stderr.count("Arena ")

    assert heaps() > 1  # what glibc does by itself
    assert heaps("keep") == 1


def test_memory_is_returned_when_the_process_has_grown(monkeypatch):
    sizes = iter([500, 400, 564, 565, 300, 360, 365, None])
    returned = []
    monkeypatch.setattr(memory, "GROWTH", 64)
    monkeypatch.setattr(memory, "resident_bytes", lambda: next(sizes))
    monkeypatch.setattr(memory, "give_back_free_pages", lambda: returned.append(1) is None)
    pages = memory.FreePages()
    outcomes = [pages.give_back_if_grown() for _ in range(8)]
    # 565 is above 500 by more than 64; 365 above 300; the last size is not known.
    assert outcomes == [False, False, False, True, False, False, True, True]
    assert len(returned) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="the size is read from Linux's /proc")
def test_the_resident_size_grows_with_what_is_held():
    before = memory.resident_bytes()
    with mmap.mmap(-1, 50_000_000) as held:  # new pages: an allocation may reuse freed ones
        held.write(b"x" * len(held))
        assert memory.resident_bytes() - before > 0.8 * len(held)


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."), True),
        (torch.AcceleratorError("CUDA error: out of memory\nCompile with", 2), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (MemoryError(), True),
        (RuntimeError("another error"), False),
    ],
    ids=str,
)
def test_memory_that_is_short_on_a_card_is_known(error, short):
    assert memory.is_out_of_memory(error) == short
