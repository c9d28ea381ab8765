"""Label Studio's clock by the Date header of its answers."""

import pytest

from backend.label_studio.clock import StudioClock

NOON = "Mon, 30 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("moment", "before"),
    [
        ("2026-11-30T12:00:00.900000Z", False),  # within the same second
        ("2026-11-30T11:00:00.000000Z", False),
        ("2026-11-30T12:00:03.000000Z", True),
        ("2026-11-30T14:00:03.000000+02:00", True),  # of another zone
        ("", False),
    ],
)
def test_a_clock_is_before_a_stamp_only_if_it_went_back(moment, before):
    clock = StudioClock()
    assert not clock.is_before(moment) and clock.stamp() == ""  # unknown
    clock.read(NOON)
    assert clock.is_before(moment) is before
    assert clock.stamp() == "2026-11-30T12:00:00.000000Z"


@pytest.mark.parametrize("date", [None, "", "yesterday", "Mon, 99 Nov 2026 99:00:00 GMT"])
def test_an_answer_without_a_usable_date_changes_nothing(date):
    clock = StudioClock()
    clock.read(NOON)
    clock.read(date)
    assert clock.stamp() == "2026-11-30T12:00:00.000000Z"
