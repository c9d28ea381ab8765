"""Measures time and peak memory of `python -m taudis select` on a file of 1,000,000 instances.

    .venv/bin/python -m benchmarks.million [--instances 1000000]

The file (D = 256 in float16, ten instances per image) is written block by block to
.cache/benchmarks, and removed at the end. The peak is the kernel's VmHWM of the command's process,
including mapped pages of the file. The stated limit is the size of the edges (`--edge-mb`), plus
200 bytes per instance, plus 300 MB. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.pools import CACHE, as_pool, synthetic
from taudis.data.pool_writer import PoolWriter

BLOCK = 50_000


def write_pool(path: Path, instances: int) -> None:
    """Write a pool file of random clusters, block by block."""
    with PoolWriter(path, label_names=("object",), embedding_dtype="float16") as writer:
        for start in range(0, instances, BLOCK):
            size = min(BLOCK, instances - start)
            found, _ = synthetic(size, 0.001, seed=0)
            writer.append(as_pool(found, seed=start, first_id=start))


def run(arguments: list[str]) -> tuple[float, float, str]:
    """Seconds, peak MB, and standard output of a command."""
    started = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-m", "taudis", *arguments], stdout=subprocess.PIPE, text=True
    )
    peak, status = 0.0, Path(f"/proc/{child.pid}/status")
    while child.poll() is None:
        try:
            lines = status.read_text().splitlines()
        except OSError:
            break
        found = [line for line in lines if line.startswith("VmHWM")]
        peak = max([peak, *(float(line.split()[1]) / 1e3 for line in found)])
        time.sleep(0.02)  # the kernel keeps the peak, so only the last reading matters
    out, _ = child.communicate()
    if child.returncode:
        sys.exit(f"select failed with {child.returncode}")
    return time.monotonic() - started, peak, out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instances", type=int, default=1_000_000)
    parser.add_argument("--budget", type=int, default=1000)
    given = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    path, results = CACHE / "million.safetensors", {}
    try:
        started = time.monotonic()
        write_pool(path, given.instances)
        wrote = time.monotonic() - started
        size = path.stat().st_size / 1e6
        for edge_mb in (1000, 200):
            more = ["--mean-instances", "10", "--edge-mb", str(edge_mb), "--out"]
            out = path.with_suffix(".csv")
            spent, peak, printed = run(["select", str(path), str(given.budget), *more, str(out)])
            lines = sum(1 for _ in out.open(encoding="utf-8"))
            out.unlink()
            assert lines == -(-given.instances // 10) + 1
            stated = edge_mb + 200 * given.instances / 1e6 + 300
            results[f"edge_mb {edge_mb}"] = {
                "s": round(spent, 1),
                "peak_mb": round(peak),
                "stated_mb": round(stated),
                "warnings": json.loads(printed.splitlines()[-1])["warnings"],
            }
            assert peak <= stated, results
    finally:
        path.unlink(missing_ok=True)
    print(json.dumps({"instances": given.instances, "file_mb": round(size),
                      "write_s": round(wrote, 1), **results}))  # fmt: skip


if __name__ == "__main__":
    main()
