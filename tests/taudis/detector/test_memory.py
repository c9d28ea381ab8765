"""The heap of a process that reads many images."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

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
