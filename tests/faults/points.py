"""The points of a worker's turn at which something else can happen: a kill, a label, a failure.

A worker's turn runs in this thread. Each request to Label Studio, each transaction of the store and
each file that takes its name has a point before it and one after it. They are counted from 1 in
each turn, so that a schedule can name one.
"""

import contextlib
import threading

from backend.errors import StudioUnreachable
from backend.label_studio.http import Transport
from backend.store.transactions import Transactions
from taudis import files


class Killed(BaseException):
    """Ends a worker in the middle of its turn, as SIGKILL does; the worker does not catch it."""


class Points:
    """Counts the points of this thread's turns, and acts at those that are planned.

    failure: what happens to the worker's next request: "" nothing, "refused" it never arrives,
    "lost" its answer gets lost.
    """

    def __init__(self, monkeypatch):
        self.count, self.plan, self.failure = 0, {}, ""
        self._thread, self._active = threading.get_ident(), False
        self._wrap(monkeypatch)

    def _wrap(self, monkeypatch):
        call, writing, move = Transport.call, Transactions.writing, files.move_into_place

        def called(transport, *args, **kwargs):
            self._reached()
            failure = self._take_failure()
            if failure == "refused":
                raise StudioUnreachable("No connection to Label Studio.", settled=True)
            answer = call(transport, *args, **kwargs)
            if failure == "lost":
                raise StudioUnreachable("The answer of Label Studio got lost.")
            self._reached()
            return answer

        @contextlib.contextmanager
        def written(store):
            self._reached()
            with writing(store) as db:
                yield db
            self._reached()

        def moved(draft, path):
            self._reached()
            move(draft, path)
            self._reached()

        monkeypatch.setattr(Transport, "call", called)
        monkeypatch.setattr(Transactions, "writing", written)
        monkeypatch.setattr(files, "move_into_place", moved)

    @contextlib.contextmanager
    def turn(self, plan):
        """Count anew, and act by this plan: number of a point -> function."""
        self.count, self.plan, self.failure = 0, dict(plan), ""
        self._active = True
        try:
            yield
        finally:
            self._active, self.failure = False, ""

    @contextlib.contextmanager
    def paused(self):
        """Count nothing meanwhile: it is not this worker's turn."""
        before, self._active = self._active, False
        try:
            yield
        finally:
            self._active = before

    def _reached(self):
        if not self._active or threading.get_ident() != self._thread:
            return
        self.count += 1
        action = self.plan.pop(self.count, None)
        if action is not None:
            with self.paused():
                action()

    def _take_failure(self):
        if not self._active or threading.get_ident() != self._thread:
            return ""
        found, self.failure = self.failure, ""
        return found
