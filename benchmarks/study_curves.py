"""Draws the learning curves of docs/results, a picture for each set that is compared.

    .venv/bin/python -m benchmarks.study_curves [FOLDER]

Each picture has the strategies that have the most seeds with `random`, on these seeds. It is the
picture of `python -m taudis compare`. FOLDER is docs/results/curves by default. The last line is
JSON: the files.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.page_tables import Row
from benchmarks.study import ROWS
from benchmarks.study_rows import by_set, finished, is_compared, read, strategies
from taudis.simulation.comparison import Comparison, compare
from taudis.simulation.curve_picture import draw_curves
from taudis.simulation.paired_curves import Choice, paired_curves
from taudis.simulation.result_rows import read_results

CURVES = ROWS.parent / "curves"
LEAST = 3
"""A picture of fewer seeds than a division of the test has would show nothing."""


def pictures(rows: list[Row]) -> dict[str, Comparison]:
    """Set -> the comparison to draw."""
    found = {}
    for data, own in by_set(rows).items():
        seeds = {name: finished(own, name) & finished(own, "random") for name in strategies(own)}
        most = max((len(each) for each in seeds.values()), default=0)
        if not is_compared(own) or most < LEAST:
            continue
        names = tuple(name for name in seeds if len(seeds[name]) == most)
        results = read_results(sorted({Path(row["file"]) for row in own})).rows
        kept = [row for row in results if row.strategy in (None, "random", *names)]
        found[data] = compare(paired_curves(kept, Choice(finished_only=True))[0])
    return found


def draw(folder: Path) -> list[str]:
    """Draw all pictures as SVG. Returns the names of the files."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for data, found in pictures(read(ROWS)).items():
        picture, drawing = draw_curves(folder, data, found)
        picture.unlink()  # the PNG is twice as large
        names.append(drawing.name)
    return names


def main() -> None:
    """Draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=CURVES)
    print(json.dumps({"files": draw(parser.parse_args().folder)}))


if __name__ == "__main__":
    main()
