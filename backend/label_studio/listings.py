"""Lists the tasks of a project page by page, with smaller pages where Label Studio fails.

On its default database Label Studio cannot answer a page of 1,000 uploaded tasks
(docs/label_studio.md says why). So a page holds at most 500 tasks, and a page that Label Studio
answers with 500 twice is asked for again at half its size, whatever the reason.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from backend.errors import PageTooLarge, StudioRejected, StudioUnreachable

logger = logging.getLogger(__name__)

Row = dict[str, Any]
"""One JSON object of Label Studio's API: a task, a project, a webhook, ..."""
Kind = Literal["tasks", "labels", "predictions"]
"""Pages of tasks alone, with their annotations, and with their predictions."""

PAGE: dict[Kind, int] = {"tasks": 500, "labels": 200, "predictions": 100}
WORDS: dict[Kind, str] = {
    "tasks": "tasks",
    "labels": "tasks with their labels",
    "predictions": "tasks with their predictions",
}
SMALLEST_PAGE = 10
PAGE_SECONDS = 120.0
FORGET_SECONDS = 3600.0
"""After this time the full page is tried again: the reason may be gone."""
READINGS = 3
"""How often a listing is completed or read again because its length is not the stated total."""


@dataclass(frozen=True)
class _Shrunk:
    """A page size below the usual one, why, and since when (monotonic seconds)."""

    size: int
    tried: int  # the page that failed first
    reason: str
    since: float


class PageSizes:
    """How many tasks a page holds, by kind, for one Label Studio; safe to share between threads."""

    def __init__(self) -> None:
        self._shrunk: dict[Kind, _Shrunk] = {}
        self._lock = threading.Lock()

    def size(self, kind: Kind) -> int:
        """Tasks to ask for in one page now."""
        with self._lock:
            found = self._shrunk.get(kind)
            if found is not None and time.monotonic() - found.since > FORGET_SECONDS:
                del self._shrunk[kind]
                found = None
            return PAGE[kind] if found is None else found.size

    def shrink(self, kind: Kind, tried: int, reason: str) -> None:
        """Halve the size after a page of `tried` tasks failed, unless another thread has."""
        if tried > self.size(kind):
            return
        size = max(tried // 2, SMALLEST_PAGE)
        with self._lock:
            before = self._shrunk.get(kind)
            first = before.tried if before else tried
            self._shrunk[kind] = _Shrunk(size, first, reason, time.monotonic())
        logger.warning(
            "Label Studio could not answer a page of %s %s (%s); now %s a page",
            *(tried, WORDS[kind], reason, size),
        )

    def restore(self, kind: Kind) -> None:
        """Back to the usual size: not even the smallest page was answered, so size is no reason."""
        with self._lock:
            self._shrunk.pop(kind, None)

    @property
    def notice(self) -> str:
        """The sizes that shrank and why, in words for people; '' if none did."""
        with self._lock:
            found = sorted(self._shrunk.items())
        said = [
            f"Label Studio could not answer a page of {shrunk.tried} {WORDS[kind]}"
            f" ({shrunk.reason}), so {shrunk.size} are read at a time"
            for kind, shrunk in found
        ]
        return "; ".join(said)


_shared: dict[str, PageSizes] = {}
_shared_lock = threading.Lock()


def shared_sizes(url: str) -> PageSizes:
    """The sizes that this process uses for the Label Studio at `url`, remembered between clients.

    A client is made anew for each task of the worker; how much a page may hold depends on Label
    Studio alone.
    """
    with _shared_lock:
        return _shared.setdefault(url.rstrip("/"), PageSizes())


def condition(column: str, operator: str, kind: str, value: Any) -> Row:
    """One condition of the Data Manager on a task column."""
    return {"filter": f"filter:tasks:{column}", "operator": operator, "type": kind, "value": value}


@dataclass(frozen=True)
class Listing:
    """One listing of a project's tasks by id: what to read, and how a page is fetched.

    Args:
        fetch: params, whether a page that is too large raises PageTooLarge, words for messages
            -> Label Studio's answer (`tasks`, `total`).
        sizes: the page sizes of this Label Studio.
        what: the deed in words, for messages.
        project: id of the project.
        include: fields of tasks and annotations.
        conditions: of the Data Manager, all of which a task must meet.
        kind: whether annotations are read, too.
    """

    fetch: Callable[[Row, bool, str], Row]
    sizes: PageSizes
    what: str
    project: int
    include: str
    conditions: tuple[Row, ...] = ()
    kind: Kind = "tasks"

    def rows(self) -> list[Row]:
        """Every matching task once, by id; one reading, whatever changes meanwhile."""
        return list(self._after(0))

    def whole(self) -> list[Row]:
        """As `rows`, read again until its length is the total that Label Studio states.

        A task that is imported while its listing is read stands behind the last id and is found
        by reading on. After READINGS attempts the last reading counts: tasks come and go faster
        than they can be listed, and the next listing finds the others.
        """
        rows = self.rows()
        if len(rows) < self.sizes.size(self.kind):
            return rows  # one page, which is one moment
        for _ in range(READINGS):
            total = self._total()
            if total == len(rows):
                return rows
            logger.info("%s: read %s of %s; reading again", self.what, len(rows), total)
            tail = list(self._after(rows[-1]["id"])) if rows and total > len(rows) else []
            rows = rows + tail if tail else self.rows()
        return rows

    def page(self, *conditions: Row, at_most: int | None = None, ordering: str = "tasks:id") -> Row:
        """One page with the listing's conditions and these, smaller where Label Studio fails.

        Raises:
            StudioUnreachable: not even the smallest page was answered, or no page in time.
        """
        end = time.monotonic() + PAGE_SECONDS
        while True:
            size = self.sizes.size(self.kind)
            if at_most is not None:
                size = min(size, at_most)
            shrinks = size > SMALLEST_PAGE
            params = self._params(*conditions, ordering=ordering) | {"page_size": size}
            what = self.what if size == PAGE[self.kind] else f"{self.what} ({size} a page)"
            try:
                return self.fetch(params, shrinks, what)
            except PageTooLarge as error:
                self.sizes.shrink(self.kind, size, error.reason)
                if time.monotonic() > end:
                    raise
            except StudioUnreachable:
                if not shrinks:
                    self.sizes.restore(self.kind)
                raise

    def _after(self, last: int) -> Iterator[Row]:
        """All matching tasks behind an id.

        A page begins after the last id seen, not at a page number. So no task is missed or read
        twice when tasks are labelled, imported or deleted between two pages, or pages get smaller.
        """
        while True:
            page = self.page(condition("id", "greater", "Number", last))
            tasks = page["tasks"]
            yield from tasks
            if not tasks or page["total"] <= len(tasks):
                return
            if tasks[0]["id"] <= last or tasks[-1]["id"] <= last:
                raise StudioRejected(
                    f"{self.what}: expected tasks behind id {last} by id, got {tasks[0]['id']} to"
                    f" {tasks[-1]['id']}. This Label Studio pages in a way that is not known here."
                )
            last = tasks[-1]["id"]

    def _total(self) -> int:
        """How many tasks match, as Label Studio counts them now."""
        return int(self.page(at_most=1)["total"])

    def _params(self, *conditions: Row, ordering: str) -> Row:
        """The Data Manager's query."""
        filters = {"conjunction": "and", "items": [*self.conditions, *conditions]}
        return {
            "project": self.project,
            "include": self.include,
            "fields": "task_only" if self.kind == "tasks" else "all",
            "query": json.dumps({"filters": filters, "ordering": [ordering]}),
        }
