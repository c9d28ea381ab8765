"""Spans of time that outlive a jump of the clock."""

import time

import pytest

from backend.clock import Unchanged, elapsed


def test_a_moment_that_is_still_to_come_is_long_ago():
    assert 9.9 < elapsed(time.time() - 10) < 60
    assert elapsed(time.time() + 3600) == float("inf")


def test_how_long_a_value_is_unchanged(monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    unchanged = Unchanged()
    assert unchanged.seconds("a", 1) == 0
    assert unchanged.seconds("b", 1, at_first=60) == 60
    now = 107.0
    assert [unchanged.seconds(key, 1) for key in "ab"] == [7, 67]
    assert [unchanged.seconds(key, 2, at_first=60) for key in "ab"] == [0, 0]
    now = 108.0
    assert unchanged.seconds("a", 2) == pytest.approx(1)
    now = 208.0
    assert unchanged.seconds("a", 3, at_first=60) == 60  # it may have come just after the last look
    now = 218.0
    assert unchanged.seconds("a", 4, at_first=60) == 10  # it came since the last look
    assert unchanged.seconds("a", 4, at_first=60) == 10
