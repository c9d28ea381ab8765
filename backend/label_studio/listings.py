"""Lists the tasks of a project page by page, with smaller pages if Label Studio fails.

On its default database, Label Studio cannot answer a page of 1,000 uploaded tasks
(docs/label_studio.md says why). A page therefore has at most 500 tasks. If Label Studio answers
twice with status 500, whatever the reason, the page is requested again at half its size.
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
"""The content of a page: only tasks, tasks with annotations, or tasks with predictions."""

PAGE: dict[Kind, int] = {"tasks": 500, "labels": 200, "predictions": 100}
WORDS: dict[Kind, str] = {
    "tasks": "tasks",
    "labels": "tasks with their labels",
    "predictions": "tasks with their predictions",
}
SMALLEST_PAGE = 10
PAGE_SECONDS = 120.0
FORGET_SECONDS = 3600.0
"""After this time the usual page size is tried again."""
READINGS = 3
"""How often a listing is read again if its length differs from the stated total."""


@dataclass(frozen=True)
class _Shrunk:
    """A page size below the usual size, the reason, and its start (monotonic seconds)."""

    size: int
    tried: int  # size of the first page that failed
    reason: str
    since: float


class PageSizes:
    """The page sizes for one Label Studio, by kind; safe to share between threads."""

    def __init__(self) -> None:
        self._shrunk: dict[Kind, _Shrunk] = {}
        self._lock = threading.Lock()

    def size(self, kind: Kind) -> int:
        """The current page size in tasks."""
        with self._lock:
            found = self._shrunk.get(kind)
            if found is not None and time.monotonic() - found.since > FORGET_SECONDS:
                del self._shrunk[kind]
                found = None
            return PAGE[kind] if found is None else found.size

    def shrink(self, kind: Kind, tried: int, reason: str) -> None:
        """Halve the size after a page of `tried` tasks failed, unless another thread did."""
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
        """Restore the usual size: even the smallest page failed, so the size is not the cause."""
        with self._lock:
            self._shrunk.pop(kind, None)

    @property
    def notice(self) -> str:
        """The reduced sizes and the reasons, in words; '' if no size is reduced."""
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
    """The page sizes of this process for the Label Studio at `url`, shared by all clients.

    The worker often makes new clients, but the page size depends only on Label Studio.
    """
    with _shared_lock:
        return _shared.setdefault(url.rstrip("/"), PageSizes())


def condition(column: str, operator: str, kind: str, value: Any) -> Row:
    """One condition of the Data Manager on a task column."""
    return {"filter": f"filter:tasks:{column}", "operator": operator, "type": kind, "value": value}


@dataclass(frozen=True)
class Listing:
    """One listing of a project's tasks by id: which tasks and fields, and how to fetch a page.

    Args:
        fetch: (params, whether a page that is too large raises PageTooLarge, words for messages)
            -> Label Studio's answer (`tasks`, `total`).
        sizes: the page sizes of this Label Studio.
        what: the action in words, for messages.
        project: id of the project.
        include: fields of tasks and annotations.
        conditions: conditions of the Data Manager; a task must meet all of them.
        kind: the content of the pages.
    """

    fetch: Callable[[Row, bool, str], Row]
    sizes: PageSizes
    what: str
    project: int
    include: str
    conditions: tuple[Row, ...] = ()
    kind: Kind = "tasks"

    def rows(self) -> list[Row]:
        """Every matching task once, by id, from a single reading."""
        return list(self._after(0))

    def whole(self) -> list[Row]:
        """As `rows`, but repeated until the length equals the total stated by Label Studio.

        A task imported during the listing has a higher id, so reading further finds it. After
        READINGS attempts the last reading counts: tasks then change faster than they can be listed,
        and the next listing finds the others.
        """
        rows = self.rows()
        if len(rows) < self.sizes.size(self.kind):
            return rows  # a single page is consistent
        for _ in range(READINGS):
            total = self._total()
            if total == len(rows):
                return rows
            logger.info("%s: read %s of %s; reading again", self.what, len(rows), total)
            tail = list(self._after(rows[-1]["id"])) if rows and total > len(rows) else []
            rows = rows + tail if tail else self.rows()
        return rows

    def page(self, *conditions: Row, at_most: int | None = None, ordering: str = "tasks:id") -> Row:
        """One page with the listing's conditions and `conditions`, smaller if Label Studio fails.

        Raises:
            StudioUnreachable: even the smallest page failed, or no page came in time.
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
        """All matching tasks with an id above `last`.

        A page begins after the last id read, not at a page number. Thus no task is missed or read
        twice if tasks are labelled, imported or deleted between two pages, or if pages get smaller.
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
        """Label Studio's current count of matching tasks."""
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
