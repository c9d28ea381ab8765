"""Measures scoring by actors of a ray cluster, and the data that `select --ray` sends.

    .venv/bin/python -m benchmarks.distributed score CHECKPOINT instances.json images [--count 192]
    .venv/bin/python -m benchmarks.distributed select [--instances 100000] [--budget 100]

Both start a cluster of two cores on this machine. The last line is JSON.

score: CPU ms per image, the median over blocks, of the process with the model; `driver_ms` is that
of the driver. `overhead` is the CPU time of actor and driver / that of the command without ray.
`images_per_second` is wall time from the first finished block to the last, without the start. It
depends on other processes; `load` is the load average at the end.

select: bytes sent and peak memory, with all instances in the universe and with a sample. `same`:
whether the ranking equals that of a single process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from benchmarks.pools import synthetic
from taudis.data.coco import CocoSamples, load_coco
from taudis.data.pool_format import PoolHeader
from taudis.data.pool_manifest import Manifest, Part, write_manifest
from taudis.data.pool_reader import save_pool
from taudis.detector.checkpoint import load_checkpoint
from taudis.distributed.cluster import LOCAL, Cluster, connected, peak_memory
from taudis.distributed.score_parts import Progress, Work, score_parts
from taudis.scoring import score_to_file
from taudis.types import Detection, Instances, Pool, Uncertainty

BLOCK, PARTS, EACH = 16, 8, 10  # images per block; parts of a pool; instances per image


# --- score --------------------------------------------------------------------------------------


def plain(checkpoint: Path, samples: CocoSamples, folder: Path) -> float:
    """CPU ms per image of the command without ray, the median over blocks."""
    detector, marks = load_checkpoint(checkpoint)[0].fast(), [time.process_time()]

    def mark(number: int, _: Detection) -> None:
        if samples.image_ids.index(number) % BLOCK == BLOCK - 1:
            marks.append(time.process_time())

    pairs = ((number, samples.image(row)) for row, number in enumerate(samples.image_ids))
    score_to_file(folder / "plain.safetensors", detector, pairs, on_image=mark)
    return statistics.median(np.diff(marks)) * 1000 / BLOCK


def by_actors(
    cluster: Cluster, checkpoint: Path, samples: CocoSamples, folder: Path, actors: int
) -> dict[str, float]:
    """The figures of a run with this number of actors."""
    work = Work(checkpoint, folder / f"{actors}.parts", "mask", "benchmark")
    seen: list[tuple[float, int]] = []

    def report(progress: Progress) -> None:
        seen.append((time.monotonic(), progress.done))

    driver, daemons = time.process_time(), daemon_seconds()
    score_parts(cluster, work, samples, actors=actors, size=BLOCK, on_progress=report)
    records = [json.loads(path.read_text()) for path in work.parts.glob("0*.json")]
    return {
        "actor_ms": statistics.median(1000 * r["cpu_seconds"] / r["images"] for r in records),
        "driver_ms": 1000 * (time.process_time() - driver) / len(samples),
        "daemons_ms": 1000 * (daemon_seconds() - daemons) / len(samples),
        "images_per_second": (seen[-1][1] - seen[0][1]) / (seen[-1][0] - seen[0][0]),
    }


def daemon_seconds() -> float:
    """CPU seconds of ray's own processes: all child processes except workers."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            if "ray::Scorer" not in process.name() and "ray::IDLE" not in process.name():
                total += sum(process.cpu_times()[:2])
        except psutil.NoSuchProcess:
            continue
    return total


def score(given: argparse.Namespace) -> dict[str, Any]:
    """Score without ray, with one actor and with two actors."""
    torch.set_num_threads(1)
    _, samples = load_coco(given.coco.resolve(), given.images.resolve())
    samples = samples.subset([row % len(samples) for row in range(given.count)])
    ids = tuple(range(given.count))  # new ids, because image files may repeat
    samples = CocoSamples(
        ids, samples.file_names, samples.sizes, samples.annotations, samples.labels,
        samples.images_dir, samples.paths,
    )  # fmt: skip
    checkpoint = given.checkpoint.resolve()
    with tempfile.TemporaryDirectory() as name, connected(LOCAL, cpus=2) as cluster:
        folder = Path(name)
        found: dict[str, Any] = {"plain_ms": plain(checkpoint, samples, folder)}
        for actors in (1, 2):
            found[f"actors_{actors}"] = by_actors(cluster, checkpoint, samples, folder, actors)
    one, two = found["actors_1"], found["actors_2"]
    found["overhead"] = (one["actor_ms"] + one["driver_ms"]) / found["plain_ms"] - 1
    found["speedup_by_the_clock"] = two["images_per_second"] / one["images_per_second"]
    found["speedup_by_cpu"] = 2 * one["actor_ms"] / two["actor_ms"]
    return found


# --- select -------------------------------------------------------------------------------------


def make_parts(folder: Path, instances: int) -> Path:
    """A synthetic pool as PARTS files and a manifest."""
    parts, each = [], instances // PARTS // EACH
    for number in range(PARTS):
        rng, n = np.random.default_rng(number), each * EACH
        se = rng.uniform(0, 0.69, n).astype(np.float32)
        found = Instances(
            np.repeat(np.arange(each), EACH), np.tile(np.float32([0, 0, 8, 8]), (n, 1)),
            np.full(n, 0.5, np.float32), np.ones(n, np.int64), np.full((n, 2), 0.5, np.float32),
            synthetic(n, 0.001, seed=number)[0].astype(np.float16),
        )  # fmt: skip
        pool = Pool(
            np.arange(number * each, (number + 1) * each), np.full((each, 2), 64, np.int64), found,
            Uncertainty(se, se, se), np.full(n, 64, np.float32),
            np.ones((each, 4), np.float16),
        )  # fmt: skip
        save_pool(folder / f"{number}.safetensors", pool)
        parts.append(Part(f"{number}.safetensors", each, n))
    write_manifest(folder / "pool.json", Manifest(tuple(parts), PoolHeader()))
    return folder / "pool.json"


def command(*arguments: object) -> tuple[dict[str, Any], dict[str, float]]:
    """The last line of `python -m taudis select`, and the time and memory of its process."""
    began, peak = time.monotonic(), 0
    line = [sys.executable, "-m", "taudis", "select", *map(str, arguments)]
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(line, stdout=out, stderr=subprocess.DEVNULL)
        while not (found := os.wait4(process.pid, os.WNOHANG))[0]:
            peak = max(peak, peak_memory(process.pid))
            time.sleep(0.05)  # between two samples of its memory
        _, status, used = found
        if status:
            raise SystemExit(f"{' '.join(line)}: ended with {status}.")
        out.seek(0)
        text = out.read()
    return json.loads(text.splitlines()[-1]), {
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "seconds": time.monotonic() - began,
        "peak_bytes": peak,
    }


def select(given: argparse.Namespace) -> dict[str, Any]:
    """Select exactly (unless --sampled) and with a sample, on a cluster and in one process."""
    result: dict[str, Any] = {"instances": given.instances, "candidates": 25 * given.budget}
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        path = make_parts(folder, given.instances)
        result["files_bytes"] = sum(each.stat().st_size for each in folder.iterdir())
        for sketch in ("always",) if given.sampled else ("never", "always"):
            asked = (path, given.budget, "--sketch", sketch, "--alpha", 25, "--beta", 15,
                     "--edge-mb", 4000, "--mean-instances", 1)  # fmt: skip
            one, other = folder / "one.csv", folder / "ray.csv"
            _, alone = command(*asked, "--out", one)
            found, driver = command(*asked, "--out", other, "--ray", LOCAL)
            result["sampled" if sketch == "always" else "exact"] = {
                "moved": found["moved"], "driver": driver, "one_process": alone,
                "same": one.read_bytes() == other.read_bytes(),
            }  # fmt: skip
    return result


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    scoring = commands.add_parser("score")
    for argument in ("checkpoint", "coco", "images"):
        scoring.add_argument(argument, type=Path)
    scoring.add_argument("--count", type=int, default=192)
    selecting = commands.add_parser("select")
    selecting.add_argument("--instances", type=int, default=100_000)
    selecting.add_argument("--budget", type=int, default=100)
    selecting.add_argument("--sampled", action="store_true", help="leave the exact one out")
    selecting.add_argument("--folder", type=Path, default=None, help="for the pool's files")
    given = parser.parse_args()
    found = score(given) if given.command == "score" else select(given)
    found["load"] = os.getloadavg()[0]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
