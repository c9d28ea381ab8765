"""Random schedules from a seed, and the shortest part of one that still fails."""

import contextlib
import itertools
import random
import shutil
import traceback

import pytest

from demo.records import Violation
from tests.backend.local_loop import LocalLoop
from tests.faults.driver import Driver, Event

OUTSIDE = {
    "label": 8, "skip": 1, "ask": 2, "edit": 2, "delete": 1, "again": 1, "drop": 1, "import": 2,
    "train": 3, "lost": 1, "doubled": 1, "held": 1, "delivered": 2, "rollback": 1, "unpin": 1,
    "jump": 1, "turn": 12,
}  # fmt: skip
"""Event -> how often it comes between the worker's turns."""
INSIDE = {
    "label": 6, "skip": 1, "ask": 2, "edit": 2, "delete": 1, "again": 1, "drop": 1, "import": 1,
    "train": 1, "rollback": 1, "unpin": 1, "refused": 2, "unanswered": 2, "kill": 4, "sleep": 3,
    "jump": 1,
}  # fmt: skip
"""The same within a turn."""
POINTS = 150
"""A turn with a round has about as many points."""


def random_events(seed, length, inside=INSIDE, outside=OUTSIDE):
    """The schedule of a seed."""
    dice = random.Random(seed)

    def one(weights):
        (name,) = dice.choices(list(weights), list(weights.values()))
        return Event(name, dice.randrange(100))

    def event():
        made = one(outside)
        if made.name != "turn":
            return made
        points = sorted(dice.sample(range(1, POINTS), dice.randrange(4))) if inside else []
        return Event("turn", 0, tuple((point, one(inside)) for point in points))

    return [event() for _ in range(length)]


class Schedules:
    """Runs schedules, each on a fresh Label Studio and data directory.

    Args:
        folder: for the data directories.
        model: a checkpoint of an untrained detector.
        breaks: called with a MonkeyPatch before each run: breaks the backend on purpose.
        how: arguments of `Driver`.
    """

    def __init__(self, folder, model, *, breaks=None, settings=None, **how):
        self.folder, self.model, self.breaks, self.how = folder, model, breaks, how
        self.settings = settings or {}
        self._numbers = itertools.count(1)

    @contextlib.contextmanager
    def driver(self):
        """A driver on a fresh Label Studio."""
        data = self.folder / f"run-{next(self._numbers)}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("backend.label_studio.repetition.FIRST_PAUSE", 0.01)
            if self.breaks:
                self.breaks(patch)
            with LocalLoop(data, self.model, **self.settings) as loop:
                yield Driver(loop, patch, **self.how)
        shutil.rmtree(data)

    def finished(self, driver):
        """Called with the driver of a run that went well, before it ends."""

    def violations(self, events):
        """What the history of a schedule breaks; an error of the run counts, too."""
        with self.driver() as driver:
            try:
                found = driver.run(events).violations()
                self.finished(driver)
                return found
            except Exception as error:  # noqa: BLE001  # shrunk and printed as other findings
                lines = traceback.format_exception(error)
                return [Violation(f"error {type(error).__name__}", "".join(lines))]

    def shrunk(self, events, name):
        """The events that are needed for a violation of this name: dropped one by one."""
        events = list(events)

        def fails(shorter):
            return any(each.name == name for each in self.violations(shorter))

        while True:
            for shorter in _shorter(events):
                if fails(shorter):
                    events = shorter
                    break
            else:
                return events

    def report(self, seed, events):
        """Empty for a good history; else what a schedule breaks, and its shortest part."""
        found = self.violations(events)
        if not found:
            return ""
        shortest = self.shrunk(events, found[0].name)
        again = self.violations(shortest) or found
        lines = [f"seed {seed}: {each.name}: {each.says}" for each in again]
        return "\n".join([*lines, "[", *(f"    {event}," for event in shortest), "]"])


def _shorter(events):
    """Every list with some events less: halves, quarters, ..., one; then one less inside a turn."""
    size = len(events) // 2
    while size:
        for place in reversed(range(0, len(events), size)):
            yield events[:place] + events[place + size :]
        size //= 2
    for place, event in enumerate(events):
        for gone in range(len(event.inside)):
            left = event.inside[:gone] + event.inside[gone + 1 :]
            yield [*events[:place], Event(event.name, event.number, left), *events[place + 1 :]]
