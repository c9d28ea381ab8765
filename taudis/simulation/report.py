"""A comparison as Markdown, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taudis.simulation.comparison import FEW_SEEDS, Comparison, Saved, StrategyResult
from taudis.simulation.curves import AXES
from taudis.simulation.statistics import Interval, smallest_p

SIGNIFICANT = 0.05


def markdown(comparisons: Sequence[Comparison], half_written: int = 0) -> str:
    """A section for each data set: warnings, two tables, and how to read them."""
    lines: list[str] = []
    if half_written:
        lines += [f"**Warning:** {half_written} half-written last line(s) left out.", ""]
    for each in comparisons:
        lines += _section(each)
    return "\n".join(lines).rstrip("\n") + "\n"


def _section(found: Comparison) -> list[str]:
    """The section of one data set, as lines."""
    data = found.data
    seeds = ", ".join(str(seed) for seed in data.seeds)
    return [
        f"## {_cell(data.name)}",
        "",
        f"Reference: {_cell(data.reference)}. Paired seeds: {seeds}. Rounds: {data.rounds}."
        f" Grid: {_cell(data.grid)}.",
        _signal_line(found),
        "",
        *(line for text in warnings_of(found) for line in (f"**Warning:** {text}", "")),
        *_saved_table(found),
        "",
        *_area_table(found),
        "",
        *_notes(found),
        "",
    ]


def _signal_line(found: Comparison) -> str:
    """The result of the signal gate."""
    gate = found.signal
    if gate.passed:
        return f"Signal gate: passed; {gate.figures}."
    return f"Signal gate: {'not run' if gate.passed is None else 'failed'}."


def warnings_of(found: Comparison) -> list[str]:
    """Warnings that a reader must know before the tables."""
    data = found.data
    texts = [found.signal.warning] if found.signal.warning else []
    if found.seeds < FEW_SEEDS:
        texts.append(f"an interval of 95 % takes {FEW_SEEDS} seeds or more, got {found.seeds}.")
    for strategy, seeds in data.left_out.items():
        names = ", ".join(str(seed) for seed in seeds)
        texts.append(
            f"left out of {_cell(strategy)}: seed {names}, not finished by all strategies."
        )
    if data.with_corrections and data.by_hand:
        texts.append(
            f"seconds mix two ways of labelling: {data.with_corrections} rounds by corrected"
            f" pre-annotations, {data.by_hand} by hand. --by-hand counts all alike."
        )
    return texts


def _saved_table(found: Comparison) -> list[str]:
    """The table of final mAP50 and of labels saved by axis."""
    data = found.data
    lines = [
        "| strategy | final mAP50 | images saved | objects saved | seconds saved"
        " | images saved, median of seeds | seeds that never reach it |",
        "|---|---|---|---|---|---|---|",
        f"| {_cell(data.reference)} (reference) | {number(found.reference_final)} | | | | | |",
    ]
    for each in found.strategies:
        cells = [saved_share(each.saved[axis]) for axis in AXES]
        by_seed = each.saved["images"].by_seed
        lines.append(
            f"| {_cell(each.name)} | {number(each.final)} | {' | '.join(cells)}"
            f" | {'not reached' if by_seed.middle is None else _interval(by_seed)}"
            f" | {each.saved['images'].not_reached} of {found.seeds} |"
        )
    return lines


def _area_table(found: Comparison) -> list[str]:
    """The table of areas by axis, with their tests."""
    lines = [
        f"| strategy | {' | '.join(f'area over {axis}: more than reference' for axis in AXES)}"
        f" | p (Holm) | labels at the end: images, objects, hours |",
        "|---|---|---|---|---|---|",
        f"| {_cell(found.data.reference)} (reference)"
        f" | {' | '.join(f'{number(found.reference_area[axis])}, its own' for axis in AXES)}"
        f" | | {_labels(found.reference_labels)} |",
    ]
    for each in found.strategies:
        cells = [number(each.area[axis].more, signed=True) for axis in AXES]
        lines.append(
            f"| {_cell(each.name)} | {' | '.join(cells)} | {_tests(each)}"
            f" | {_labels(each.labels)} |"
        )
    return lines


def _tests(found: StrategyResult) -> str:
    """The p of each axis, plain and corrected."""
    return ", ".join(f"{found.area[axis].p:.3f} ({found.area[axis].p_holm:.3f})" for axis in AXES)


def _notes(found: Comparison) -> list[str]:
    """How to read the tables."""
    most = ", ".join(f"{_percent(found.most_to_save[axis])} of the {axis}" for axis in AXES)
    lines = [
        f"Saved: 1 - labels needed / labels that {_cell(found.data.reference)} needs, at the mAP50"
        " that it ends with, read off the mean curves (95 % interval over seeds). Below 0: more"
        f" were needed. At most {most} could be saved: the seed set counts.",
        "Area: mean over seeds (95 % interval) of the curve's mean height, up to the labels that"
        " both have. p: sign-flip test of the differences over images, objects, seconds, in"
        f" brackets corrected for the number of strategies, {len(found.strategies)}.",
        _smallest_p_line(found),
    ]
    return [line for text in lines for line in (text, "")][:-1]


def _smallest_p_line(found: Comparison) -> str:
    """The smallest p that this number of seeds allows."""
    tests = len(found.strategies)
    text = (
        f"The smallest p that {found.seeds} seeds allow is {smallest_p(found.seeds):.4f}, corrected"
        f" {found.smallest_p:.4f}"
    )
    if found.smallest_p <= SIGNIFICANT:
        return f"{text}."
    needed = next(n for n in range(2, 99) if smallest_p(n, tests) <= SIGNIFICANT)
    return f"{text}: no test can fall below {SIGNIFICANT} here; that takes {needed} seeds or more."


def _labels(labels: dict[str, float]) -> str:
    """Labels at the end: images, objects, hours."""
    return f"{labels['images']:.0f}, {labels['objects']:.0f}, {labels['seconds'] / 3600:.1f}"


def _percent(value: float) -> str:
    return f"{round(100 * value)} %"  # round, as a format prints -0


def saved_share(found: Saved) -> str:
    """A share saved, such as `40 % (30 to 52)` or `at most 0 % (unknown to 0)`."""
    if found.interval.middle is None:
        return f"at most {_percent(found.at_most)}{_around(found.interval)}"
    return _interval(found.interval)


def _interval(found: Interval) -> str:
    """A share with its interval, in percent."""
    return "" if found.middle is None else f"{_percent(found.middle)}{_around(found)}"


def _around(found: Interval) -> str:
    """The ends of an interval in percent, in brackets; empty for one seed."""
    low = "unknown" if found.low is None else round(100 * found.low)
    return "" if found.high is None else f" ({low} to {round(100 * found.high)})"


def number(found: Interval, *, signed: bool = False) -> str:
    """A number with its interval, such as `0.412 (0.390 to 0.433)`."""
    form = "+.3f" if signed else ".3f"
    if found.middle is None:
        return ""
    if found.low is None or found.high is None:
        return f"{found.middle:{form}}"
    return f"{found.middle:{form}} ({found.low:{form}} to {found.high:{form}})"


def _cell(text: str) -> str:
    """A name for a table: on one line, bars escaped."""
    return " ".join(text.split()).replace("|", "\\|")


def to_dict(comparisons: Sequence[Comparison], half_written: int = 0) -> dict[str, Any]:
    """The comparisons as JSON values.

    With several data sets, each key maps the name of a data set to its value, except for `data`,
    `strategies` and `half_written`.
    """
    parts = {each.data.name: _one(each) for each in comparisons}
    names = [each.data.name for each in comparisons]
    strategies = list(
        dict.fromkeys(
            name
            for c in comparisons
            for name in (c.data.reference, *(s.name for s in c.strategies))
        )
    )
    shared = {"data": names, "strategies": strategies, "half_written": half_written}
    if len(names) == 1:
        return {**shared, **parts[names[0]]}
    keys = parts[names[0]]
    return {**shared, **{key: {name: parts[name][key] for name in names} for key in keys}}


def _one(found: Comparison) -> dict[str, Any]:
    """One data set as JSON."""
    data, results = found.data, found.strategies
    return {
        "reference": data.reference,
        "seeds": list(data.seeds),
        "rounds": data.rounds,
        "grid": data.grid,
        "signal": found.signal.to_dict(),
        "final": {
            data.reference: found.reference_final.to_list(),
            **{each.name: each.final.to_list() for each in results},
        },
        **_saved_dict(found),
        "auc": {
            data.reference: {axis: {"area": found.reference_area[axis].to_list()} for axis in AXES},
            **{each.name: {axis: _area_dict(each, axis) for axis in AXES} for each in results},
        },
        "tests": {
            "smallest_p": found.smallest_p,
            **{each.name: {axis: _test_dict(each, axis) for axis in AXES} for each in results},
        },
        "warnings": warnings_of(found),
    }


def _saved_dict(found: Comparison) -> dict[str, Any]:
    """Labels saved, by strategy and axis."""
    saved = {each.name: each.saved for each in found.strategies}
    return {
        "labels_saved": {
            name: {axis: by_axis[axis].interval.to_list() for axis in AXES}
            for name, by_axis in saved.items()
        },
        "not_reached": {
            name: {axis: _censored_dict(by_axis[axis]) for axis in AXES}
            for name, by_axis in saved.items()
        },
        "labels_saved_median_of_seeds": {
            name: {axis: by_axis[axis].by_seed.to_list() for axis in AXES}
            for name, by_axis in saved.items()
        },
        "most_to_save": {axis: round(found.most_to_save[axis], 4) for axis in AXES},
    }


def _censored_dict(found: Saved) -> dict[str, object]:
    """Number of seeds that never reach the target, and an upper bound of the share saved."""
    return {"seeds": found.not_reached, "at_most": round(found.at_most, 4)}


def _area_dict(found: StrategyResult, axis: str) -> dict[str, object]:
    """The area of a strategy, and this area minus that of the reference."""
    area = found.area[axis]
    return {"area": area.area.to_list(), "more_than_reference": area.more.to_list()}


def _test_dict(found: StrategyResult, axis: str) -> dict[str, float]:
    """The p of a strategy's gain in area, plain and corrected."""
    return {"p": found.area[axis].p, "p_holm": found.area[axis].p_holm}
