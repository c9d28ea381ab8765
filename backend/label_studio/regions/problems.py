"""Problems of regions: which region of an annotation could not be used, and why.

Training decides by `effect` what happens to the image; people read `reason`, counted by `kind`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backend.errors import RegionError

Effect = Literal["used", "painted_out", "dropped"]
"""What became of a region.

used: it is an instance, though not all that it says was followed.
painted_out: its pixels are known but not what they show: they are neither object nor background
(a region that covers no pixel has none to paint).
dropped: where it lies is not known, so its image must not be trained on as if it were complete.
"""


@dataclass(frozen=True)
class RegionProblem:
    """One region of one annotation that was not used, or not as it stands."""

    region: str  # Label Studio's id, at most 40 characters; "" for the annotation as a whole
    kind: str  # one of KINDS: what is counted
    reason: str  # a sentence: what was expected, what came, what to do
    effect: Effect

    def __str__(self) -> str:
        return f"Region {self.region}: {self.reason}" if self.region else self.reason


KINDS: dict[str, str] = {
    "unreadable_shape": "regions whose shape cannot be read",
    "no_pixel": "regions that cover no pixel of their image",
    "open_outline": "polygons that were not closed, read as if they were",
    "unknown_label": "regions with a label that the labelling config does not have",
    "no_label": "regions without a label",
    "unknown_tag": "regions of a tag that the labelling config does not have",
    "other_image": "regions that were drawn on another image",
    "no_size": "regions that do not say the size of their image",
    "too_many": "regions beyond the memory for one image's masks",
    "several_labels": "regions with several labels, of which one is used",
}
"""What is counted, and its name for people."""


def problem_of(region: object, error: RegionError, effect: Effect = "dropped") -> RegionProblem:
    """A RegionError as a problem of the region with this id."""
    return RegionProblem(f"{region!s:.40}", error.kind, str(error), effect)
