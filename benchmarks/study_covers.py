"""The table of what TAUDIS had to choose from in each selection of the study.

A cover is complete when each instance that any candidate resembles is covered. If that takes fewer
picks than the budget has images, the candidates resemble each other, and diversity decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median

from benchmarks.page_tables import Row
from benchmarks.study_rows import by_set

NAMES = ("taudis", "taudis_one", "taudis_scale_t03")
"""The entries that cover candidates, and whose selections are listed."""


@dataclass(frozen=True)
class Cover:
    """A selection: its cover, and the scenes of the images that it chose."""

    picks: int | None  # until the cover was complete; None: it was not
    budget: int
    coverable: float  # share of the pool's instances that a candidate resembles
    detections: float  # an image of the pool
    alpha: float  # candidates for each image of the budget
    scenes: float

    @property
    def early(self) -> bool:
        """Whether the cover was complete with fewer picks than images of the budget."""
        return self.picks is not None and self.picks < self.budget


def covers_of(rows: Sequence[Row], data: str, name: str) -> list[Cover]:
    """The selections of an entry on a set. Those without covered candidates are left out."""
    scenes = {
        (row["seed"], row["round"]): row["scenes"]
        for row in by_set(rows, ["contents"]).get(data, ())
        if row["strategy"] == name
    }
    found = []
    for row in by_set(rows).get(data, ()):
        chosen = row.get("selection") or {}
        if row["strategy"] != name or not chosen.get("coverable"):
            continue
        found.append(
            Cover(
                chosen["saturation_pick"], row["record"]["shared"]["budget"], chosen["coverable"],
                chosen["pool_detections"] / chosen["pool_images"], chosen["alpha"],
                scenes[row["seed"], row["round"]],
            )
        )  # fmt: skip
    return found


def covers(rows: list[Row]) -> str:
    """The table, a line for each set and entry."""
    lines = [
        "| set | entry | selections | cover complete before the budget"
        " | instances that a candidate resembles, in these selections | in the others"
        " | detections an image | candidates for each image of the budget"
        " | scenes in a round, in these selections | in the others |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for data in by_set(rows):
        for name in NAMES:
            found = covers_of(rows, data, name)
            if found:
                lines.append(f"| {data} | `{name}` | {' | '.join(_cells(found))} |")
    return "\n".join(lines)


def _cells(found: Sequence[Cover]) -> list[str]:
    """The columns after the names of set and entry."""
    groups = [[each for each in found if each.early is early] for early in (True, False)]
    shares = [f"{median(c.coverable for c in group):.0%}" if group else "" for group in groups]
    scenes = [f"{mean(c.scenes for c in group):.1f}" if group else "" for group in groups]
    return [
        str(len(found)),
        str(len(groups[0])),
        *(share.replace("%", " %") for share in shares),
        f"{mean(c.detections for c in found):.0f}",
        f"{mean(c.alpha for c in found):.0f}",
        *scenes,
    ]
