"""Figures of the study's rows, as the findings in words need them."""

from __future__ import annotations

from statistics import geometric_mean

from benchmarks.page_tables import Row
from benchmarks.study_rows import CHOICE, by_set, compared, finished
from benchmarks.study_rule import SETS, by_rule, more, pairs
from taudis.simulation.comparison import Saved, labels_saved
from taudis.simulation.curves import Curve
from taudis.simulation.report import number
from taudis.simulation.result_rows import ResultRow
from taudis.simulation.statistics import mean_interval

HIGHWAY, FACADES = SETS["highway_cam"], SETS["facades"]
NUCLEI, TOOLS, FEW_STEPS = "nuclei_dsb2018", "tools_bench", "tools_bench-306_steps"
FIVE_SEEDS = ("tools_bench-400_steps",)  # the grid of `tools_bench` with five seeds, in fp32
BUILDINGS, FOUR_IMAGES = "oam_buildings", "oam_buildings-4_images"
OTHER_FIVE = (FOUR_IMAGES,)


class Figures:
    """Figures of the rows, as the findings need them."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        self.sets = by_set(rows)
        self.choices = by_set(rows, ["choice"])
        self.inside = by_set(rows, ["contents"])
        self.inside_choices = by_set(rows, [CHOICE])
        self.compared = compared(rows)
        self.rule = by_rule(self.compared)

    def of(self, grids: tuple[str, ...]) -> list[ResultRow]:
        """The compared rows of some grids."""
        return [row for row in self.compared if row.data in grids]

    def area(self, grids: tuple[str, ...], name: str, reference: str = "random") -> str:
        """Area over images minus the reference's, over all seeds of these grids."""
        return number(mean_interval(more(self.of(grids), name, reference, "images")), signed=True)

    def upper_end(self, grids: tuple[str, ...]) -> int:
        """The upper end of the share of images that `taudis` saves against random, in percent."""
        return round(100 * (self.saved(grids, "taudis", "images").interval.high or 0.0))

    def saved(self, grids: tuple[str, ...], name: str, axis: str) -> Saved:
        """The share of random's labels that a strategy saves."""
        return labels_saved(*pairs(self.of(grids), name, "random"), axis)

    def most(self, grids: tuple[str, ...]) -> int:
        """The share of images saved if the seed set alone reached the target, in percent."""
        images = Curve.mean(pairs(self.of(grids), "taudis", "random")[1]).labels["images"]
        return round(100 * (1 - images[0] / images[-1]))

    def finals(self, grid: str, name: str) -> list[str]:
        """mAP50 of a strategy and of random after the last round, mean over paired seeds."""
        both = pairs(self.of((grid,)), name, "random")
        return [f"{Curve.mean(curves).map50[-1]:.3f}" for curves in both]

    def objects(self, grids: tuple[str, ...], name: str) -> float:
        """Labelled objects after the last round, as a multiple of random's on the same seeds."""
        sums = {name: 0, "random": 0}
        for grid in grids:
            own = self.sets[grid]
            seeds = finished(own, name) & finished(own, "random")
            last = max(row["round"] or 0 for row in own)
            for row in own:
                if row["strategy"] in sums and row["round"] == last and row["seed"] in seeds:
                    sums[row["strategy"]] += row["labelled_objects"]
        return sums[name] / sums["random"]

    def scenes(self, grid: str, name: str) -> str:
        """Scenes of the images that a strategy chose in a round, mean."""
        found = [row["scenes"] for row in self.inside[grid] if row["strategy"] == name]
        return f"{sum(found) / len(found):.1f}"

    def size(self, grid: str, name: str) -> float:
        """Median size of an object in a strategy's images / that of all training images.

        The geometric mean over rounds, as in the table of contents.
        """
        rows = self.inside[grid]
        whole: float = next(row["median_size"] for row in rows if row["strategy"] is None)
        own = [row["median_size"] for row in rows if row["strategy"] == name]
        return geometric_mean(size for size in own if size) / whole

    def trained(self) -> set[str]:
        """The strategies on whose choices models were trained, also under a preset's name."""
        rows = [row for own in self.sets.values() for row in own if row["kind"] == "round"]
        return {row["record"]["strategy"]["strategy"] for row in rows}

    def first(self, key: str, name: str) -> int:
        """Scenes or objects of a strategy's first choice on `tools_bench`."""
        found = self.inside_choices if key == "scenes" else self.choices
        return round(next(row[key] for row in found[TOOLS] if row["strategy"] == name))

    def map50(self, grid: str, name: str | None, kind: str = "round", seed: int = 0) -> list[float]:
        """mAP50 of a seed's models, by round."""
        own = [row for row in self.sets[grid] if row["kind"] == kind and row["seed"] == seed]
        found = sorted((row["round"] or 0, row["map50"]) for row in own if row["strategy"] == name)
        return [map50 for _, map50 in found]
