"""Measures CPU time and memory to write the order of a round and the post of its predictions.

    .venv/bin/python -m benchmarks.publish [--before CHECKOUT] [--quick]

The pool has 10,000 tasks with 20 brush regions each, which are already scored and on disk. A turn
writes the ranks and scores of all tasks, as the step `selected` does, and then makes the bytes of
the bulk post, as the step `published` does. Each turn runs in a separate process. With --before,
the checkout of an earlier build takes turns on the same pool: dae3ed0, the last build before this
benchmark, or a build with the current layout. `same_post`: whether both made the same bytes.

Seconds are CPU time, the minimum over all turns. MB are 10^6 bytes, the median over all turns;
peak_mb is the largest resident size less that before the turn (Linux). The last line is JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

logger = logging.getLogger("publish")

ROOT = Path(__file__).resolve().parents[1]
TASKS, REGIONS, TURNS = 10_000, 20, 3
WIDTH, HEIGHT = 1280, 960  # px of every image
BANK = 2_000  # number of different regions, from which those of each task are taken
PROJECT, VERSION = 1, "taudis-0001-65000000"
Region = dict[str, Any]


# --- the pool -----------------------------------------------------------------------------------


def outline(rng: np.random.Generator) -> np.ndarray:
    """A closed outline [P,2] px with a wavy edge, like that of an object."""
    radius = float(rng.uniform(8, 45))
    angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    waves = sum(rng.normal(0, 0.08) * np.sin(n * angles + rng.uniform(0, 7)) for n in (2, 3, 5, 9))
    reach = radius * np.clip(1 + waves, 0.3, 1.7)
    centre = rng.uniform(80, (WIDTH - 80, HEIGHT - 80))
    points = centre + reach[:, None] * np.stack(
        [np.cos(angles), rng.uniform(0.6, 1) * np.sin(angles)], axis=1
    )
    return np.clip(points, 0, (WIDTH - 1, HEIGHT - 1)).astype(np.int32)


def bank(count: int) -> list[Region]:
    """Brush regions of synthetic masks, as a round writes them."""
    from backend.label_studio.regions.brush import encode_rle

    rng, regions = np.random.default_rng(5), []
    for number in range(count):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        cv2.fillPoly(mask, [outline(rng)], 1)
        name = hashlib.sha256(str(number).encode()).hexdigest()[:10]
        regions.append({
            "id": name, "from_name": "tag", "to_name": "image", "type": "brushlabels",
            "original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0,
            "value": {"format": "rle", "rle": encode_rle(mask > 0), "brushlabels": ["object"]},
            "score": round(float(rng.uniform(0.3, 1)), 6),
        })  # fmt: skip
    return regions


def results(folder: Path) -> Iterator[tuple[int, list[Region]]]:
    """The id and the regions of every task of the pool, in the order of ids."""
    regions = json.loads((folder / "bank.json").read_text())
    size = json.loads((folder / "size.json").read_text())
    for task in range(1, size["tasks"] + 1):
        rows = np.random.default_rng([3, task]).integers(len(regions), size=size["regions"])
        yield task, [regions[row] for row in rows.tolist()]


def selection(folder: Path) -> Any:
    """A random order of the pool, with a reason for each place."""
    types = import_module("taudis.types" if find_spec("taudis.types") else "taudis.instances")
    count = json.loads((folder / "size.json").read_text())["tasks"]
    order = np.random.default_rng(9).permutation(count)
    reasons = tuple(f"{place % 40} candidates chosen for their coverage" for place in range(count))
    return types.Selection("taudis", order, np.zeros(count), reasons, budget=50)


# --- the two builds -----------------------------------------------------------------------------


class Before:
    """The build dae3ed0: a file for the scored regions, and another file for the order."""

    def __init__(self, folder: Path) -> None:
        self.predictions = import_module("backend.predictions")
        self.queue = import_module("backend.task_queue")
        self.regions = folder / "regions.sqlite3"
        self.path = self.predictions.path_of(folder, PROJECT, VERSION)

    def score(self, found: Iterator[tuple[int, list[Region]]]) -> None:
        """Write the pool's regions, as the step `scored` does."""
        with self.predictions.writing(self.regions) as add:
            for place, (task, regions) in enumerate(found, start=1):
                add(self.predictions.Prediction(task, place, 0.0, "", regions))

    def select(self, chosen: Any, tasks: list[int]) -> None:
        """Write the order, as the step `selected` does."""
        regions = self.predictions.StoredRegions(self.regions)
        ranked = self.queue.rank_predictions(chosen, tasks, {}, regions)
        self.predictions.write(self.path, ranked)

    def post(self) -> tuple[bytes, int]:
        """The bytes that `published` posts, and how many tasks have their regions in them."""
        set(self.predictions.ranks(self.path))
        plan = self.queue.plan(VERSION, self.predictions.in_order(self.path))
        # The same as requests with `json=` (requests.models.PreparedRequest.prepare_body).
        return json.dumps(list(plan.rows), allow_nan=False).encode(), plan.filled


class Now:
    """The current layout: a single file, with a table for regions and a table for the order."""

    def __init__(self, folder: Path) -> None:
        self.predictions = import_module("backend.store.predictions")
        self.queue = import_module("backend.label_studio.queue")
        self.steps = import_module("backend.worker.select"), import_module("backend.worker.publish")
        self.path = self.predictions.path_of(folder, PROJECT, VERSION)

    def score(self, found: Iterator[tuple[int, list[Region]]]) -> None:
        """Write the pool's regions, as the step `scored` does."""
        with self.predictions.writing(self.path) as add:
            for task, regions in found:
                add(task, regions)

    def select(self, chosen: Any, tasks: list[int]) -> None:
        """Write the order, as the step `selected` does."""
        self.predictions.set_order(self.path, self.steps[0].places(chosen, tasks, {}))

    def post(self) -> tuple[bytes, int]:
        """The bytes that `published` posts, and how many tasks have their regions in them."""
        with self.predictions.Stored.opened(self.path) as stored:
            rows = stored.sizes()
            filled = self.steps[1].head_within(self.queue.POST_BYTES, [row[2] for row in rows])
            return self.steps[1].bulk_post(stored, VERSION, rows, filled).body, filled


BUILDS = {"backend.predictions": Before, "backend.store.predictions": Now}
"""A module that only one layout has -> how builds with this layout write and post."""


# --- measuring ----------------------------------------------------------------------------------


def build_of(folder: Path) -> Any:
    """The build that this process imports."""
    for module, build in BUILDS.items():
        try:
            if find_spec(module) is not None:
                return build(folder)
        except ModuleNotFoundError:  # the package of the module does not exist
            continue
    raise SystemExit(f"Expected a checkout that has one of {', '.join(BUILDS)}.")


def memory(name: str) -> int:
    """Resident memory of this process, bytes. name: VmRSS (current) or VmHWM (largest)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise SystemExit(f"Expected {name} in /proc/self/status: this benchmark needs Linux.")


def size_of(folder: Path) -> float:
    """The size of the SQLite files in a folder, MB."""
    return sum(path.stat().st_size for path in folder.rglob("*.sqlite3")) / 1e6


def measure(folder: Path) -> dict[str, Any]:
    """A turn of the build that this process imports."""
    build, chosen = build_of(folder), selection(folder)
    tasks = list(range(1, len(chosen.order) + 1))
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, see proc(5)
    before, began = memory("VmRSS"), time.process_time()
    build.select(chosen, tasks)
    selected, top = time.process_time(), memory("VmHWM")
    body, filled = build.post()
    ended = time.process_time()
    return {
        "select_s": selected - began, "post_s": ended - selected, "cpu_s": ended - began,
        "select_mb": (top - before) / 1e6, "peak_mb": (memory("VmHWM") - before) / 1e6,
        "files_mb": size_of(folder), "post_mb": len(body) / 1e6, "filled": filled,
        "sha256": hashlib.sha256(body).hexdigest(),
    }  # fmt: skip


def child(part: str, checkout: Path, folder: Path) -> Any:
    """Run a part in a new process that imports the packages of a checkout."""
    command = [sys.executable, "-P", str(Path(__file__).resolve()), "--part", part,
               "--folder", str(folder)]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=checkout, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def take_turns(checkouts: dict[str, Path], folder: Path, turns: int) -> dict[str, Any]:
    """Let each build write the pool, then take turns. Returns the figures by build."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in checkouts}
    for name, checkout in checkouts.items():
        (folder / name).mkdir()
        for file in ("bank.json", "size.json"):
            (folder / name / file).symlink_to(folder / file)
        spent = child("score", checkout, folder / name)
        logger.info("%s: the pool is on disk, %s", name, spent)
    for turn in range(turns):
        for name, checkout in checkouts.items():
            found[name].append(child("measure", checkout, folder / name))
            logger.info("turn %d, %s: %s", turn + 1, name, found[name][-1])
    return {name: summary(rows) for name, rows in found.items()}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of a build: the minimum of the seconds, the median of the MB."""
    found: dict[str, Any] = {}
    for name, value in rows[0].items():
        values = [row[name] for row in rows]
        if name.endswith("_s"):
            found[name] = round(min(values), 3)
        elif name.endswith("_mb"):
            found[name] = round(statistics.median(values), 1)
        else:
            found[name] = value
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="checkout of the build to compare with")
    parser.add_argument("--quick", action="store_true", help="a tenth of the tasks, one turn")
    parser.add_argument("--tasks", type=int, default=TASKS)
    parser.add_argument("--regions", type=int, default=REGIONS, help="of each task")
    parser.add_argument("--part", choices=("score", "measure"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part == "score":
        build, began = build_of(given.folder), time.process_time()
        build.score(results(given.folder))
        spent = time.process_time() - began
        print(json.dumps({"score_s": spent, "files_mb": size_of(given.folder)}))
    elif given.part == "measure":
        print(json.dumps(measure(given.folder)))
    else:
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        tasks, turns = (given.tasks // 10, 1) if given.quick else (given.tasks, TURNS)
        checkouts = {"now": ROOT}
        if given.before:
            checkouts = {"before": given.before.resolve(), **checkouts}
        print(json.dumps(compare(checkouts, tasks, given.regions, turns)))


def compare(checkouts: dict[str, Path], tasks: int, regions: int, turns: int) -> dict[str, Any]:
    """Measure both builds, or only this one, on a new pool."""
    with tempfile.TemporaryDirectory(prefix="publish-") as name:
        folder, made = Path(name), bank(BANK)
        (folder / "bank.json").write_text(json.dumps(made))
        (folder / "size.json").write_text(json.dumps({"tasks": tasks, "regions": regions}))
        mean = statistics.mean(len(json.dumps(region)) for region in made)
        logger.info("%d tasks of %d regions, %.0f bytes each on average", tasks, regions, mean)
        found = take_turns(checkouts, folder, turns)
    ratios: dict[str, Any] = {}
    if "before" in found:
        before, now = found["before"], found["now"]
        ratios = {
            "cpu_over_before": round(now["cpu_s"] / before["cpu_s"], 4),
            "peak_over_before": round(now["peak_mb"] / before["peak_mb"], 4),
            "same_post": before["sha256"] == now["sha256"],
        }
    return {**ratios, "tasks": tasks, "region_bytes": round(mean), **found}


if __name__ == "__main__":
    main()
