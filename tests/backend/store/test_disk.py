"""Which errors mean that the disk takes no write."""

import errno
import os

import pytest

from backend.errors import DiskRefused
from backend.store.disk import refusal, refusals


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG])
def test_an_error_of_writes_alone_always_counts(tmp_path, number):
    assert refusal(OSError(number, "..."), tmp_path) == os.strerror(number)


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.EPERM])
def test_an_error_that_reads_meet_too_counts_where_nothing_can_be_written(tmp_path, number):
    for error in (OSError(number, "..."), ValueError(f"I/O error: (os error {number})")):
        assert refusal(error, tmp_path) == ""
        assert refusal(error, tmp_path / "none") == os.strerror(number)
        with pytest.raises(type(error)), refusals(tmp_path):
            raise error
    assert list(tmp_path.iterdir()) == []  # the trial file is gone


def test_the_reason_names_the_directory(tmp_path):
    full = OSError(errno.ENOSPC, "...")
    with pytest.raises(DiskRefused, match="No space left") as error, refusals(tmp_path):
        raise full
    assert str(tmp_path) in str(error.value) and error.value.__cause__ is full
