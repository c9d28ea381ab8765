"""The instruments of `benchmarks.uploads`: requests, memory of process trees, a journal."""

from __future__ import annotations

import json
import logging
import os
import re
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

LINE = re.compile(r"(.+): (\d{3}) in ([\d.]+) s, (\d+) bytes sent, (\d+) received")
"""The line that `backend.label_studio.repetition` logs for each request at DEBUG."""
MEMORY_SECONDS = 0.5  # between two readings of the memory


@dataclass(frozen=True)
class Request:
    """One request of the backend to Label Studio; sizes in bytes."""

    what: str
    status: int
    seconds: float
    sent: int
    received: int


def parse_request(message: str) -> Request | None:
    """The request of a log line, None for another line; numbers in its words become N."""
    found = LINE.fullmatch(message)
    if found is None:
        return None
    what, status, seconds, sent, received = found.groups()
    what = re.sub(r"taudis-\S+", "V", what)
    what = re.sub(r"\(\d+ a page\)", "", what).strip()
    return Request(re.sub(r"\d+", "N", what), int(status), float(seconds), int(sent), int(received))


def requests_of_log(path: Path) -> list[Request]:
    """Every request in a backend's log of JSON lines."""
    found = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            message = json.loads(line)["message"]
        except (ValueError, KeyError, TypeError):
            continue
        request = parse_request(str(message))
        if request is not None:
            found.append(request)
    return found


def summary(requests: Iterable[Request]) -> list[dict[str, Any]]:
    """One row for each kind of request, by falling total time; MB are 10^6 bytes."""
    kinds: dict[str, list[Request]] = {}
    for request in requests:
        kinds.setdefault(request.what, []).append(request)
    rows = [
        {
            "what": what,
            "requests": len(some),
            "seconds": round(sum(r.seconds for r in some), 2),
            "median_s": round(statistics.median(r.seconds for r in some), 3),
            "max_s": round(max(r.seconds for r in some), 2),
            "mb_sent": round(sum(r.sent for r in some) / 1e6, 2),
            "mb_received": round(sum(r.received for r in some) / 1e6, 2),
            "failed": sum(r.status >= 400 for r in some),
        }
        for what, some in kinds.items()
    ]
    return sorted(rows, key=lambda row: -row["seconds"])


class Recorder(logging.Handler):
    """Collects the requests of clients in this process."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.requests: list[Request] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the request of the log line, if it has one."""
        request = parse_request(record.getMessage())
        if request is not None:
            self.requests.append(request)


@contextmanager
def recorded() -> Iterator[list[Request]]:
    """Yield a list that receives the requests of this process within the block."""
    recorder, log = Recorder(), logging.getLogger("backend.label_studio.repetition")
    before, spread = log.level, log.propagate
    log.addHandler(recorder)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    try:
        yield recorder.requests
    finally:
        log.removeHandler(recorder)
        log.setLevel(before)
        log.propagate = spread


def tree_rss(process: psutil.Process) -> int:
    """Resident bytes of a process and its descendants; shared pages count for each process."""
    total = 0
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    for member in family:
        try:
            total += member.memory_info().rss
        except psutil.Error:
            continue
    return total


class Memory:
    """Reads the memory of process trees twice a second and keeps the peaks since `reset`."""

    def __init__(self, trees: Callable[[], dict[str, psutil.Process]]) -> None:
        self._trees, self._peaks = trees, dict[str, int]()
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._read, name="memory", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while not self._over.wait(MEMORY_SECONDS):
            for name, process in self._trees().items():
                size = tree_rss(process)
                with self._lock:
                    self._peaks[name] = max(size, self._peaks.get(name, 0))

    def reset(self) -> dict[str, float]:
        """The peaks since the last call, in MB (10^6 bytes), by tree."""
        with self._lock:
            found, self._peaks = self._peaks, {}
        return {name: round(size / 1e6, 1) for name, size in sorted(found.items())}

    def close(self) -> None:
        """End the thread."""
        self._over.set()
        self._thread.join()


@dataclass
class Journal:
    """Appends each row to a file at once, as a JSON line, so that a killed run keeps its rows."""

    path: Path
    say: Callable[[str], None]
    rows: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, row: Any) -> None:
        """Add a row, in memory and on disk."""
        self.rows[name] = row
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"at": round(time.time(), 1), "name": name, "row": row}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.say(f"{name}: {json.dumps(row)}")


def waits(seconds: Sequence[float]) -> dict[str, float]:
    """Median, 90th percentile, maximum and number of waiting times, seconds."""
    if not seconds:
        return {"count": 0}
    ordered = sorted(seconds)
    return {
        "median": round(statistics.median(ordered), 3),
        "p90": round(ordered[min(len(ordered) - 1, int(0.9 * len(ordered)))], 3),
        "max": round(ordered[-1], 3),
        "count": len(ordered),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table of the rows; the keys of the first row are the columns."""
    if not rows:
        return ""
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(str(row.get(c, "")) for c in columns) + " |" for row in rows]
    return "\n".join(lines)
