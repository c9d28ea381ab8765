"""When the simulated annotators have no task left."""

import pytest

from demo.annotator import Annotator
from demo.annotators import Annotators
from demo.records import Done


def annotator(name, *, found_none, skips=()):
    """An annotator who has skipped tasks, given as times of Label Studio's answers."""
    made = Annotator("http://127.0.0.1:9", "token", 1, None, name)
    made.found_none = found_none
    made._done = [Done(name, task, at - 1, at, True) for task, at in enumerate(skips)]
    return made


@pytest.mark.parametrize(
    ("first", "second", "idle"),
    [
        (11.0, 12.0, True),
        (11.0, None, False),  # the second one labels
        (9.0, 12.0, False),  # the skip at 10 set a task free after the first one's last request
    ],
)
def test_a_request_before_a_skip_proves_nothing(first, second, idle):
    members = annotator("ann", found_none=first), annotator("ben", found_none=second, skips=[10.0])
    assert Annotators(members).idle is idle


def test_annotators_who_have_not_asked_are_not_idle():
    assert not Annotators([annotator("ann", found_none=None)]).idle
