"""The table NAME -> query strategy; one signature for all.

A new strategy is a function with the signature of `QueryStrategy` and an entry in `STRATEGIES`;
tests/taudis/selection/test_strategies.py then holds it to the contract, and docs/strategies.md
lists it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from taudis.errors import SelectionError
from taudis.selection.algorithm1 import taudis
from taudis.selection.baselines import average_ce, average_se, margin, random, round_robin, wce, wse
from taudis.selection.core_set import core_set
from taudis.selection.params import Labelled, Progress, SelectionParams
from taudis.selection.taudis_cover import taudis_cover
from taudis.selection.taudis_img import taudis_img
from taudis.types import Pool, Selection


class QueryStrategy(Protocol):
    """Orders a pool for annotation.

    The result is a total order of all images, equal for equal content, seed and parameters, and
    for every permutation of the pool. Raises SelectionError for parameters it cannot work with.
    """

    def __call__(
        self,
        pool: Pool,
        *,
        budget: int,
        labelled: Labelled,
        params: SelectionParams,
        seed: int,
        progress: Progress | None = None,
    ) -> Selection:
        """Order the pool's images; `budget` B is the number of images to annotate next."""


@dataclass(frozen=True)
class Strategy:
    """A query strategy with what a person needs to know to choose it; calling it runs it."""

    run: QueryStrategy
    ranks_by: str  # one line, as the table of docs/strategies.md shows it
    source: str  # where in the paper
    instances: str  # what of the detections it looks at
    image_embeddings: bool  # whether it looks at them
    seed: str = "ties, images without detections"  # what the seed decides

    def __call__(
        self,
        pool: Pool,
        *,
        budget: int,
        labelled: Labelled,
        params: SelectionParams,
        seed: int,
        progress: Progress | None = None,
    ) -> Selection:
        """Order the pool's images; see `QueryStrategy`."""
        return self.run(
            pool, budget=budget, labelled=labelled, params=params, seed=seed, progress=progress
        )


STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "taudis": Strategy(
            taudis,
            "votes of uncertain instances that together cover the pool's instances",
            "Algorithm 1",
            "uncertainty, embedding",
            False,
            "ties, images without detections, the sample behind the adaptive sigma",
        ),
        "taudis_cover": Strategy(
            taudis_cover,
            "images whose uncertain instances together cover the pool's instances",
            "beyond the paper",
            "uncertainty, embedding",
            False,
            "ties, images without detections, the sample behind the adaptive sigma",
        ),
        "taudis_img": Strategy(
            taudis_img,
            "uncertain images (WSE) that together cover the pool's images",
            "Algorithm 2",
            "SE, mask area",
            True,
            "ties, images without detections, the sample behind the adaptive sigma",
        ),
        "random": Strategy(
            random, "a hash of seed and image id", "section 4", "no", False, "everything"
        ),
        "margin": Strategy(
            margin,
            "mean classification margin, the lowest first",
            "appendix D, Eq. 1; CM of figure B.1",
            "CM",
            False,
        ),
        "average_ce": Strategy(
            average_ce, "mean classification entropy", "figure B.1, Eq. 2", "CE", False
        ),
        "average_se": Strategy(
            average_se, "mean segmentation entropy", "figure B.1, Eq. 3", "SE", False
        ),
        "wce": Strategy(
            wce,
            "classification entropy, summed with the mask's share of the image as weight",
            "appendix D, Eq. 4",
            "CE, mask area",
            False,
        ),
        "wse": Strategy(
            wse,
            "segmentation entropy, summed with the mask's share of the image as weight",
            "appendix D, Eq. 5",
            "SE, mask area",
            False,
        ),
        "core_set": Strategy(
            core_set,
            "distance to the nearest labelled or picked image, the farthest first",
            "appendix D, [35]",
            "no",
            True,
            "ties, the first image where none is labelled",
        ),
        "round_robin": Strategy(
            round_robin,
            "labels in turn take their image of the highest WSE; after B images by WSE",
            "appendix D, [48]",
            "SE, mask area, label",
            False,
        ),
    }
)
"""Every query strategy by the name that settings and command lines use."""


def strategies_table() -> str:
    """The strategies as a Markdown table, which docs/strategies.md holds."""
    head = (
        "| name | ranks by | source in the paper | looks at of the detections "
        "| image embeddings | the seed decides |"
    )
    lines = [head, "|---|---|---|---|---|---|"]
    for name, told in STRATEGIES.items():
        embeddings = "yes" if told.image_embeddings else "no"
        cells = (f"`{name}`", told.ranks_by, told.source, told.instances, embeddings, told.seed)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def query(
    name: str,
    pool: Pool,
    *,
    budget: int,
    labelled: Labelled,
    params: SelectionParams,
    seed: int,
    progress: Progress | None = None,
) -> Selection:
    """Order the pool by the named strategy. Raises SelectionError for an unknown name."""
    try:
        strategy = STRATEGIES[name]
    except KeyError:
        raise SelectionError(
            f"strategy: expected one of {', '.join(sorted(STRATEGIES))}, got {name!r}."
        ) from None
    return strategy(
        pool, budget=budget, labelled=labelled, params=params, seed=seed, progress=progress
    )
