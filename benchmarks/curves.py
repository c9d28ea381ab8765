"""Draws the learning curves of the results of `benchmarks.accuracy` as one picture.

    .venv/bin/python -m benchmarks.curves docs/images/curves.png facades.json coco.json

Each file holds the JSON line of one data set. Points are means over the seeds, bars their sample
standard deviations, dots the single runs. Prints the figures again as JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

mpl.use("Agg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    options = parser.parse_args()
    figure = Figure(figsize=(4 * len(options.files), 3.2), layout="constrained")
    results = {}
    for place, path in enumerate(options.files, start=1):
        found = json.loads(path.read_text().splitlines()[-1])
        axes = figure.add_subplot(1, len(options.files), place)
        minutes = [point["minutes"] for point in found["curve"]]
        means = [point["map50"]["mean"] for point in found["curve"]]
        spreads = [point["map50"]["std"] or 0.0 for point in found["curve"]]
        axes.errorbar(minutes, means, spreads, marker="o", capsize=4)
        for point in found["curve"]:
            runs = [run["map50"] for run in point["runs"]]
            axes.plot([point["minutes"]] * len(runs), runs, ".", color="grey")
        axes.set_title(f"{found['data']}: {found['train_images']} images", fontsize=10)
        axes.set_xlabel("CPU minutes, one core")
        axes.set_ylabel("mask mAP50")
        axes.set_ylim(bottom=0)
        axes.set_xticks(minutes)
        results[found["data"]] = dict(zip(map(str, minutes), means, strict=True))
    figure.savefig(options.out, dpi=110)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
