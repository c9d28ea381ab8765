"""Simulates how often the verdict of the control arm is given, and how often it is wrong.

    .venv/bin/python -m benchmarks.arm_verdicts

Two arms are compared after each of COMPARISONS rounds. The true difference is `gain`. A comparison
measures it with two errors. The error of the validation images is common to all rounds, and shrinks
as the images grow in number. The error of the two trainings is new in each round. The interval
includes only the validation images, as in `compare`. The figures are the shares of projects for
which the product's verdict (`backend.store.arms.verdict`) is "pays", or "does not pay", after at
least one round. `images_alone` is an earlier rule, which used the interval unchanged. The last line
is JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np

from backend.store.arms import IN_A_ROW, ArmComparison, verdict

PROJECTS, COMPARISONS = 2000, 12
FIRST, MORE = 10, 6
"""Validation images in the first comparison, and the number added for each further one."""
SPREAD = 0.2
"""Standard deviation over images of the difference between two models."""
REACH = 1.96
NOISES, GAINS = (0.0, 0.01, 0.015, 0.03), (0.0, 0.05, 0.1)


def compared(number: int, middle: float, reach: float) -> ArmComparison:
    """A comparison with this interval; the other fields do not matter."""
    return ArmComparison(
        number, number, "v", "draw", "taudis", 16, number, {}, 0, 240,
        {"random": 0.5, "strategy": 0.5 + middle}, {}, middle, [middle - reach, middle + reach],
    )  # fmt: skip


def by_images_alone(found: Sequence[ArmComparison]) -> str:
    """The earlier rule: the interval over images excludes zero in the newest comparisons."""
    newest = found[-IN_A_ROW:]
    if len(newest) < IN_A_ROW:
        return "cannot be told"
    if all((one.interval[0] or 0) > 0 for one in newest):
        return "pays"
    return "does not pay" if all((one.interval[1] or 0) < 0 for one in newest) else "cannot be told"


def project(gain: float, noise: float, rng: np.random.Generator) -> list[ArmComparison]:
    """The comparisons of one project."""
    images = FIRST + MORE * np.arange(COMPARISONS)
    errors = rng.normal(0, SPREAD, images[-1])
    means = np.cumsum(errors)[images - 1] / images
    trained = rng.normal(0, noise, (COMPARISONS, 2)) @ [1.0, -1.0]
    reaches = REACH * SPREAD / np.sqrt(images)
    middles = gain + means + trained
    return [compared(*one) for one in zip(range(COMPARISONS), middles, reaches, strict=True)]


def said(rule: Callable[[Sequence[ArmComparison]], str], found: list[ArmComparison]) -> set[str]:
    """All verdicts of a rule during the rounds of a project."""
    return {rule(found[:count]) for count in range(1, COMPARISONS + 1)}


def main() -> None:
    """Print a line for each gain and noise, and all of them as JSON."""
    rows = []
    for gain in GAINS:
        for noise in NOISES:
            rng = np.random.default_rng([int(gain * 1000), int(noise * 1000)])
            projects = [project(gain, noise, rng) for _ in range(PROJECTS)]
            row: dict[str, float] = {"gain": gain, "noise": noise}
            for name, rule in (("images_alone", by_images_alone), ("now", verdict)):
                verdicts = [said(rule, found) for found in projects]
                for word, key in (("pays", "pays"), ("does not pay", "not")):
                    row[f"{name}_{key}"] = sum(word in each for each in verdicts) / PROJECTS
            rows.append(row)
            print(row)
    print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
