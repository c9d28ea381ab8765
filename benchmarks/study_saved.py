"""The table of labels saved on each set, both divisions of a set counted together.

Each strategy is compared with `random` and with `foreground_random`, on the seeds that both have
finished. A pair of strategies with fewer than FEW_SEEDS paired seeds is left out, because its
interval would only be the range of the seeds. Holm's correction is for the strategies that are
compared with one reference on one set. The statistics are those of `compare`
(docs/comparing.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.study import PARTS
from benchmarks.study_rule import SETS, pairs
from taudis.simulation.comparison import FEW_SEEDS, labels_saved, pair_areas
from taudis.simulation.curves import AXES, Curve
from taudis.simulation.report import number, saved_share
from taudis.simulation.result_rows import ResultRow
from taudis.simulation.statistics import holm, mean_interval, paired_p

REFERENCES = ("random", "foreground_random")
DIVISIONS: Mapping[str, tuple[str, ...]] = {
    **SETS, **{grid.data: (grid.name,) for grid in PARTS["five_seeds"].grids},
}  # fmt: skip
"""Folder of a set -> the names of its grids."""


def labels_saved_on_sets(rows: Sequence[ResultRow]) -> str:
    """The table, as Markdown. rows: of the sets that the protocol compares."""
    lines = [
        "| set | strategy | reference | paired seeds | area over images: more than the reference"
        " | p | p (Holm) | images saved | objects saved | seconds saved |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for data, grids in DIVISIONS.items():
        own = [row for row in rows if row.data in grids]
        names = sorted({row.strategy for row in own if row.strategy} - {"random"})
        for reference in REFERENCES:
            found = {name: pairs(own, name, reference) for name in names if name != reference}
            found = {name: each for name, each in found.items() if len(each[0]) >= FEW_SEEDS}
            p = {name: paired_p(pair_areas(*each, "images")[1]) for name, each in found.items()}
            corrected = holm(p)
            for name, each in found.items():
                cells = " | ".join(_cells(*each, p[name], corrected[name]))
                lines.append(f"| {data} | `{name}` | `{reference}` | {cells} |")
    return "\n".join(lines)


def _cells(
    curves: Sequence[Curve], reference: Sequence[Curve], p: float, corrected: float
) -> list[str]:
    """The columns after the names of the strategies."""
    area = mean_interval(pair_areas(curves, reference, "images")[1])
    saved = [saved_share(labels_saved(curves, reference, axis)) for axis in AXES]
    tests = [f"{p:.3f}", f"{corrected:.3f}"]
    return [str(len(curves)), number(area, signed=True), *tests, *saved]
