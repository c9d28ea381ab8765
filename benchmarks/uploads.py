"""Measures the whole life of a project of uploads on a real Label Studio with SQLite.

    .venv/bin/python -m benchmarks.uploads --tasks 300
    .venv/bin/python -m benchmarks.uploads --tasks 10000 --out /tmp/uploads.jsonl
    .venv/bin/python -m benchmarks.uploads --tasks 10000 --annotators 10 --alone 120

The phases are import, connect, first order, label, a round (train, score, publish, flip), later
import, prune and rollback. Annotators work from the first order on. Each phase reports:

- the annotators' waits for `next` and Submit,
- the peaks of resident memory, MB, of the worker, the web processes and Label Studio, each with its
  child processes.

With --alone the annotators first work without the backend, and the waits of each phase are compared
with theirs. Every served task is checked against the published orders.

All requests of the backend are taken from its log. At the end, each call whose cost grows with the
project is repeated on the idle server. Each row is appended to --out at once. Standard output has
tables in Markdown, and JSON as the last line.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
from rich.console import Console

from backend.label_studio.client import Studio
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.new_project import label_config
from backend.settings import load_settings
from backend.store.database import Store
from backend.store.lease import NO_LEASE
from backend.store.rounds import Round
from backend.worker import open_rows, operate
from backend.worker.context import RoundContext
from benchmarks.uploads_calls import growing_calls, page_sizes
from benchmarks.uploads_life import Life, Options
from benchmarks.uploads_people import against_without, order_met, work_without
from benchmarks.uploads_record import Journal, Memory, requests_of_log, summary, table
from demo import pictures
from demo.annotator import Truth
from demo.backend_process import BACKEND_USER, Backend
from demo.errors import DemoError
from demo.options import ROOT
from demo.studio import LabelStudio, free_port
from demo.waiting import wait_for
from taudis.data.coco import load_coco

LONG = 4 * 3600.0
"""Time limit of a wait, seconds; a round scores 10,000 pictures, perhaps on busy cores."""
FIRST_ORDER_SECONDS = 90.0
"""Time limit from the connection to the first order, seconds, on two idle cores."""


def ended_round(store: Store, project: int, number: int) -> Round | None:
    """The newest ended round with at least this number, or None."""
    found = [r for r in store.rounds(project) if r.number >= number and r.ended is not None]
    return found[-1] if found else None


def wait_for_round(life: Life, number: int) -> dict[str, Any]:
    """Wait until a round ends; its kind, outcome, counts, and seconds by step.

    Raises:
        DemoError: the round failed, or did not end in time.
    """
    store = Store(life.backend.data)
    try:
        wait_for(
            lambda: ended_round(store, life.project, number) is not None,
            LONG,
            f"round {number}",
            pause=1,
        )
        found = ended_round(store, life.project, number)
    finally:
        store.close()
    if found is None or found.outcome == "failed":
        raise DemoError(f"Round {number}: {found.message if found else 'gone'}")
    steps = {name: row.get("seconds") for name, row in found.steps.items()}
    return {
        "round": found.number,
        "kind": found.kind,
        "outcome": found.outcome,
        "message": found.message,
        "steps_s": steps,
        "labelled": found.steps["synced"]["labelled"],
        "scored": found.steps.get("scored", {}).get("images"),
        "instances": found.steps.get("scored", {}).get("instances"),
        "published": found.steps["published"]["tasks"],
    }


# --- the phases, in their order -----------------------------------------------------------------


def first_order(life: Life) -> int:
    """Connect as the Model page does, and wait for the first order. Returns the backend's id."""
    with life.phase("connect") as row:
        began = time.monotonic()
        auth = (BACKEND_USER, life.backend.password)
        backend = life.studio.connect_backend(life.project, life.backend.url, "TAUDIS", auth)
        row["connect_s"] = round(time.monotonic() - began, 2)
        wait_for(lambda: life.version().startswith("taudis-"), LONG, "the first order")
        row["first_order_s"] = round(time.monotonic() - began, 1)
    row = life.journal.rows["connect"]
    seconds, limit = row["first_order_s"], FIRST_ORDER_SECONDS
    verdict = "at most" if seconds <= limit else "MORE THAN"
    life.journal.say(f"first order after connecting: {seconds} s ({verdict} {limit:.0f} s)")
    return backend


def label(life: Life) -> None:
    """The annotators label the first tasks of the order."""
    with life.phase("label") as row:
        people = life.annotate_together(0.2, most=life.options.labels)
        wait_for(lambda: not any(person.working for person in people), LONG, "the labels")
        if failures := [person.failure for person in people if person.failure]:
            raise DemoError(failures[0])
        row["labels"] = sum(len(person.done) for person in people)


def train(life: Life, backend: int) -> None:
    """Press Start Training and wait for its round, while an annotator labels."""
    with life.phase("round") as row:
        life.studio.start_training(backend)
        row |= wait_for_round(life, 2)


def import_later(life: Life) -> None:
    """Import more pictures and wait until they have a place in the order."""
    with life.phase("later import") as row:
        began = time.monotonic()
        row["imported"] = life.studio.upload(life.project, life.files[life.options.tasks :])
        row["upload_s"] = round(time.monotonic() - began, 1)
    with life.phase("placing them") as row:
        row |= wait_for_round(life, 3)


def lost_its_place_yesterday(life: Life, version: str) -> None:
    """Let the worker take a version's rows for such as no editor can be open on."""
    store, then = Store(life.backend.data), time.time() - open_rows.LOCK_SECONDS - 60
    with mock.patch("backend.store.versions.time.time", lambda: then):
        store.prune_version(None, life.project, version)
    store.close()


def prune(life: Life) -> str:
    """Wait while the worker deletes the oldest version row by row; returns its name."""
    held = life.client.model_versions(life.project)
    oldest = min(version for version in held if version.startswith("taudis-"))
    lost_its_place_yesterday(life, oldest)
    with life.phase("prune by rows") as row:
        before = life.client.model_versions(life.project)[oldest]
        end = time.monotonic() + life.options.prune_seconds
        while (left := life.client.model_versions(life.project).get(oldest, 0)) > 0:
            if time.monotonic() > end:
                break
            time.sleep(2)  # more frequent requests would slow Label Studio
        row |= {"rows": before, "deleted": before - left}
    return oldest


def roll_back(life: Life) -> None:
    """Roll back to the previous version, as the command does."""
    settings = load_settings(model_dir=life.backend.data, label_studio_url=life.studio.url)
    store = Store(life.backend.data)
    with life.phase("rollback") as row:
        context = RoundContext(settings, store, NO_LEASE, life.project)
        began = time.monotonic()
        target = operate.rollback(context).version
        row["rollback_s"] = round(time.monotonic() - began, 2)
        task = life.next_task()
        found = {p["model_version"] for p in (task or {}).get("predictions", [])}
        row |= {"to": target, "served_from_it": life.version() == target and target in found}
    store.close()


def delete_whole(life: Life, oldest: str) -> None:
    """Delete a version in one call while an annotator labels, which the worker avoids."""
    with life.phase("delete a version in one call") as row:
        held = life.client.model_versions(life.project)
        newest = max(version for version in held if version.startswith("taudis-"))
        version = oldest if held.get(oldest) else newest
        row["rows"] = life.client.delete_version(life.project, version)


def live(life: Life) -> dict[str, Any]:
    """Run all phases; returns the figures."""
    with life.phase("import") as row:
        row["files"] = life.studio.upload(life.project, life.files[: life.options.tasks])
    work_without(life)
    backend = first_order(life)
    life.keep_order()
    label(life)
    life.annotate_together(life.options.pause)
    train(life, backend)
    life.keep_order()
    import_later(life)
    life.keep_order()
    oldest = prune(life)
    roll_back(life)
    life.backend.stop()
    log = life.backend.log
    delete_whole(life, oldest)
    for person in life.annotators:
        person.stop()
    # Report the waits of each phase again, because the longest waits end late.
    waited = {name: life.waited(name) for name in life.spans}
    life.journal.add("waits", waited)
    compared = against_without(waited)
    life.journal.add("against the project without the backend", compared)
    life.journal.add("order", order_met(life))
    requests_made = summary(requests_of_log(log))
    life.journal.add("requests of the backend", requests_made)
    calls = growing_calls(life.client, life.project, life.journal)
    pages = page_sizes(life.client, life.project, life.journal)
    for rows in (requests_made, calls, pages, compared):
        sys.stdout.write(table(rows) + "\n\n")
    failures = [person.failure for person in life.annotators if person.failure]
    life.journal.add("annotators", {"failures": failures})
    return {
        "options": {"tasks": life.options.tasks, "later": life.options.later}
    } | life.journal.rows


def prepare(options: Options) -> tuple[Path, list[Path]]:
    """Generate the pictures, unless they are there; the COCO file and the sorted image files."""
    count = options.tasks + options.later
    folder = options.folder / f"pictures-{options.size}-{count}"
    truth = folder / "instances.json"
    if not truth.exists():
        pictures.generate(folder, count, seed=0, size=options.size)
    return truth, sorted((folder / "images").iterdir())


def run(options: Options, console: Console) -> dict[str, Any]:
    """Start Label Studio and the backend, run all phases, and stop both."""
    journal = Journal(options.out, lambda text: console.print(text, markup=False, highlight=False))
    journal.add("options", {name: str(value) for name, value in vars(options).items()})
    truth_file, files = prepare(options)
    label_map, samples = load_coco(truth_file, truth_file.parent / "images")
    config = label_config(label_map, "brush")
    executable = ROOT / ".venv-studio" / "bin" / "label-studio"
    template = ROOT / ".cache" / "studio-template"
    with LabelStudio(executable, options.folder / "label-studio", template=template) as studio:
        settings = {
            "LABEL_STUDIO_URL": studio.url,
            "LOG_LEVEL": "DEBUG",
            "MAX_STEPS": str(options.steps),
            "KEEP_VERSIONS": "2",
            "SCORE_SECONDS": "",  # no time limit: a round scores the whole pool
            "NICE": str(options.nice),
            "TRAIN_AFTER": "1000000",  # only Start Training starts a round
        }
        backend = Backend(options.folder / "backend", free_port(), settings)
        project = studio.create_project("Uploads", config)
        memory = Memory(trees)
        truth = Truth(samples, label_map, parse_label_config(config))
        client = Studio(studio.url, studio.admin.token, timeout=300.0, patience=600.0)
        life = Life(options, studio, backend, journal, memory, project, truth, files, client)
        try:
            backend.start()
            return live(life)
        finally:
            for person in life.annotators:
                person.stop(5)
            backend.stop()
            memory.close()


def trees() -> dict[str, psutil.Process]:
    """The roots of the process trees whose memory is measured: children of this process."""
    found = {}
    with contextlib.suppress(psutil.Error):
        for process in psutil.Process().children():
            words = " ".join(process.cmdline())
            if "label-studio" in words and "--port" in words:
                found["label_studio"] = process
            for child in process.children() if "backend serve" in words else ():
                found["web" if "gunicorn" in " ".join(child.cmdline()) else "worker"] = child
    return found


def parsed() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000, help="pictures imported at first")
    parser.add_argument(
        "--later", type=int, help="pictures imported later; default: a twentieth of --tasks"
    )
    parser.add_argument("--labels", type=int, default=40, help="labels before the round")
    parser.add_argument("--steps", type=int, default=120, help="training steps (MAX_STEPS)")
    parser.add_argument("--size", type=int, default=96, help="side of a picture, px")
    parser.add_argument(
        "--pause", type=float, default=2.0, help="seconds that a task takes an annotator"
    )
    parser.add_argument("--annotators", type=int, default=1, help="people who work at once")
    parser.add_argument(
        "--alone", type=float, default=0.0,
        help="seconds of work before the backend is connected, whose waits the others are compared"
        " with; default: none",
    )  # fmt: skip
    parser.add_argument("--prune-seconds", type=float, default=180.0)
    parser.add_argument(
        "--nice", type=int, default=10, help="niceness of the worker; 0 on busy cores"
    )
    parser.add_argument(
        "--folder", type=Path, help="working folder, which is kept; default: a temporary one"
    )
    parser.add_argument(
        "--out", type=Path, help="file of the rows; default: uploads.jsonl in the folder"
    )
    return parser.parse_args()


def main() -> int:
    """Run the benchmark; the last line of the output is its JSON."""
    given = parsed()
    console = Console(stderr=True, width=200)
    with contextlib.ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        options = Options(
            given.tasks,
            given.later or max(given.tasks // 20, 10),
            *(given.labels, given.steps, given.size, given.pause),
            *(given.annotators, given.alone, given.prune_seconds, given.nice),
            folder,
            given.out or folder / "uploads.jsonl",
        )
        figures = run(options, console)
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
