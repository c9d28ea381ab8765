"""Joins rows to learning curves: for each data set, strategy and seed.

A comparison is paired by seed, so every strategy needs the same seeds, each with every round. Other
rows are refused with their names, or left out and counted (`finished_only`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from taudis.errors import DataError
from taudis.simulation.costs import Seconds
from taudis.simulation.curves import Curve
from taudis.simulation.result_rows import ResultRow


@dataclass(frozen=True)
class PairedCurves:
    """The learning curves of one data set under one grid."""

    name: str
    grid: str
    reference: str
    seeds: tuple[int, ...]
    rounds: int
    curves: dict[str, dict[int, Curve]]  # strategy -> seed -> curve; the reference comes first
    seed_set: dict[int, float]  # seed -> mAP50 of the seed set, for every seed that has one
    all_labels: dict[int, float]  # seed -> mAP50 with all labels
    left_out: dict[str, tuple[int, ...]]  # strategy -> seeds with rows that are not compared
    with_corrections: int  # number of rounds whose seconds count corrections
    by_hand: int  # number of rounds whose seconds count every object as drawn


@dataclass(frozen=True)
class Choice:
    """The rows to compare, and how to count seconds."""

    reference: str = "random"
    strategies: tuple[str, ...] = ()  # besides the reference; empty: all
    finished_only: bool = False  # leave out seeds that a strategy has not finished
    seconds: Seconds = field(default_factory=Seconds)


def paired_curves(rows: Sequence[ResultRow], choice: Choice) -> list[PairedCurves]:
    """The curves of each data set, ordered by name. Raises DataError for rows that do not fit."""
    _check_no_row_twice(rows)
    names = sorted({row.data for row in rows})
    if not names:
        raise DataError("results: expected rows of `simulate`, got none. Run `simulate` first.")
    return [_one_set(name, [row for row in rows if row.data == name], choice) for name in names]


def _check_no_row_twice(rows: Sequence[ResultRow]) -> None:
    """Raise DataError for two rows of the same model."""
    known: dict[tuple[object, ...], ResultRow] = {}
    for row in rows:
        key = (row.grid, row.data, row.kind, row.strategy, row.seed, row.round)
        other = known.setdefault(key, row)
        if other is not row:
            same = "the same" if other.map50 == row.map50 else f"{other.map50} and {row.map50}"
            raise DataError(
                f"{row.where}: expected one row of each model, got {_title(row)} again, after"
                f" {other.where} (mAP50: {same}). Name each file once, and delete one of the lines."
            )


def _title(row: ResultRow) -> str:
    """The model of a row, in words."""
    if row.kind == "round":
        return f"{row.strategy}, seed {row.seed}, round {row.round}"
    return f"the {'seed set' if row.kind == 'seed_set' else 'model of all labels'}, seed {row.seed}"


def _one_set(name: str, rows: Sequence[ResultRow], choice: Choice) -> PairedCurves:
    """The curves of one data set; see `paired_curves`."""
    _check_one_grid(name, rows)
    seed_sets = {row.seed: row for row in rows if row.kind == "seed_set"}
    rounds = _rounds_by_strategy(name, rows, choice)
    last = max(number for seeds in rounds.values() for found in seeds.values() for number in found)
    seeds = _common_seeds(name, rounds, seed_sets, last, choice)
    used: list[ResultRow] = []
    curves: dict[str, dict[int, Curve]] = {}
    for strategy, by_seed in rounds.items():
        curves[strategy] = {}
        for seed in seeds:
            path = [by_seed[seed][number] for number in range(1, last + 1)]
            _check_sums([seed_sets[seed], *path])
            curves[strategy][seed] = Curve.of(seed_sets[seed], path, choice.seconds)
            used += path
    corrected = sum(row.corrections is not None for row in used)
    corrected = 0 if choice.seconds.by_hand else corrected
    left_out = {each: tuple(sorted(set(found) - set(seeds))) for each, found in rounds.items()}
    return PairedCurves(
        name=name,
        grid=rows[0].grid,
        reference=choice.reference,
        seeds=seeds,
        rounds=last,
        curves=curves,
        seed_set={seed: row.map50 for seed, row in sorted(seed_sets.items())},
        all_labels={row.seed: row.map50 for row in rows if row.kind == "all"},
        left_out={each: found for each, found in left_out.items() if found},
        with_corrections=corrected,
        by_hand=len(used) - corrected,
    )


def _check_one_grid(name: str, rows: Sequence[ResultRow]) -> None:
    """Raise DataError if the rows of a data set belong to several grids."""
    grids = Counter(row.grid for row in rows)
    if len(grids) > 1:
        first = {row.grid: row.where for row in reversed(rows)}
        each = "; ".join(f"{count} rows of {grid} ({first[grid]})" for grid, count in grids.items())
        raise DataError(
            f"{name}: expected rows of one grid, got {each}. Another split, recipe, budget or seed"
            " set cannot be compared: run `compare` once for each grid, with its files alone."
        )


Rounds = dict[str, dict[int, dict[int, ResultRow]]]
"""Strategy -> seed -> round -> row."""


def _rounds_by_strategy(name: str, rows: Sequence[ResultRow], choice: Choice) -> Rounds:
    """The rounds of the compared strategies: the reference first, then the others by name.

    Raises DataError for a strategy without rows.
    """
    found: Rounds = {}
    for row in rows:
        if row.strategy is not None and row.round is not None:
            found.setdefault(row.strategy, {}).setdefault(row.seed, {})[row.round] = row
    has = ", ".join(sorted(found)) or "none"
    if choice.reference not in found:
        raise DataError(
            f"{name}: expected rows of the reference {choice.reference}, got strategies: {has}. Let"
            " `simulate` run it on the same seeds, or name another with --reference."
        )
    others = sorted(set(choice.strategies or found) - {choice.reference})
    missing = [each for each in others if each not in found]
    if missing or not others:
        expected = f"rows of {', '.join(missing)}" if missing else "a strategy beside the reference"
        raise DataError(
            f"{name}: expected {expected}, got strategies: {has}. Let `simulate` run it, or change"
            " --strategies."
        )
    return {each: found[each] for each in (choice.reference, *others)}


def _common_seeds(
    name: str, rounds: Rounds, seed_sets: Collection[int], last: int, choice: Choice
) -> tuple[int, ...]:
    """The seeds that every strategy has finished.

    Raises DataError for unfinished seeds unless `finished_only`, and if no seed is left.
    """
    finished = {
        strategy: {
            seed for seed, found in by_seed.items() if len(found) == last and seed in seed_sets
        }
        for strategy, by_seed in rounds.items()
    }
    started = {seed for by_seed in rounds.values() for seed in by_seed}
    common = set.intersection(*finished.values())
    if started - common and not choice.finished_only:
        raise DataError(
            f"{name}: expected the seed set and rounds 1 to {last} of every strategy on the same"
            f" seeds, got {_gaps(rounds, seed_sets, last)}. Let `simulate` finish the grid, leave"
            " these seeds out with --finished-only, or these strategies with --strategies."
        )
    if not common:
        raise DataError(
            f"{name}: expected a seed that every strategy has finished, got"
            f" {_gaps(rounds, seed_sets, last)}. Let `simulate` finish the grid, or leave"
            " strategies out with --strategies."
        )
    return tuple(sorted(common))


def _gaps(rounds: Rounds, seed_sets: Collection[int], last: int) -> str:
    """What is missing for a paired comparison, in words."""
    started = sorted({seed for by_seed in rounds.values() for seed in by_seed})
    gaps = [f"no seed set of seed {seed}" for seed in started if seed not in seed_sets]
    for strategy, by_seed in rounds.items():
        for seed in started:
            missing = [n for n in range(1, last + 1) if n not in by_seed.get(seed, {})]
            if missing == list(range(1, last + 1)):
                gaps.append(f"no round of {strategy}, seed {seed}")
            elif missing:
                numbers = ", ".join(str(number) for number in missing)
                gaps.append(f"not round {numbers} of {strategy}, seed {seed}")
    return "; ".join(gaps)


def _check_sums(points: Sequence[ResultRow]) -> None:
    """Raise DataError unless each point has the labels of the point before plus its own choice."""
    for before, row in pairwise(points):
        expected = (
            before.labelled_images + row.chosen_images,
            before.labelled_objects + row.chosen_objects,
        )
        if (row.labelled_images, row.labelled_objects) != expected:
            raise DataError(
                f"{row.where}: expected {expected[0]} labelled images with {expected[1]} objects"
                f" ({before.labelled_images} with {before.labelled_objects} before, and"
                f" {row.chosen_images} with {row.chosen_objects} chosen), got"
                f" {row.labelled_images} with {row.labelled_objects}. Rows of two runs are mixed,"
                " or the file was edited: let `simulate` run that seed again."
            )
