"""Measures the selection against the bare matrix product and against public libraries.

    OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.selection [--quick] [--before DIR]

All contenders have one BLAS thread and take turns. Times are CPU seconds of the process, the
minimum over some rounds. "GEMM" is the bare blocked product of the same C x F x D, whose result is
discarded. The selection uses PyTorch's integer product, as in a worker; "without_pytorch" is the
selection without it, as in `python -m taudis select`. Pools are synthetic, with 0.1, 1.4, 10 and
67 % of the pairs above sigma, and real: the embeddings of a model that is trained for a few minutes
on nuclei and facades, enlarged by noisy copies. --quick runs everything at a tenth of the size, as
a test. --before DIR runs the parts in turns with the build in DIR, and prints the medians of both.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from benchmarks.pools import (
    DENSITIES,
    Branch,
    as_pool,
    enlarged,
    real_data,
    real_pool,
    split,
    synthetic,
)
from benchmarks.rivals import kcentre, rivals
from benchmarks.side_by_side import side_by_side, table
from benchmarks.sketch import SIGMA, sketch
from benchmarks.turns import least
from taudis.detector.integer_product import fast_integer_product
from taudis.selection.algorithm1 import taudis
from taudis.selection.cover import greedy_cover
from taudis.selection.fast.choice import find_shortcut
from taudis.selection.fast.prefix import Prefix, shares
from taudis.selection.fast.rounded import Rounding
from taudis.selection.graph import edges_between, using_integer_product
from taudis.selection.params import Labelled, SelectionParams
from taudis.selection.sigma import effective_sigma, sample_similarities
from taudis.selection.unit_vectors import UnitVectors

logger = logging.getLogger("selection")

Float32 = npt.NDArray[np.float32]
REAL: tuple[tuple[str, Branch], ...] = (
    ("nuclei_dsb2018", "mask"),
    ("facades", "mask"),
    ("facades", "box"),
)


def bare_product(candidates: Float32, pool: Float32) -> None:
    """Multiply the same blocks and discard the result."""
    for left in range(0, len(pool), 4096):
        columns = pool[left : left + 4096].T
        for top in range(0, len(candidates), 512):
            candidates[top : top + 512] @ columns


def without_product(work: Callable[[], Any]) -> Any:
    """Run `work` without PyTorch's integer product, as in `python -m taudis select`."""
    with using_integer_product(None):
        return work()


def densities(scale: float) -> dict[str, Any]:
    """Time of the similarity, and of the selection, / bare product; the worst of the densities."""
    candidates, instances, reported = round(2000 * scale), round(50_000 * scale), {}
    for density in DENSITIES:
        units, _ = synthetic(instances, density)
        some, own = split(units, candidates)
        pool = as_pool(units)
        budget = candidates // 20
        params = SelectionParams(sigma=SIGMA, sigma_rule="flat", alpha=20.0, beta=12.0)

        def select(pool: Any = pool, budget: int = budget, params: Any = params) -> Any:
            labelled = Labelled(10.0)
            return taudis(pool, budget=budget, labelled=labelled, params=params, seed=0)

        spent = least(
            {
                "gemm": lambda some=some, units=units: bare_product(some, units),
                "similarity": lambda some=some, units=units, own=own: edges_between(
                    some, units, SIGMA, own=own
                ),
                "selection": select,
                "without": lambda work=select: without_product(work),
            }
        )
        reported[str(density)] = {
            "gemm_s": round(spent["gemm"], 3),
            "similarity": round(spent["similarity"] / spent["gemm"], 3),
            "selection": round(spent["selection"] / spent["gemm"], 3),
            "without_pytorch": round(spent["without"] / spent["gemm"], 3),
            "measured_density": round(select().diagnostics["density"], 5),
        }
        logger.info("density %s: %s", density, reported[str(density)])
    return {
        "similarity_over_gemm": max(each["similarity"] for each in reported.values()),
        "selection_over_gemm": max(each["selection"] for each in reported.values()),
        "selection_over_gemm_without_pytorch": max(
            each["without_pytorch"] for each in reported.values()
        ),
        "by_density": reported,
    }


def greedy(scale: float) -> dict[str, Any]:
    """Time of exact greedy to saturation / product; C = 10k, F = 100k; worst of the densities."""
    candidates, instances, reported = round(10_000 * scale), round(100_000 * scale), {}
    for density in DENSITIES:
        units, _ = synthetic(instances, density)
        some, own = split(units, candidates)
        rows = edges_between(some, units, SIGMA, own=own)
        spent = least(
            {
                "gemm": lambda some=some, units=units: bare_product(some, units),
                "greedy": lambda rows=rows: greedy_cover(rows, len(rows), remainder="none"),
            },
            rounds=2,
        )
        cover = greedy_cover(rows, len(rows), remainder="none")
        assert cover.covered == cover.coverable
        layered = least({"layers": lambda rows=rows: greedy_cover(rows, len(rows) * 3 // 5)}, 1)
        reported[str(density)] = {
            "greedy": round(spent["greedy"] / spent["gemm"], 4),
            "with_layers": round(layered["layers"] / spent["gemm"], 4),
            "picks_to_saturation": len(cover.picks),
        }
        logger.info("greedy, density %s: %s", density, reported[str(density)])
    return {
        "greedy_over_gemm": max(each["greedy"] for each in reported.values()),
        "greedy_by_density": reported,
    }


def moonshot(scale: float, pools: dict[str, Float32]) -> dict[str, Any]:
    """Time of exact edges / bare product on real pools, with few main directions; D = 256."""
    candidates, instances, reported = round(2000 * scale), round(50_000 * scale), {}
    for name, found in pools.items():
        units = UnitVectors.of(enlarged(found, instances))[:]
        some, own = split(units, candidates)
        sampled = sample_similarities(some, units, own=own, seed=0)
        for rule, sigma in (
            ("0.8", SIGMA),
            ("1 %", effective_sigma(SIGMA, sampled, 0.01)),
            ("2/k", effective_sigma(SIGMA, sampled, 2 / (candidates * 3 / 5))),
        ):
            way = find_shortcut(
                UnitVectors.of(some), UnitVectors.of(units), sigma, fast_integer_product()
            )
            share = 1.0
            if isinstance(way, Prefix):
                _, share = shares(way.bounds(some[::3]), way.bounds(units[::9]), sigma)
            spent = least(
                {
                    "gemm": lambda some=some, units=units: bare_product(some, units),
                    "ours": lambda some=some, units=units, own=own, sigma=sigma: edges_between(
                        some, units, sigma, own=own
                    ),
                }
            )
            reported[f"{name}, sigma {rule}"] = {
                "sigma": round(sigma, 4),
                "way": _name(way),
                "undecided": round(share, 5),
                "exact_over_gemm": round(spent["ours"] / spent["gemm"], 3),
            }
            logger.info("real, %s, sigma %s: %s", name, rule, reported[f"{name}, sigma {rule}"])
    masks = [each for name, each in reported.items() if "mask" in name]
    worst = max(masks, key=lambda each: each["exact_over_gemm"])
    return {
        "exact_over_gemm_real": worst["exact_over_gemm"],
        "undecided_share": worst["undecided"],
        "exact_by_pool": reported,
    }


def _name(way: Prefix | Rounding | None) -> str:
    if isinstance(way, Prefix):
        return f"prefix of {way.basis.shape[1]}"
    return "product" if way is None else "rounded"


SIZES = {"paper": (500_000, 25_000), "coco": (830_000, 75_000)}


def at_scale(name: str, scale: float) -> dict[str, float]:
    """A selection in this process: seconds, and memory besides the pool and the edges."""
    instances, candidates = (round(n * scale) for n in SIZES[name])
    pool = as_pool(synthetic(instances, 0.001)[0].astype(np.float16))
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak, see proc(5)
    before = _peak()
    budget = candidates // 25
    params = SelectionParams(alpha=25.0, beta=15.0)
    started = time.process_time()
    got = taudis(pool, budget=budget, labelled=Labelled(10.0), params=params, seed=0)
    spent = time.process_time() - started
    columns = int(got.diagnostics["sketch_columns"] or instances)
    bits = candidates * columns / 8e6
    return {"s": round(spent, 1), "bits_mb": round(bits), "columns": columns,
            "over_bits_mb": round(_peak() - before - bits)}  # fmt: skip


def _peak() -> float:
    """The peak memory of this process, MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3


def scales(scale: float) -> dict[str, Any]:
    """The scale of the paper and that of COCO, each in a separate process."""
    reported: dict[str, Any] = {}
    for name in SIZES:
        found = subprocess.run(
            [sys.executable, "-m", "benchmarks.selection", "--scale", name, "--size", str(scale)],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        reported[name] = json.loads(found.splitlines()[-1])
        logger.info("%s scale: %s", name, reported[name])
    return {
        "paper_scale_s": reported["paper"]["s"],
        "coco_scale_s": reported["coco"]["s"],
        "peak_mb_over_inputs": max(
            each["over_bits_mb"] + each["bits_mb"] for each in reported.values()
        ),
        "peak_mb_over_bits": max(each["over_bits_mb"] for each in reported.values()),
        "scales": reported,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of every size")
    parser.add_argument("--only", default="", help="parts, comma separated")
    parser.add_argument("--before", type=Path, metavar="DIR", help="another build, to compare")
    parser.add_argument("--rounds", type=int, default=5, help="of each build, with --before")
    parser.add_argument("--scale", choices=SIZES, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=float, default=1.0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    threadpool_limits(1)
    if given.before:
        size = "0.1" if given.quick else str(given.size)
        reported = side_by_side(
            given.before.resolve(), "benchmarks.selection",
            ["--only", given.only or ",".join([*PARTS, *REAL_PARTS]), "--size", size],
            given.rounds,
        )  # fmt: skip
        print(table(reported))
        print(json.dumps(reported))
        return
    with using_integer_product(fast_integer_product()):
        print(json.dumps(measured(given)))


def measured(given: argparse.Namespace) -> dict[str, Any]:
    """The figures of the requested parts."""
    if given.scale:
        return dict(at_scale(given.scale, given.size))
    scale = 0.1 if given.quick else given.size
    parts = given.only.split(",") if given.only else [*PARTS, *REAL_PARTS]
    pools = real_pools() if REAL_PARTS.keys() & set(parts) else {}
    result: dict[str, Any] = {}
    for part in parts:
        if part in REAL_PARTS:
            result |= REAL_PARTS[part](scale, pools)
        else:
            result |= PARTS[part](scale)
    return result


def real_pools() -> dict[str, Float32]:
    """Embeddings [N,D] of a trained model for each real set."""
    return {
        f"{real_data(name)[0]} {branch}": np.array(
            real_pool(name, branch).instances.embeddings, np.float32
        )
        for name, branch in REAL
    }


PARTS: dict[str, Callable[[float], dict[str, Any]]] = {
    "densities": densities, "greedy": greedy, "rivals": rivals, "kcentre": kcentre,
    "scales": scales,
}  # fmt: skip
REAL_PARTS: dict[str, Callable[[float, dict[str, Float32]], dict[str, Any]]] = {
    "sketch": sketch, "moonshot": moonshot,
}  # fmt: skip


if __name__ == "__main__":
    main()
