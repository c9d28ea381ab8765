"""Problems of regions: which regions of an annotation could not be used, and why.

Training decides by `effect` what happens to the image. People read `reason`, and counts by `kind`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backend.errors import RegionError

Effect = Literal["used", "painted_out", "dropped"]
"""How training handles a region.

used: it is an instance, but a part of its data was ignored.
painted_out: its pixels are known but not its label, so they count neither as object nor as
background. (A region that covers no pixel has none to paint.)
dropped: its pixels are unknown, so its image is left out of training.
"""


@dataclass(frozen=True)
class RegionProblem:
    """One region of an annotation that was not used, or used only in part."""

    region: str  # Label Studio's id, at most 40 characters; "" for the annotation as a whole
    kind: str  # one of KINDS
    reason: str  # a sentence: the expected value, the found value, the remedy
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
"""Kind of problem -> its name for people."""


def problem_of(region: object, error: RegionError, effect: Effect = "dropped") -> RegionProblem:
    """A RegionError as the problem of the region with this id."""
    return RegionProblem(f"{region!s:.40}", error.kind, str(error), effect)
