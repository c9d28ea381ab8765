"""Counts the kinds of objects among the images that a strategy picks first.

    OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.diversity [--pools scenes relu nuclei_dsb2018]

Clusters represent kinds. In synthetic pools they are known (`benchmarks.pools.scenes`). In a real
pool, which a model that is trained here detects, they are k-means clusters of the standardised
instance embeddings, and also the labels if there are several. Each seed makes another synthetic
pool, or draws another 80 % of a real pool's images and other k-means. It is also the seed of the
strategy.

There are three sets of hyper-parameters: the paper's (alpha 50, beta 30, fixed sigma 0.8), the
defaults (alpha and beta from the mean number of instances per image, adaptive sigma), and the
defaults with fixed sigma 0.8. Prints a table for each pool, then a line of JSON. Diversity is not
accuracy; docs/selection.md explains the limits of the figures.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student
from sklearn.cluster import KMeans

from benchmarks.pools import real_data, real_pool, scenes
from taudis.selection.params import Labelled, SelectionParams
from taudis.selection.strategies import query
from taudis.types import IntArray, Pool, Selection

logger = logging.getLogger("diversity")

SYNTHETIC_IMAGES, SYNTHETIC_BUDGET = 2000, 50
REAL_BUDGET = 10
REAL_CLUSTERS = (50, 200)
REAL_SHARE = 0.8  # share of a real pool's images, drawn for each seed

PAPER = SelectionParams.paper("overhead")
RULES = {
    "paper": replace(PAPER, remainder="layers"),
    "default": SelectionParams(),
    "flat": SelectionParams(sigma_rule="flat"),
}
CONTENDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "taudis, `layers`": ("taudis", {}),
    "taudis, `uncertainty`": ("taudis", {"remainder": "uncertainty"}),
    "taudis, `none`": ("taudis", {"remainder": "none"}),
    "taudis, `layers`, standardised": ("taudis", {"standardise": True}),
    "taudis_cover": ("taudis_cover", {}),
    "taudis_cover, standardised": ("taudis_cover", {"standardise": True}),
    "taudis_img": ("taudis_img", {}),
}
NO_RULES = ("random", "wse", "average_se", "core_set")  # the same under all sets of rules


@dataclass(frozen=True)
class Case:
    """The pool of a seed, with the kinds of its instances."""

    pool: Pool
    kinds: dict[str, IntArray]  # [N] by what makes them
    budget: int
    mean_instances: float  # of the seed set


@dataclass(frozen=True)
class Figures:
    """The kinds in the first B images of a strategy."""

    clusters: int  # number of clusters among all instances of the images
    of_chosen: int | None  # number of clusters among the chosen instances
    instances: int
    saturation_pick: int | None = None
    density: float | None = None
    sigma: float | None = None


def synthetic_cases(relu: bool, seeds: Iterable[int]) -> Iterator[Case]:
    """Pools with known clusters, one for each seed."""
    for seed in seeds:
        pool, which = scenes(SYNTHETIC_IMAGES, relu=relu, seed=seed)
        yield Case(pool, {"known": which}, SYNTHETIC_BUDGET, len(which) / len(pool))


def real_cases(name: str, seeds: Iterable[int]) -> Iterator[Case]:
    """Parts of a real pool with their k-means clusters, one for each seed."""
    whole = real_pool(name, "mask")
    _, names, samples = real_data(name)
    mean = float(np.mean([len(samples.labels_at(row)) for row in range(100)]))  # what was trained
    for seed in seeds:
        rng = np.random.default_rng(seed)
        pool = whole.subset(rng.permutation(len(whole))[: round(REAL_SHARE * len(whole))])
        found = pool.instances.embeddings.astype(np.float32)
        spread = found.std(axis=0)
        standard = (found - found.mean(axis=0)) / np.where(spread > 0, spread, 1)
        kinds: dict[str, IntArray] = {
            f"{count} k-means": KMeans(count, n_init=1, random_state=seed)
            .fit_predict(standard)
            .astype(np.int64)
            for count in REAL_CLUSTERS
        }
        if len(names) > 1:
            kinds["labels"] = pool.instances.labels
        yield Case(pool, kinds, REAL_BUDGET, mean)


def measure(case: Case, kinds: IntArray, got: Selection) -> Figures:
    """The figures of a selection's first B images."""
    image = case.pool.instances.image_index
    held = np.isin(image, got.order[: case.budget])
    chosen = got.chosen[held[got.chosen]]
    results = got.diagnostics
    return Figures(
        clusters=_distinct(kinds[held]),
        of_chosen=_distinct(kinds[chosen]) if len(chosen) else None,
        instances=int(held.sum()),
        saturation_pick=results.get("saturation_pick"),  # type: ignore[arg-type]
        density=results.get("density"),  # type: ignore[arg-type]
        sigma=results.get("sigma_eff"),  # type: ignore[arg-type]
    )


def _distinct(values: npt.NDArray[np.integer[Any]]) -> int:
    return len(np.unique(values))


def ceiling(case: Case, kinds: IntArray) -> Figures:
    """The figures of greedy with known clusters: about the largest possible in B images."""
    held = np.zeros((len(case.pool), int(kinds.max()) + 1), bool)
    held[case.pool.instances.image_index, kinds] = True
    covered, picked = np.zeros(held.shape[1], bool), list[int]()
    for _ in range(case.budget):
        picked.append(int((held & ~covered).sum(axis=1).argmax()))
        covered |= held[picked[-1]]
    instances = int(np.isin(case.pool.instances.image_index, picked).sum())
    return Figures(int(covered.sum()), None, instances)


def run(case: Case, seed: int) -> dict[str, dict[str, Figures]]:
    """For each kind of clusters: every contender with every set of hyper-parameters."""

    def ask(strategy: str, params: SelectionParams) -> Selection:
        labelled = Labelled(case.mean_instances)
        return query(
            strategy, case.pool, budget=case.budget, labelled=labelled, params=params, seed=seed
        )

    found = {
        f"{rules}: {name}": ask(strategy, replace(params, **changed))
        for rules, params in RULES.items()
        for name, (strategy, changed) in CONTENDERS.items()
    }
    found |= {name: ask(name, SelectionParams()) for name in NO_RULES}
    return {
        way: {name: measure(case, kinds, got) for name, got in found.items()}
        | {"greedy that knows the clusters": ceiling(case, kinds)}
        for way, kinds in case.kinds.items()
    }


def interval(values: Sequence[float]) -> tuple[float, float]:
    """(mean, half-width of the 95 % interval by Student's t) of two values or more."""
    mean = float(np.mean(values))
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return mean, float(student.ppf(0.975, len(values) - 1)) * error


def summary(runs: Sequence[dict[str, Figures]]) -> dict[str, dict[str, Any]]:
    """For each contender and figure: mean, half-width, and the difference to `random` by seed."""
    results: dict[str, dict[str, Any]] = {}
    for name in runs[0]:
        rows = [asdict(found[name]) for found in runs]
        results[name] = {
            key: [round(x, 4) for x in interval([row[key] for row in rows])]
            for key in rows[0]
            if all(row[key] is not None for row in rows)
        }
        results[name]["runs"] = len(rows)
        results[name]["saturated"] = sum(row["saturation_pick"] is not None for row in rows)
        over = [found[name].clusters - found["random"].clusters for found in runs]
        results[name]["over_random"] = [round(x, 2) for x in interval(over)]
    return results


def table(results: dict[str, dict[str, Any]]) -> str:
    """The summary as a Markdown table, by descending number of clusters."""

    def cell(value: list[float] | None, digits: int = 1) -> str:
        return "" if value is None else f"{value[0]:.{digits}f} ± {value[1]:.{digits}f}"

    lines = [
        "| strategy | distinct clusters | more than random | among chosen instances | instances "
        "| cover complete after |",
        "|---|---|---|---|---|---|",
    ]
    for name in sorted(results, key=lambda name: -results[name]["clusters"][0]):
        row = results[name]
        done = f"{row['saturated']} of {row['runs']} runs: complete" if row["saturated"] else "not"
        if "saturation_pick" in row:
            done = f"{row['saturation_pick'][0]:.0f}"
        cells = (
            name,
            cell(row["clusters"]),
            "" if name == "random" else cell(row["over_random"]),
            cell(row.get("of_chosen")),
            f"{row['instances'][0]:.0f}",
            done if "density" in row else "",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the named pools; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--pools",
        nargs="+",
        default=["scenes", "relu", "nuclei_dsb2018"],
        help="scenes, relu, or sets of ../shared/data",
    )
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0 on")
    asked = parser.parse_args(arguments)
    if asked.seeds < 2:
        parser.error(f"--seeds: expected 2 or more, since intervals need them, got {asked.seeds}")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    results = {}
    for name in asked.pools:
        seeds = range(asked.seeds)
        synthetic = name in ("scenes", "relu")
        cases = synthetic_cases(name == "relu", seeds) if synthetic else real_cases(name, seeds)
        runs = []
        for seed, case in zip(seeds, cases, strict=True):
            logger.info("%s, seed %d: %d images", name, seed, len(case.pool))
            runs.append(run(case, seed))
        for way in runs[0]:
            key = f"{name}, {way}"
            results[key] = summary([found[way] for found in runs])
            print(f"\n{key}, B = {case.budget}, {asked.seeds} seeds\n\n{table(results[key])}\n")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
