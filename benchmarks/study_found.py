"""The findings of docs/results in words, with figures from the rows.

The figures follow the rows. tests/benchmarks/test_study_found.py holds what the words say about
them: read them again after new rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.page_tables import Row
from benchmarks.study_rows import CHOICE, by_set, compared, finished
from benchmarks.study_rule import CANDIDATES, SETS, by_rule, more, on_redundant_sets, pairs
from taudis.simulation.comparison import Saved, labels_saved
from taudis.simulation.curves import Curve
from taudis.simulation.gate import closed_at_once, signal_of_rows
from taudis.simulation.report import number, saved_share
from taudis.simulation.result_rows import ResultRow
from taudis.simulation.statistics import Interval, mean_interval

HIGHWAY, FACADES = SETS["highway_cam"], SETS["facades"]
NUCLEI, TOOLS, FEW_STEPS = "nuclei_dsb2018", "tools_bench", "tools_bench-306_steps"
FIVE_SEEDS = ("tools_bench-400_steps",)  # the grid of `tools_bench` with five seeds, in fp32
BUILDINGS, FOUR_IMAGES = "oam_buildings", "oam_buildings-4_images"


class Figures:
    """Figures of the rows, as the findings need them."""

    def __init__(self, rows: list[Row]) -> None:
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

    def first(self, key: str, name: str) -> int:
        """Scenes or objects of a strategy's first choice on `tools_bench`."""
        found = self.inside_choices if key == "scenes" else self.choices
        return round(next(row[key] for row in found[TOOLS] if row["strategy"] == name))

    def map50(self, grid: str, name: str | None, kind: str = "round", seed: int = 0) -> list[float]:
        """mAP50 of a seed's models, by round."""
        own = [row for row in self.sets[grid] if row["kind"] == kind and row["seed"] == seed]
        found = sorted((row["round"] or 0, row["map50"]) for row in own if row["strategy"] == name)
        return [map50 for _, map50 in found]


Finding = Callable[[Figures], str]


def findings(rows: list[Row]) -> str:
    """The findings of the test, as a list in Markdown."""
    return _list_of(FOUND, rows)


def held_back(rows: list[Row]) -> str:
    """What held the order back, and what was tried, as a list in Markdown."""
    return _list_of(HELD_BACK, rows)


def other_sets(rows: list[Row]) -> str:
    """The findings on sets that are not compared, and on the choice of the entry."""
    return _list_of(OTHER_SETS, rows)


def _list_of(group: Sequence[Finding], rows: list[Row]) -> str:
    figures = Figures(rows)
    return "\n".join(f"- {finding(figures)}" for finding in group)


# --- the sets to test on ------------------------------------------------------------------------


def _rule(figures: Figures) -> str:
    ours, other = (_signed(figures.rule[name].images) for name in CANDIDATES)
    return (
        "**No strategy meets [the rule](#the-rule-of-the-default).** On the"
        f" {figures.rule['taudis'].seeds} paired seeds of both sets, the area over images of"
        f" `taudis` less that of `foreground_random` is {ours}, that of `{CANDIDATES[1]}` {other}."
        " So `taudis` stays the default, and README and status page say what was found"
        " ([decision 42](../decisions/0042-the-default-order.md)). `STRATEGY=random` gives a"
        " random order."
    )


def _unseen(figures: Figures) -> str:
    return (
        "**How much could be there unseen.** The seed set is a third of all labels here, so no"
        f" order can save more than {figures.most(HIGHWAY)} % of the images. The interval of what"
        f" `taudis` saves against random ends at {figures.upper_end(HIGHWAY)} % on `highway_cam`"
        f" and at {figures.upper_end(FACADES)} % on `facades`"
        " ([table](#labels-saved-on-each-set)). So the test excludes a saving as large as MaskAL's"
        " 61 %. It does not exclude one of a fifth or a third."
    )


def _divisions(figures: Figures) -> str:
    highway = " and ".join(figures.area((grid,), "taudis") for grid in HIGHWAY)
    facades = " and ".join(figures.area((grid,), "taudis") for grid in FACADES)
    return (
        "**One division misleads.** `taudis` less random in area over images, on the first and the"
        f" second division: {highway} on `highway_cam`, {facades} on `facades`. The sign changes on"
        " both sets."
    )


def _narrow(figures: Figures) -> str:
    gate = signal_of_rows(figures.sets[FACADES[0]])
    apart = (gate.all_labels.mean or 0.0) - (gate.seed_set.mean or 0.0)
    return (
        "**`facades` passes the signal gate narrowly.** On the first division its models of all"
        f" labels lie {apart:.3f} above those of the seed set, with a standard deviation of"
        f" {gate.all_labels.sd:.3f} over seeds. A difference between strategies has to be large to"
        " show there."
    )


def _uncertainty(figures: Figures) -> str:
    less = on_redundant_sets(figures.compared, "taudis", "wse")
    highway, tools = (_signed(less[data].images) for data in ("highway_cam", "tools_bench"))
    ends = zip(*(figures.finals(grid, "wse") for grid in HIGHWAY), strict=True)
    wse, random = (" and ".join(each) for each in ends)
    return (
        "**Plain uncertainty is the worst order on `highway_cam`.** `wse` less random:"
        f" {figures.area(HIGHWAY, 'wse')}. It ended below random on both divisions ({wse}; random"
        f" {random}). `taudis` less `wse`: {highway}, so the interval touches 0. On `tools_bench`,"
        f" where diversity should help as well, it is {tools}: `taudis` is better beyond the"
        " interval ([table](#against-plain-uncertainty-on-redundant-sets))."
    )


def _saves_images(figures: Figures) -> str:
    saved = {
        (name, axis): saved_share(figures.saved(FIVE_SEEDS, name, axis))
        for name in ("taudis", "foreground_random")
        for axis in ("images", "objects")
    }
    objects = figures.objects(FIVE_SEEDS, "taudis")
    less = figures.area(FIVE_SEEDS, "taudis", "foreground_random")
    return (
        "**On `tools_bench` TAUDIS saves images, and no objects.** This set had a part in the"
        " choice of the entry, so it does not count for the rule. On five paired seeds `taudis`"
        f" less random is {figures.area(FIVE_SEEDS, 'taudis')} in area over images. It saves"
        f" {saved['taudis', 'images']} of random's images. Counted in objects that is"
        f" {saved['taudis', 'objects']}, so no saving is shown: after the last round its images"
        f" hold {objects:.2f} times random's objects. `foreground_random`, which draws images with"
        f" many detected objects, saves {saved['foreground_random', 'images']} of the images, and"
        f" {saved['foreground_random', 'objects']} in objects. `taudis` less `foreground_random`:"
        f" {less}. So crowded images help by image there, and a random draw"
        " of them helps more than TAUDIS."
    )


def _crowded(figures: Figures) -> str:
    facades, tools = (figures.objects(grids, "taudis") for grids in (FACADES, FIVE_SEEDS))
    foreground = figures.objects(FIVE_SEEDS, "foreground_random")
    margin, random = (figures.first("objects", name) for name in ("margin", "random"))
    return (
        f"**Crowded images.** After the last round `taudis` had {facades:.2f} times random's"
        f" objects labelled on `facades`, in as many images, and {tools:.2f} times on"
        f" `tools_bench`. `foreground_random` had {foreground:.2f} times there. So what a strategy"
        " gains by image it can lose by object. Uncertainty alone does not lead to crowded images:"
        f" of the first 16 images, `margin` chose {margin} objects and random {random}."
    )


def _scenes(figures: Figures) -> str:
    names = ("taudis", "wse", "random")
    highway = [figures.scenes(HIGHWAY[0], name) for name in names]
    tools = [figures.scenes(FIVE_SEEDS[0], name) for name in names]
    one, ours = (figures.first("scenes", name) for name in ("taudis_one", "taudis"))
    return (
        "**Uncertain images came from few scenes.** The 8 images of a round of `highway_cam` (first"
        f" division) are of {highway[0]} scenes by `taudis`, {highway[1]} by `wse` and {highway[2]}"
        f" by random; the 16 of `tools_bench` of {tools[0]}, {tools[1]} and {tools[2]}. So"
        " the diversity of instances, as the weak model sees them, is not the diversity of scenes"
        f" that a random order has. One candidate an image (`taudis_one`) gives {one} scenes in"
        f" place of {ours} in the first choice on `tools_bench`."
    )


def _sizes(_figures: Figures) -> str:
    return (
        "**Uncertain masks were those of large objects.** `wse` chose images whose median object is"
        " three to seven times as large as that of all training images, on `highway_cam` and"
        " `nuclei_dsb2018`; `taudis` is near the median there"
        " ([table](#what-the-chosen-images-contain)). The objects of the test images are as small"
        " as those of all images."
    )


# --- the other sets -------------------------------------------------------------------------------


def _nuclei(figures: Figures) -> str:
    wse, ours, random = (_list(figures.map50(NUCLEI, n)) for n in ("wse", "taudis", "random"))
    whole = figures.map50(NUCLEI, None, "all")[0]
    closed = closed_at_once(figures.sets[NUCLEI]) or 0.0
    return (
        "**`nuclei_dsb2018` has no room, and is not compared.** Random's first round closes"
        f" {100 * closed:.0f} % of the gap: its 150 steps limit the model, not the labels. On seed"
        f" 0 all 531 images reach {whole:.3f}; with 8, 12 and 16 images `wse` had {wse}, `taudis`"
        f" {ours} and random {random}."
    )


def _steps(figures: Figures) -> str:
    gate = signal_of_rows(figures.sets[FEW_STEPS])
    return (
        "**306 steps are too few for `tools_bench`.** All labels reach"
        f" {gate.all_labels.mean:.3f}, the seed set {gate.seed_set.mean:.3f}: not two standard"
        " deviations apart. These rows are not compared."
    )


def _buildings(figures: Figures) -> str:
    gate = signal_of_rows(figures.sets[BUILDINGS])
    four = _list([figures.map50(FOUR_IMAGES, None, "seed_set", seed)[0] for seed in (0, 1)])
    return (
        "**`oam_buildings` learns from a handful of images.** Eight reach"
        f" {gate.seed_set.mean:.3f}, all {gate.all_labels.mean:.3f}. With four it depends on which"
        f" ones: {four} on two seeds."
    )


def _chosen(_figures: Figures) -> str:
    return (
        f"**`{CANDIDATES[1]}` went on to the test** with hardly more area over images than"
        " `cost_scale_t03`, summed over the two sets"
        " ([table](#the-choice-of-the-entry-that-goes-on)). So chance chose between them."
    )


def _seeds(figures: Figures) -> str:
    return (
        "**Seeds differ by as much as strategies do.** On `tools_bench` (bf16) models of one"
        f" strategy and round lay up to {_spread(figures):.2f} mAP50 apart, since rare labels have"
        " few test objects. Five or more seeds are needed, as the protocol says."
    )


FOUND: tuple[Finding, ...] = (_rule, _unseen, _divisions, _narrow, _saves_images)
HELD_BACK: tuple[Finding, ...] = (_uncertainty, _crowded, _scenes, _sizes)
OTHER_SETS: tuple[Finding, ...] = (_nuclei, _steps, _buildings, _chosen, _seeds)


def _signed(interval: Interval | None) -> str:
    return "" if interval is None else number(interval, signed=True)


def _list(values: Sequence[float]) -> str:
    """mAP50 values with "and" before the last."""
    *first, last = (f"{value:.3f}" for value in values)
    return f"{', '.join(first)} and {last}"


def _spread(figures: Figures) -> float:
    """The largest difference of mAP50 between seeds of one strategy and round."""
    models: dict[tuple[str, int], list[float]] = {}
    for row in figures.sets[TOOLS]:
        if row["kind"] == "round":
            models.setdefault((row["strategy"], row["round"]), []).append(row["map50"])
    return max(max(values) - min(values) for values in models.values())
