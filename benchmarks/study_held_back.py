"""What held the order of TAUDIS back, and what was tried, in words with figures from the rows."""

from __future__ import annotations

from statistics import mean, median

from benchmarks.page_tables import Row
from benchmarks.study_covers import covers_of
from benchmarks.study_figures import FACADES, FIVE_SEEDS, HIGHWAY, Figures
from benchmarks.study_found import Finding, list_of
from taudis.selection.strategies import STRATEGIES

SCREENED = {
    "taudis_ce": "the uncertainty of the class alone",
    "taudis_flat": "a sigma of 0.8",
    "taudis_cover": "images in place of votes",
    "clasp_se": "uncertainty with noise that decays",
}
"""The entries of the screening with labels -> what each is."""


def held_back(rows: list[Row]) -> str:
    """What held the order back, and what was tried, as a list in Markdown."""
    return list_of(HELD_BACK, rows)


def _degenerate(figures: Figures) -> str:
    found = [each for grid in HIGHWAY for each in covers_of(figures.rows, grid, "taudis")]
    early = [each for each in found if each.early]
    at_once = [each for each in early if each.picks == 1]
    others = [each for each in found if not each.early]
    scenes = [f"{mean(each.scenes for each in group):.1f}" for group in (early, others)]
    most = 100 * max(each.coverable for each in at_once)
    return (
        f"**On `highway_cam` the cover had too little to choose in {len(early)} of {len(found)}"
        f" selections.** In {len(at_once)} of them the candidates, the most uncertain detections,"
        f" resembled each other and at most {most:.0f} % of the pool, so that one pick completed"
        " the cover, and the other picks repeated it. These rounds have images of"
        f" {scenes[0]} scenes, the others of {scenes[1]}"
        " ([table](#what-taudis-had-to-choose-from)). The adaptive sigma does not see this case:"
        " it looks at how many instances of the pool a candidate resembles, and there are few. No"
        " other set had such a round."
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


def _candidates(figures: Figures) -> str:
    first = HIGHWAY[:1]
    covers = covers_of(figures.rows, first[0], "taudis_scale_t03")
    coverable = 100 * median(each.coverable for each in covers)
    return (
        "**Neither more scenes nor surer candidates brought the order above random's.**"
        " `taudis_one`, one candidate an image, had images of"
        f" {figures.scenes(first[0], 'taudis_one')} scenes in a round of `highway_cam` (first"
        " division), and no cover that was complete early. Its area over images less that of"
        f" `taudis` is {figures.area(first, 'taudis_one', 'taudis')} there, on three seeds, less"
        f" that of random {figures.area(first, 'taudis_one')}. On the five seeds of `tools_bench`,"
        f" `taudis_one` less `taudis` is {figures.area(FIVE_SEEDS, 'taudis_one', 'taudis')}."
        " `taudis_scale_t03`, candidates by the pool's own detections from a score of 0.3 on,"
        f" resembled {coverable:.0f} % of the pool of `highway_cam`. It less random is"
        f" {figures.area(first, 'taudis_scale_t03')} on three seeds, so below random."
        " So few scenes and a poor cover are not all that keeps the order where it is."
    )


def _screened(figures: Figures) -> str:
    first = HIGHWAY[:1]
    less = {name: figures.area(first, name) for name in ("taudis", "foreground_random", *SCREENED)}
    screened = ", ".join(f"`{name}` ({what}) {less[name]}" for name, what in SCREENED.items())
    return (
        "**Other parts of the order were screened with labels**, on three seeds of the first"
        f" division of `highway_cam`. Area over images less random: {screened}. `taudis` itself:"
        f" {less['taudis']}; `foreground_random`: {less['foreground_random']}. None is above"
        " random, so none was run on other sets. No order that was run on this division is above"
        " random in the mean of these seeds; on the second division `taudis` had"
        f" {figures.area(HIGHWAY[1:], 'taudis')}. `uncovered_scale`, `taudis_objects` and"
        " `taudis_box`, which were planned if time was left, were not run."
    )


def _crowded(figures: Figures) -> str:
    facades, tools = (figures.objects(grids, "taudis") for grids in (FACADES, FIVE_SEEDS))
    foreground = figures.objects(FIVE_SEEDS, "foreground_random")
    names = ("wse", "wce", "average_se", "average_ce", "margin", "random")
    first = [figures.first("objects", name) for name in names]
    return (
        f"**Crowded images.** After the last round `taudis` had {facades:.2f} times random's"
        f" objects labelled on `facades`, in as many images, and {tools:.2f} times on"
        f" `tools_bench`. `foreground_random` had {foreground:.2f} times there. So what a strategy"
        " gains by image it can lose by object. Uncertainty led to crowded images in the first"
        f" choice there: `wse` {first[0]} objects, `wce` {first[1]}, `average_se` {first[2]},"
        f" `average_ce` {first[3]}, random {first[5]}. Only `margin` chose fewer: {first[4]}."
    )


def _sizes(figures: Figures) -> str:
    grids = (HIGHWAY[0], HIGHWAY[1], FACADES[0], FACADES[1], *FIVE_SEEDS)
    wse, ours = ([figures.size(grid, name) for grid in grids] for name in ("wse", "taudis"))
    return (
        "**The weight of `wse` prefers large objects where sizes differ much.** The median object"
        f" of its images is {wse[0]:.1f} and {wse[1]:.1f} times that of all training images on the"
        f" divisions of `highway_cam`, {wse[2]:.1f} and {wse[3]:.1f} times on `facades`,"
        f" {wse[4]:.1f} times on `tools_bench`. `taudis` takes the same uncertainty without the"
        f" weight: {ours[0]:.1f}, {ours[1]:.1f}, {ours[2]:.1f}, {ours[3]:.1f} and {ours[4]:.1f}"
        " times ([table](#what-the-chosen-images-contain)). The objects of the test images are as"
        " small as those of all images."
    )


def _not_trained(figures: Figures) -> str:
    names = [f"`{name}`" for name in STRATEGIES if name not in figures.trained()]
    return (
        "**What was not tried with labels.** No model was trained on images that these strategies"
        f" chose: {', '.join(names)}. The presets of [the first"
        " choices](#what-every-strategy-and-preset-chooses-first) were compared by their images"
        " alone, except those in the tables above."
    )


HELD_BACK: tuple[Finding, ...] = (
    _degenerate,
    _scenes,
    _candidates,
    _screened,
    _crowded,
    _sizes,
    _not_trained,
)
