"""What goes wrong, or happens in between, when a test asks for it."""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Fault:
    """Happens to the requests that match, `times` times, after the first `skip` of them.

    Args:
        method: of the request.
        path: a regular expression for the whole path, without the query.
        times: to how many requests it happens.
        skip: how many matching requests go well first.
        status: answered in place of the real answer.
        detail: the reason in such an answer.
        cut: the answer breaks off in the middle, after the request was acted on.
        seconds: pause before the answer.
        before: called before the request is acted on, as if somebody came in between.
        after: called after it, before the answer is sent.
        when: further condition on the request's query and body.
    """

    method: str
    path: str
    times: int = 1
    skip: int = 0
    status: int | None = None
    detail: str = ""
    cut: bool = False
    seconds: float = 0.0
    before: Callable[[], object] | None = None
    after: Callable[[], object] | None = None
    when: Callable[[object], bool] | None = None
    happened: int = 0

    def matches(self, request):
        return (
            request.method == self.method
            and re.fullmatch(self.path, request.path) is not None
            and (self.when is None or self.when(request))
        )


class Faults:
    """The faults that are still to happen."""

    def __init__(self):
        self._lock, self._list = threading.Lock(), []

    def add(self, fault):
        with self._lock:
            self._list.append(fault)
        return fault

    def clear(self):
        with self._lock:
            self._list.clear()

    def take(self, request):
        """The fault of a request, used up by one; None if it goes well."""
        with self._lock:
            for fault in self._list:
                if not fault.matches(request):
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                if fault.times:
                    fault.times -= 1
                    fault.happened += 1
                    return fault
        return None


def pause(fault):
    """Wait as long as the fault says."""
    if fault is not None and fault.seconds:
        time.sleep(fault.seconds)
