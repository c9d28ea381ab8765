"""The estimated time left follows a machine that becomes slower."""

from __future__ import annotations

import pytest

from taudis.time_left import TimeLeft


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def estimates(seconds: list[float], *, done: int = 0) -> list[float | None]:
    """The estimate after each unit. `seconds`: how long each unit takes; `done`: units before."""
    clock = Clock()
    left, found, total = TimeLeft(done, clock), [], done + len(seconds)
    for number, each in enumerate(seconds, done + 1):
        clock.now += each
        found.append(left.after(number, total))
    return found


def test_an_even_speed_gives_the_exact_time() -> None:
    found = estimates([2.0] * 100)
    assert found[0] is None
    assert found[1:] == pytest.approx([2.0 * left for left in range(98, -1, -1)])


def test_a_slow_first_unit_does_not_count() -> None:
    found = estimates([600.0] + [2.0] * 9)
    assert found[:3] == [None, 16.0, 14.0]
    assert estimates([600.0]) == [0.0]


@pytest.mark.parametrize(("before", "after"), [(1.0, 5.0), (5.0, 1.0)])
def test_a_change_of_speed_half_way_is_noticed_within_a_minute(before, after) -> None:
    found = estimates([before] * 200 + [after] * 200)
    units = 200 + round(60 / after)  # a minute after the change
    assert found[units] == pytest.approx(after * (399 - units))
    whole = (before * 199 + after * (units - 199)) / units * (399 - units)
    assert found[units] != pytest.approx(whole, rel=0.2)  # the mean since the start is wrong


def test_units_of_more_than_a_minute_count_one_by_one() -> None:
    assert estimates([1.0, 100.0, 300.0, 300.0])[2] == 300.0


def test_a_resumed_job_counts_its_own_units_alone() -> None:
    assert estimates([3.0, 3.0, 3.0], done=50) == [None, 3.0, 0.0]


def test_nothing_done_gives_no_estimate_and_a_pause_the_speed_since_the_start() -> None:
    clock = Clock()
    left = TimeLeft(clock=clock)
    assert left.after(0, 10) is None
    assert left.after(1, 10) is None
    clock.now += 10
    assert left.after(5, 10) == 12.5
    for _ in range(4):
        clock.now += 30
        found = left.after(5, 10)
    assert found == 162.5
