"""A file system that a test fills, empties, and makes read-only.

Where this user may mount, it is a tmpfs, whose size is set to what it holds: so each write of a new
page fails. Elsewhere the size of each file that this process writes is limited to nothing.
"""

import os
import resource
import signal
import subprocess
from contextlib import contextmanager

import pytest

SIZE = 1_500_000_000  # bytes
CAN_MOUNT = os.geteuid() == 0


class SmallDisk:
    """A context manager. `kind` says which it is: tmpfs or limit."""

    def __init__(self, folder):
        self.folder, self._limit = folder, resource.getrlimit(resource.RLIMIT_FSIZE)
        self.kind = "limit"

    def __enter__(self):
        self.folder.mkdir(parents=True)
        if CAN_MOUNT and self._mount("-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs"):
            self.kind = "tmpfs"
        return self

    def __exit__(self, *_):
        if self.kind == "tmpfs":
            subprocess.run(["umount", "--lazy", self.folder], check=True)
        else:
            self.free()

    def _mount(self, *options):
        try:
            return subprocess.run(["mount", *options, self.folder], check=False).returncode == 0
        except FileNotFoundError:  # a system without the program
            return False

    def _takes_a_file(self):
        trial = self.folder / "trial"
        try:
            trial.touch()
        except OSError:
            return False
        trial.unlink()
        return True

    def fill(self):
        """From now on nothing more can be written."""
        if self.kind == "tmpfs":
            found = os.statvfs(self.folder)
            used = (found.f_blocks - found.f_bfree) * found.f_frsize
            assert self._mount("-o", f"remount,size={used}")
        else:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, self._limit[1]))

    def free(self):
        """Now there is space again."""
        if self.kind == "tmpfs":
            assert self._mount("-o", f"remount,size={SIZE}")
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, self._limit)

    @contextmanager
    def read_only(self):
        """Nothing can be written within the block. No file may be open for writing.

        The test is skipped where that cannot be had: rights do not bind root.
        """
        if self.kind == "tmpfs":
            assert self._mount("-o", "remount,ro")
        else:
            self.folder.chmod(0o555)
        try:
            if self._takes_a_file():
                pytest.skip("root may write into a read-only directory, and may not mount here")
            yield
        finally:
            if self.kind == "tmpfs":
                assert self._mount("-o", "remount,rw")
            else:
                self.folder.chmod(0o755)
