"""docs/selection.md says of the first order what the rows say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.accuracy import summary

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("data", ["tools_bench", "facades"])
def test_the_page_has_the_figures_of_the_rows(data):
    found = {"random": {}, "core_set": {}}
    for line in (ROOT / "benchmarks/rows/first_order.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["asked"]["data"] == data:
            found[row["asked"]["order"]][row["asked"]["seed"]] = row["map50"]
    random, core_set = ([found[order][seed] for seed in range(5)] for order in found)
    less = [ours - theirs for ours, theirs in zip(core_set, random, strict=True)]
    cells = [f"`{data}`"]
    for values in (random, core_set):
        one = summary(values)
        cells += [
            ", ".join(f"{value:.3f}" for value in values),
            f"{one['mean']:.3f} ± {one['half_interval']:.3f}",
        ]
    one = summary(less)
    cells.append(f"{one['mean']:+.3f} ± {one['half_interval']:.3f}")
    assert f"| {' | '.join(cells)} |" in (ROOT / "docs/selection.md").read_text(encoding="utf-8")
