"""The findings of docs/results in words, with figures from the rows.

The figures follow the rows. tests/benchmarks/test_study_found.py holds what the words say about
them: read them again after new rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.page_tables import Row
from benchmarks.study_figures import (
    BUILDINGS,
    FACADES,
    FEW_STEPS,
    FIVE_SEEDS,
    FOUR_IMAGES,
    HIGHWAY,
    NUCLEI,
    OTHER_FIVE,
    TOOLS,
    Figures,
)
from benchmarks.study_rule import BOTH, CANDIDATES, on_redundant_sets
from taudis.simulation.gate import closed_at_once, signal_of_rows
from taudis.simulation.report import number, saved_share
from taudis.simulation.statistics import Interval, smallest_p

Finding = Callable[[Figures], str]


def findings(rows: list[Row]) -> str:
    """The findings of the test, as a list in Markdown."""
    return list_of(FOUND, rows)


def other_sets(rows: list[Row]) -> str:
    """The findings on sets that are not compared, and on the choice of the entry."""
    return list_of(OTHER_SETS, rows)


def list_of(group: Sequence[Finding], rows: list[Row]) -> str:
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
        " ([table](#labels-saved-on-each-set)). So the test does not exclude a saving of a third."
        " MaskAL's 61 % cannot be compared with these shares, since its seed set was a far smaller"
        " part of the labels."
    )


def _divisions(figures: Figures) -> str:
    highway = " and ".join(figures.area((grid,), "taudis") for grid in HIGHWAY)
    facades = " and ".join(figures.area((grid,), "taudis") for grid in FACADES)
    return (
        "**One division with three seeds shows nothing.** `taudis` less random in area over images,"
        f" on the first and the second division: {highway} on `highway_cam`, {facades} on"
        " `facades`. The sign changes on both sets. The divisions have other seeds, too, so this"
        " is no proof of a difference between divisions."
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
    ends = zip(*(figures.finals(grid, "wse") for grid in HIGHWAY), strict=True)
    wse, random = (" and ".join(each) for each in ends)
    return (
        "**Plain uncertainty is the worst order on `highway_cam`.** `wse` less random:"
        f" {figures.area(HIGHWAY, 'wse')}. It ended below random on both divisions ({wse}; random"
        f" {random})."
    )


def _no_difference(figures: Figures) -> str:
    ours, foreground, wse = (
        figures.area(OTHER_FIVE, name) for name in ("taudis", "foreground_random", "wse")
    )
    return (
        "**On `oam_buildings` no order is better or worse than random.** Less random in area over"
        f" images, on five paired seeds: `taudis` {ours}, `foreground_random` {foreground}, `wse`"
        f" {wse}. `taudis` had {figures.objects(OTHER_FIVE, 'taudis'):.2f} times random's objects"
        f" after the last round, `wse` {figures.objects(OTHER_FIVE, 'wse'):.2f} times. This set,"
        " too, had a part in the choice."
    )


def _diversity(figures: Figures) -> str:
    less = on_redundant_sets(figures.compared, "taudis", "wse")
    highway, tools, both = (less[data] for data in ("highway_cam", "tools_bench", BOTH))
    return (
        "**Diversity helps uncertainty on the redundant sets.** `taudis` less `wse` in area over"
        f" images: {_signed(highway.images)} on `highway_cam` (p {highway.p:.3f}),"
        f" {_signed(tools.images)} on `tools_bench` (p {tools.p:.3f}), {_signed(both.images)} on"
        f" the {both.seeds} paired seeds of both (p {both.p:.3f}). Neither set shows it alone"
        " ([table](#against-plain-uncertainty-on-redundant-sets))."
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
        f" {less}. So crowded images help by image there, and a random draw of them helps more"
        f" than TAUDIS. Five seeds cannot give a p below {smallest_p(5):.3f}, so no single"
        " comparison of this set passes its paired test; the intervals of five seeds hold the"
        " truth in 88 % of the cases ([why](../comparing.md#intervals))."
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
    four = _list([figures.map50(FOUR_IMAGES, None, "seed_set", seed)[0] for seed in range(5)])
    return (
        "**`oam_buildings` learns from a handful of images.** Eight reach"
        f" {gate.seed_set.mean:.3f}, all {gate.all_labels.mean:.3f}. With four it depends on which"
        f" ones: {four} on five seeds."
    )


def _chosen(_figures: Figures) -> str:
    return (
        f"**`{CANDIDATES[1]}` went on to the test** with hardly more area over images than"
        " `cost_scale_t03`, summed over the two sets"
        " ([table](#the-choice-of-the-entry-that-goes-on)). So chance chose between them. One of"
        " the two sets, `oam_buildings`, passes the gate with five seeds, but did not with the two"
        " it had then, so its rows should not have counted. On `tools_bench` alone,"
        " `cost_scale_t03` would have gone on."
    )


def _seeds(figures: Figures) -> str:
    return (
        "**Seeds differ by as much as strategies do.** On `tools_bench` (bf16) models of one"
        f" strategy and round lay up to {_spread(figures):.2f} mAP50 apart, since rare labels have"
        " few test objects. Five or more seeds are needed, as the protocol says."
    )


FOUND: tuple[Finding, ...] = (
    _rule,
    _unseen,
    _divisions,
    _narrow,
    _saves_images,
    _no_difference,
    _uncertainty,
    _diversity,
)
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
