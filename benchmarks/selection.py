"""What selection costs over the bare matrix product, which no exact method can beat.

    OMP_NUM_THREADS=1 python -m benchmarks.selection --candidates 5000 --instances 50000

The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from taudis.cover import greedy_cover
from taudis.similarity import BLOCK_COLUMNS, BLOCK_ROWS, edge_density, similarity_rows


def best_of(repeats: int, call: Callable[[], Any]) -> tuple[float, Any]:
    """Shortest wall time of the repeats in seconds, and the last result."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
    return min(times), result


def bare_product(candidates: np.ndarray, pool: np.ndarray) -> None:
    """The same blocks, multiplied and thrown away."""
    for left in range(0, len(pool), BLOCK_COLUMNS):
        columns = pool[left : left + BLOCK_COLUMNS].T
        for top in range(0, len(candidates), BLOCK_ROWS):
            candidates[top : top + BLOCK_ROWS] @ columns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=5_000)
    parser.add_argument("--instances", type=int, default=50_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--clusters", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(given.clusters, given.width)).astype(np.float32)
    pool = centres[rng.integers(given.clusters, size=given.instances)]
    pool += 0.4 * rng.normal(size=pool.shape).astype(np.float32)
    pool /= np.linalg.norm(pool, axis=1, keepdims=True)
    own = rng.choice(given.instances, given.candidates, replace=False)
    candidates, k = pool[own], given.candidates * 3 // 5

    gemm, _ = best_of(given.repeats, lambda: bare_product(candidates, pool))
    graph, rows = best_of(given.repeats, lambda: similarity_rows(candidates, pool, 0.8, own=own))
    greedy, cover = best_of(given.repeats, lambda: greedy_cover(rows, k))
    result = {
        "candidates": given.candidates,
        "instances": given.instances,
        "density": round(edge_density(rows, given.instances), 5),
        "gemm_s": round(gemm, 3),
        "similarity_s": round(graph, 3),
        "greedy_s": round(greedy, 3),
        "similarity_over_gemm": round(graph / gemm, 3),
        "greedy_over_gemm": round(greedy / gemm, 3),
        "picks": len(cover.picks),
        "layers": int(cover.layers.max(initial=0)) + 1,
    }
    print(f"similarity {graph / gemm:.2f} x, greedy {greedy / gemm:.2f} x the bare matrix product")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
