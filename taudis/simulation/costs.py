"""Annotation time: a model of the seconds that a person needs, from published figures.

docs/comparing.md gives the source of each figure, and what it does not measure.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from taudis.errors import DataError
from taudis.simulation.result_rows import ResultRow

DRAW = 79.2
"""Lin et al. 2014 (COCO), section 4.3: "over 22 worker hours per 1,000 segmentations"."""
RESHAPE = 26.4
"""A third of DRAW: Benenson et al. 2019, abstract and section 5.3 (COCO, corrected masks)."""
ACCEPT = 3.5
"""Kuznetsova et al. 2020 (Open Images V4), section 2.4.3: verifying a single box."""
LOOK = 7.8
"""Su et al. 2012, median of the coverage verification: is every object of this image annotated?"""


@dataclass(frozen=True)
class Seconds:
    """Seconds that a person needs for each kind of work.

    Raises DataError unless each is a finite number of at least 0, and look and draw are not both 0.
    """

    look: float = LOOK  # per image, whatever is in it
    draw: float = DRAW  # per object that no region fits
    reshape: float = RESHAPE  # per region that fits an object roughly
    accept: float = ACCEPT  # per region that stays as it is
    remove: float = ACCEPT  # per region that fits no object; deleting counts no extra time
    by_hand: bool = False  # count every object as drawn, even if the corrections are known

    def __post_init__(self) -> None:
        for name, value in self.figures().items():
            if not math.isfinite(value) or value < 0:
                raise DataError(f"seconds: expected {name} to be a number from 0 on, got {value}.")
        if not self.look + self.draw:
            raise DataError("seconds: expected look or draw above 0, got 0 for both.")

    def figures(self) -> dict[str, float]:
        """Each figure by its name."""
        found = dataclasses.asdict(self)
        del found["by_hand"]
        return found

    def of_labels(self, images: int, objects: int) -> float:
        """Seconds to draw every object of these images without pre-annotations."""
        return self.look * images + self.draw * objects

    def of_round(self, row: ResultRow) -> float:
        """Seconds to label the images of a round, by correcting pre-annotations if known."""
        fixed = row.corrections
        if fixed is None or self.by_hand:
            return self.of_labels(row.chosen_images, row.chosen_objects)
        return (
            self.of_labels(row.chosen_images, fixed.added)
            + self.reshape * fixed.reshaped
            + self.accept * fixed.accepted
            + self.remove * fixed.removed
        )
