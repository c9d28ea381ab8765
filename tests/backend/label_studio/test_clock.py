"""Label Studio's clock by the Date header of its answers."""

from email.utils import formatdate

import pytest

from backend.label_studio.clock import JumpsBack, StudioClock, shared_jumps

NOON = "Mon, 30 Nov 2026 12:00:00 GMT"
LATEST = "Fri, 31 Dec 9999 23:59:59 GMT"


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
    clock.read(NOON, 0)
    assert clock.is_before(moment) is before
    assert clock.stamp() == "2026-11-30T12:00:00.000000Z"


BROKEN = {
    "none": None,
    "empty": "",
    "words": "yesterday",
    "no such moment": "Mon, 99 Nov 2026 99:00:00 GMT",
    "year of 20 digits": "Mon, 30 Nov 20262026202620262026 12:00:00 GMT",
    "offset of a month": "Mon, 30 Nov 2026 12:00:00 +99999",
    "offset of 20 digits": "Mon, 30 Nov 2026 12:00:00 +20262026202620262026",
    "after the last year": LATEST.replace("GMT", "-0100"),
}


@pytest.mark.parametrize("date", BROKEN.values(), ids=BROKEN)
def test_an_answer_without_a_usable_date_changes_nothing(date):
    clock = StudioClock()
    clock.read(NOON, 0)
    clock.read(date, 0)
    assert clock.stamp() == "2026-11-30T12:00:00.000000Z"


def test_a_clock_at_the_end_of_time_can_be_compared():
    clock = StudioClock()
    clock.read(LATEST, 0)
    assert clock.stamp() == "9999-12-31T23:59:59.000000Z"
    assert not clock.is_before("9999-12-31T23:59:59.900000Z")
    assert not clock.is_before("2026-11-30T12:00:00.000000Z")
    clock.read(NOON, 0)
    assert clock.is_before("9999-12-31T23:59:59.900000Z")


class Answers:
    """A clock's answers: at `second` of the monotonic clock, `late` seconds after the request."""

    def __init__(self, monkeypatch):
        self.clock, self.second = StudioClock(), 0.0
        monkeypatch.setattr("time.monotonic", lambda: self.second)

    def jumps(self, second, ahead, late=0.0, written=None):
        """How many jumps are known after the answer of a clock that is `ahead` seconds ahead."""
        self.second = second
        moment = (second if written is None else written) + ahead
        self.clock.read(formatdate(moment, usegmt=True), second - late)
        return self.clock.jumps.count


@pytest.fixture
def answers(monkeypatch):
    return Answers(monkeypatch)


def test_a_jump_back_is_noticed_after_the_clock_has_passed_the_old_time_again(answers):
    assert answers.jumps(1000, ahead=5000) == 0
    before = answers.clock.stamp()
    assert answers.jumps(9000, ahead=1400) == 1
    assert answers.clock.stamp() > before  # so no comparison of two stamps shows it
    assert answers.jumps(9010, ahead=1400) == 1
    assert answers.jumps(9020, ahead=5000) == 1  # forward
    assert answers.jumps(9030, ahead=4990) == 2


def test_slow_answers_and_whole_seconds_are_no_jumps(answers):
    for second in range(1000, 1010):
        assert answers.jumps(second + second % 7 / 7, ahead=5000.9) == 0
    assert answers.jumps(1100, ahead=5000, late=60, written=1041) == 0
    assert answers.jumps(1101, ahead=5000) == 0
    assert answers.jumps(1102, ahead=4990, late=60) == 0  # it may have been written earlier
    assert answers.jumps(1103, ahead=4990) == 1


def test_the_jumps_of_one_address_are_shared():
    assert shared_jumps("http://a.example/") is shared_jumps("http://a.example")
    assert isinstance(shared_jumps("http://a.example"), JumpsBack)
    assert shared_jumps("http://b.example") is not shared_jumps("http://a.example")
