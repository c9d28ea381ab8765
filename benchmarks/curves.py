"""Draws the learning curves of the rows of `benchmarks.accuracy` as one picture.

    .venv/bin/python -m benchmarks.curves docs/images/curves.png ROWS [--over minutes|labels]

There is a panel for each data set and a line for each kind of initial weights. Points are means
over the seeds, bars their sample standard deviations, and dots the single runs. Runs with a changed
recipe are left out. Prints the means as JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

mpl.use("Agg")

LABELS = {"minutes": "CPU minutes, one core", "labels": "labelled images"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--over", choices=LABELS, default="minutes")
    options = parser.parse_args()
    rows = [json.loads(line) for line in options.rows.read_text().splitlines()]
    curves: dict[str, dict[str, dict[float, list[float]]]] = {}
    for row in rows:
        asked: dict[str, Any] = row["asked"]
        if asked[options.over] is not None and not asked["change"]:
            lines = curves.setdefault(asked["data"], {})
            points = lines.setdefault(asked["weights"], {})
            points.setdefault(asked[options.over], []).append(row["map50"])
    figure = Figure(figsize=(3.6 * len(curves), 3.2), layout="constrained")
    for place, (name, lines) in enumerate(sorted(curves.items()), start=1):
        axes = figure.add_subplot(1, len(curves), place)
        for weights, found in sorted(lines.items()):
            at = sorted(found)
            means = [float(np.mean(found[x])) for x in at]
            spreads = [float(np.std(found[x], ddof=1)) if len(found[x]) > 1 else 0.0 for x in at]
            drawn = axes.errorbar(at, means, spreads, marker="o", capsize=4, label=weights)
            for x in at:
                axes.plot([x] * len(found[x]), found[x], ".", color=drawn[0].get_color(), alpha=0.4)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel(LABELS[options.over])
        axes.set_ylabel("mask mAP50")
        axes.set_ylim(bottom=0)
        axes.legend(fontsize=8)
    figure.savefig(options.out, dpi=110)
    print(json.dumps({
        name: {w: {str(x): round(float(np.mean(v)), 4) for x, v in sorted(p.items())}
               for w, p in lines.items()}
        for name, lines in curves.items()
    }))  # fmt: skip


if __name__ == "__main__":
    main()
