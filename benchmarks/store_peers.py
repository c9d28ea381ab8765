"""Compares the time of a webhook's write in the store's SQLite file and in PostgreSQL.

    .venv/bin/python -m benchmarks.store_peers [--events 300] [--turns 5]

It needs PostgreSQL's server programs (Debian: postgresql), and installs psycopg into a temporary
folder. A webhook writes one row (`Events.record_event`). PostgreSQL runs the same statement, by
SQLAlchemy, in a cluster that is made for the run. `postgresql` waits for the disk at each commit.
`postgresql_async` (synchronous_commit=off) has the same guarantee as the store: a killed process
loses nothing, and a power failure may lose the last writes. All take turns, with 1, 4 and 16
threads. The last line is JSON: milliseconds per write, and writes per second.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from backend.store.database import Store
from backend.store.events import events_table

PSYCOPG = ("psycopg==3.3.9", "psycopg-binary==3.3.9", "typing_extensions>=4.6")
THREADS = (1, 4, 16)
Write = Callable[[int], None]
"""Records an event of a project."""


def programs() -> Path:
    """The folder of PostgreSQL's server programs. Exits if there is none."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders:
        sys.exit("expected PostgreSQL's server programs, got none. Install Debian's postgresql.")
    return folders[-1]


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """Run a PostgreSQL server that listens only on a socket in `folder`; yields its address."""
    where, data = programs(), folder / "data"
    as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    if as_user:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
    made = [*as_user, str(where / "initdb"), "-D", str(data), "-U", "bench", "--auth=trust"]
    subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
    options = f"-c listen_addresses='' -c unix_socket_directories='{folder}'"
    control = [*as_user, str(where / "pg_ctl"), "-D", str(data), "-w"]
    log = str(folder / "log")
    started = [*control, "-l", log, "-o", options, "start"]
    subprocess.run(started, check=True, stdout=subprocess.DEVNULL)
    try:
        yield f"postgresql+psycopg://bench@/postgres?host={folder}"
    finally:
        stopped = [*control, "-m", "immediate", "stop"]
        subprocess.run(stopped, check=True, stdout=subprocess.DEVNULL)


def sqlite_write(store: Store) -> Write:
    """`Events.record_event` of the store."""

    def write(project: int) -> None:
        store.record_event(project, "changed")

    return write


def postgres_write(engine: sa.Engine) -> Write:
    """`Events.record_event`, as a statement of PostgreSQL."""

    def write(project: int) -> None:
        now = time.time()
        row = {"project": project, "kind": "changed", "recorded": 1, "acknowledged": 0}
        again = {"recorded": events_table.c.recorded + 1}
        statement = insert(events_table).values(**row, since=now)
        with engine.begin() as db:
            db.execute(
                statement.on_conflict_do_update(index_elements=["project", "kind"], set_=again)
            )

    return write


def timed(write: Write, threads: int, events: int, turn: int) -> tuple[list[float], float]:
    """(seconds of each of `events` writes, seconds of all), with this number of threads."""

    def one(number: int) -> float:
        began = time.perf_counter()
        write(1000 * turn + number % threads)
        return time.perf_counter() - began

    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        each = list(pool.map(one, range(events)))
    return each, time.perf_counter() - began


def figures(turns: list[tuple[list[float], float]]) -> dict[str, float]:
    """Milliseconds per write, and writes per second, over all turns."""
    each = sorted(1000 * second for seconds, _ in turns for second in seconds)
    return {
        "median_ms": round(statistics.median(each), 2),
        "p99_ms": round(each[int(0.99 * len(each))], 2),
        "max_ms": round(each[-1], 2),
        "writes_per_s": round(len(each) / sum(whole for _, whole in turns), 1),
    }


def measure(writes: dict[str, Write], events: int, turns: int) -> dict[str, Any]:
    """The figures of each store, by the number of threads."""
    found: dict[str, Any] = {}
    for threads in THREADS:
        taken: dict[str, list[tuple[list[float], float]]] = {name: [] for name in writes}
        for write in writes.values():
            timed(write, threads, 20, 0)  # not counted: opens connections, fills caches
        for turn in range(turns):
            for name, write in writes.items():
                taken[name].append(timed(write, threads, events, turn + 1))
        for name, rows in taken.items():
            found.setdefault(name, {})[f"{threads} threads"] = figures(rows)
    return found


def main() -> None:
    """Measure both and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=300)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for each in ("packages", "server"):
            (folder / each).mkdir()
        python = str(Path(sys.base_prefix) / "bin" / "python3")  # the environment has no pip
        pip = [python, "-m", "pip", "install", "-q", "--target", str(folder / "packages")]
        subprocess.run([*pip, "--no-deps", *PSYCOPG], check=True)
        sys.path.append(str(folder / "packages"))
        store = Store(folder / "store")
        with cluster(folder / "server") as address:
            engine = sa.create_engine(address, pool_size=max(THREADS))
            events_table.create(engine)
            later = sa.create_engine(
                f"{address}&options=-csynchronous_commit%3Doff", pool_size=max(THREADS)
            )
            writes = {
                "sqlite": sqlite_write(store),
                "postgresql": postgres_write(engine),
                "postgresql_async": postgres_write(later),
            }
            found = measure(writes, given.events, given.turns)
            later.dispose()
            engine.dispose()
        store.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
