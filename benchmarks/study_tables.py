"""Writes the findings and tables of docs/results from the rows of benchmarks/study.py.

    .venv/bin/python -m benchmarks.study_tables [ROWS] [--write]

ROWS is a folder with a file of rows for each set. Prints the tables as Markdown. --write puts them
into docs/results/README.md between their comments;
tests/benchmarks/test_study.py compares the page with the rows. The statistics are those of
`compare` (docs/comparing.md): each strategy against random, on the seeds that both have finished.
"""

from __future__ import annotations

from statistics import geometric_mean

from benchmarks.page_tables import Row, Tables, run
from benchmarks.study import OWN_ENTRIES, PARTS, ROWS
from benchmarks.study_covers import covers
from benchmarks.study_found import findings, other_sets
from benchmarks.study_held_back import held_back
from benchmarks.study_rows import (
    CHOICE,
    by_set,
    compared,
    comparisons,
    finished,
    is_compared,
    read,
    strategies,
)
from benchmarks.study_rule import CANDIDATES, SETS, by_rule, on_redundant_sets
from benchmarks.study_saved import labels_saved_on_sets
from taudis.simulation.comparison import Comparison
from taudis.simulation.cpu_cost import cost
from taudis.simulation.curves import AXES
from taudis.simulation.gate import closed_at_once, signal_of_rows
from taudis.simulation.report import number, saved_share
from taudis.simulation.statistics import Interval

PAGE = ROWS.parent / "README.md"


def gates(rows: list[Row]) -> str:
    """The table of sets, their sizes, and the signal gate."""
    lines = [
        "| set | training images | test images | of them nearly equal to a training image"
        " | images of the seed set, of a round | steps"
        " | mAP50 of the seed set | of all labels | labels matter"
        " | random's first round closes of the gap | compared |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    inside = by_set(rows, ["contents"])
    for name, own in by_set(rows).items():
        alike = next(
            (row["test_images_alike"] for row in inside.get(name, ()) if row["strategy"] is None),
            None,
        )
        shared, gate = own[0]["record"]["shared"], signal_of_rows(own)
        whole = [row["labelled_images"] for row in own if row["kind"] == "all"]
        closed = closed_at_once(own)
        passed = {True: "yes", False: "not enough", None: "not known yet"}[gate.passed]
        lines.append(
            f"| {name} | {whole[0] if whole else ''} | {own[0]['test_images']}"
            f" | {_percent(alike)} | {shared['seed_images']}, {shared['budget']}"
            f" | {own[0]['steps']} | {gate.seed_set} | {gate.all_labels if whole else ''}"
            f" | {passed} | {_percent(closed)} | {'yes' if is_compared(own) else 'no'} |"
        )
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"


def against_random(rows: list[Row]) -> str:
    """The table of every strategy against random, on the sets that the protocol compares."""
    lines = [
        "| set | strategy | seeds | final mAP50 | random's, same seeds"
        " | area over images: more than random | over objects | images saved | objects saved"
        " | seconds saved |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for data, own in by_set(rows).items():
        found = comparisons(own) if is_compared(own) else {}
        order = sorted(found, key=lambda name: -(_gain(found[name]) or 0.0))
        lines += [_against_random(data, name, found[name]) for name in order]
    return "\n".join(lines)


def _gain(found: Comparison) -> float | None:
    return found.strategies[0].area["images"].more.middle


def _against_random(data: str, name: str, found: Comparison) -> str:
    each = found.strategies[0]
    saved = " | ".join(saved_share(each.saved[axis]) for axis in AXES)
    return (
        f"| {data} | `{name}` | {found.seeds} | {number(each.final)}"
        f" | {number(found.reference_final)} | {number(each.area['images'].more, signed=True)}"
        f" | {number(each.area['objects'].more, signed=True)} | {saved} |"
    )


def choosing(rows: list[Row]) -> str:
    """The table of the entries to choose from: area over images minus random's, by set and sum."""
    sets = {grid.name: by_set(rows).get(grid.name, []) for grid in PARTS["choosing"].grids}
    found = {name: comparisons(own) if own else {} for name, own in sets.items()}
    lines = [f"| entry | {' | '.join(sets)} | sum |", "|---|" + "---|" * (len(sets) + 1)]
    for entry in OWN_ENTRIES:
        gains = [_gain(each[entry]) if entry in each else None for each in found.values()]
        known = [gain for gain in gains if gain is not None]
        total = f"{sum(known):+.3f}" if len(known) == len(sets) else ""
        cells = ["" if gain is None else f"{gain:+.3f}" for gain in gains]
        lines.append(f"| `{entry}` | {' | '.join(cells)} | {total} |")
    return "\n".join(lines)


def rule(rows: list[Row]) -> str:
    """The table of the rule of the default: figures of each candidate, and whether it is met."""
    found = by_rule(compared(rows))
    sets = [f"{data}: more than random" for data in SETS]
    lines = [
        "| strategy | paired seeds | area over images: more than `foreground_random` | p (Holm)"
        f" | over objects | {' | '.join(sets)} | becomes the default |",
        "|---|---|---|---|---|" + "---|" * (len(sets) + 1),
    ]
    for name, each in found.items():
        random = [_cell(interval) for interval in each.random.values()]
        p = "" if each.p is None else f"{each.p:.3f}"
        verdict = {True: "yes", False: "no", None: "not known yet"}[each.meets]
        lines.append(
            f"| `{name}` | {each.seeds} | {_cell(each.images)} | {p} | {_cell(each.objects)}"
            f" | {' | '.join(random)} | {verdict} |"
        )
    return "\n".join(lines)


def saved(rows: list[Row]) -> str:
    """The table of labels saved on each set, both divisions together."""
    return labels_saved_on_sets(compared(rows))


def redundant(rows: list[Row]) -> str:
    """The table of both candidates against `wse` on the redundant sets."""
    known = compared(rows)
    lines = [
        "| set | strategy | paired seeds | area over images: more than `wse` | p | over objects |",
        "|---|---|---|---|---|---|",
    ]
    for name in CANDIDATES:
        for data, found in on_redundant_sets(known, name, "wse").items():
            p = "" if found.p is None else f"{found.p:.3f}"
            areas = f"{_cell(found.images)} | {p} | {_cell(found.objects)}"
            lines.append(f"| {data} | `{name}` | {found.seeds} | {areas} |")
    return "\n".join(lines)


def _cell(interval: Interval | None) -> str:
    return "" if interval is None else number(interval, signed=True)


def labelled(rows: list[Row]) -> str:
    """The table of objects labelled at the end, and of first choices shared with `taudis`."""
    lines = [
        "| set | strategy | objects at the end | random's, same seeds"
        " | images of the first round that `taudis` chose, too | candidates in images |",
        "|---|---|---|---|---|---|",
    ]
    for data, own in by_set(rows).items():
        for name in ("random", *strategies(own)):
            seeds = sorted(finished(own, name) & finished(own, "random"))
            if seeds:
                lines.append(f"| {data} | `{name}` | {' | '.join(_labelled(own, name, seeds))} |")
    return "\n".join(lines)


def _labelled(rows: list[Row], name: str, seeds: list[int]) -> list[str]:
    last = max(row["record"]["shared"]["rounds"] for row in rows)
    known = {(row["strategy"], row["seed"], row["round"]): row for row in rows}

    ends = [[known[who, seed, last]["labelled_objects"] for seed in seeds]
            for who in (name, "random")]  # fmt: skip
    firsts = [(known[name, seed, 1], known.get(("taudis", seed, 1))) for seed in seeds]
    same = [len({*own["chosen"]} & {*other["chosen"]}) for own, other in firsts if other]
    images = [own["selection"]["images_with_candidates"] for own, _ in firsts]
    beside = f"{_mean(same)} of {len(firsts[0][0]['chosen'])}" if same else ""
    spread = _mean(images) if any(images) else ""
    return [_mean(ends[0]), _mean(ends[1]), beside, spread]


def choices(rows: list[Row]) -> str:
    """The table of first choices of every strategy and preset, compared with `taudis`."""
    lines = [
        "| set | strategy | seeds | images that `taudis` chose, too | scenes | objects in them"
        " | median size of an object | labels | candidates | in images |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    inside = {(row["data"], row["strategy"], row["seed"]): row
              for own in by_set(rows, [CHOICE]).values() for row in own}  # fmt: skip
    for data, own in by_set(rows, ["choice"]).items():
        taudis = {row["seed"]: {*row["chosen"]} for row in own if row["strategy"] == "taudis"}
        for name in dict.fromkeys(row["strategy"] for row in own):
            same = [row for row in own if row["strategy"] == name]
            held = [inside[data, name, row["seed"]] for row in same]
            shared = [len(taudis[row["seed"]] & {*row["chosen"]}) for row in same]
            cells = [
                f"{_mean(shared)} of {len(same[0]['chosen'])}",
                _mean([row["scenes"] for row in held]),
                _mean([row["objects"] for row in same]),
                _size([row["median_size"] for row in held]),
                _mean([row["labels"] for row in same]),
                *(
                    _mean([row[key] for row in same]) if same[0]["images_with_candidates"] else ""
                    for key in ("candidates", "images_with_candidates")
                ),
            ]
            lines.append(f"| {data} | `{name}` | {len(same)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def contents(rows: list[Row]) -> str:
    """The table of objects in the images that each strategy chose, and of their sizes."""
    lines = [
        "| set | images chosen by | images | without an object | scenes in a round"
        " | objects an image | median size of an object | of the median of all training images |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for data, own in by_set(rows, ["contents"]).items():
        pool = next(row for row in own if row["strategy"] is None)
        for name in dict.fromkeys(row["strategy"] for row in own):
            same = [row for row in own if row["strategy"] == name]
            images, objects, empty = (
                sum(row[key] for row in same) for key in ("images", "objects", "empty")
            )
            size = geometric_mean(row["median_size"] for row in same if row["median_size"])
            scenes = f"{sum(row['scenes'] for row in same) / len(same):.1f}"
            lines.append(
                f"| {data} | {f'`{name}`' if name else 'all training images'} | {images} | {empty}"
                f" | {scenes} | {objects / images:.1f} | {_size([size])}"
                f" | {size / pool['median_size']:.1f} times |"
            )
    return "\n".join(lines)


def _size(shares: list[float]) -> str:
    """Sizes of objects as shares of the image's area: their geometric mean.

    A round of large objects and a round of small objects cancel out in a geometric mean.
    """
    return f"{100 * geometric_mean(shares):.2f} % of the image"


def _mean(values: list[float]) -> str:
    return f"{sum(values) / len(values):.0f}"


def costs(rows: list[Row]) -> str:
    """The table of CPU time that sharing models saves, and its ranges in words."""
    ratios: list[tuple[float, float]] = []
    lines = [
        "| set | rows | CPU hours, shared | by strategy and seed | ratio | row by row | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, own in by_set(rows).items():
        if not strategies(own):
            continue  # only the models that all strategies share
        found = {key: value or 0.0 for key, value in cost(own).items()}
        shared, strategy, single = (
            found[f"{key}_cpu_seconds"] / 3600
            for key in ("shared", "strategies_alone", "rows_alone")
        )
        ratios.append((found["ratio_to_rows_alone"], found["ratio_to_strategies_alone"]))
        lines.append(
            f"| {name} | {len(own)} | {shared:.2f} | {strategy:.2f}"
            f" | {found['ratio_to_strategies_alone']:.2f} | {single:.2f}"
            f" | {found['ratio_to_rows_alone']:.2f} |"
        )
    rows_alone, strategies_alone = (
        f"{min(each):.2f} to {max(each):.2f}" for each in zip(*ratios, strict=True)
    )
    return "\n".join(lines) + (
        f"\n\nRow by row, these grids cost {rows_alone}. A person who runs each strategy and seed"
        f" by itself shares models within it, and pays {strategies_alone} by sharing the grid."
    )


TABLES: Tables = {
    "found": findings, "held back": held_back, "other sets": other_sets, "gates": gates,
    "against random": against_random, "choosing": choosing, "rule": rule,
    "saved": saved, "covers": covers, "redundant": redundant, "labelled": labelled,
    "contents": contents, "choices": choices, "costs": costs,
}  # fmt: skip


if __name__ == "__main__":
    run(__doc__, PAGE, TABLES, read, ROWS)
