"""All query strategies by name, with the same signature.

To add a strategy that ranks by a figure, add an entry to `taudis.selection.baselines.FIGURES`. To
add any other, write a function with the signature of `QueryStrategy` and add an entry to
`STRATEGIES`. tests/taudis/selection/test_strategies.py checks the contract for every entry. The
command line, the settings and docs/strategies.md list the strategies from here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from taudis.errors import SelectionError
from taudis.selection.algorithm1 import taudis
from taudis.selection.baselines import FIGURES, Figure, random
from taudis.selection.core_set import core_set
from taudis.selection.foreground_random import foreground_random
from taudis.selection.least_score import of_whole_pool, without_low_scores
from taudis.selection.params import Labelled, ProgressCallback, SelectionParams
from taudis.selection.round_robin import clasp_se, round_robin
from taudis.selection.taudis_cover import check_sketch, taudis_cover
from taudis.selection.taudis_img import taudis_img
from taudis.selection.variants import (
    check_uncovered,
    taudis_cover_cost,
    taudis_cover_uncovered,
    taudis_uncovered,
)
from taudis.types import Pool, Selection


class QueryStrategy(Protocol):
    """Orders a pool for annotation.

    The result is a total order of all images. The same pool, seed and parameters give the same
    result, in whatever order the rows of the pool are. Raises SelectionError for parameters that
    the strategy does not support.
    """

    def __call__(
        self,
        pool: Pool,
        *,
        budget: int,
        labelled: Labelled,
        params: SelectionParams,
        seed: int,
        progress: ProgressCallback | None = None,
    ) -> Selection:
        """Order the pool's images; `budget` B is the number of images to annotate next."""


def accept_all(params: SelectionParams) -> None:
    """Accept all parameters: the `check` of most strategies."""


@dataclass(frozen=True)
class Strategy:
    """A query strategy with a description of it. A call runs it."""

    run: QueryStrategy
    ranks_by: str  # one line
    source: str  # place in the paper
    use: str  # when to use it, one to three sentences
    detections: str = ""  # fields of the detections that it reads; empty: none
    image_embeddings: bool = False  # whether it reads image embeddings of the pool
    labelled_embeddings: bool = False  # whether it reads image embeddings of labelled images
    labelled_instances: bool = False  # whether it reads embeddings of labelled instances
    labelled_count: bool = False  # whether it reads the number of labelled images
    independent: bool = False  # whether the order of two images depends on these two images only
    seed: str = "ties, images without detections"  # what the seed decides
    check: Callable[[SelectionParams], None] = accept_all
    """Raises SelectionError for parameters that the strategy does not support."""
    edges: bool = False  # whether it computes similarities; `select --ray` distributes these

    @property
    def reads_labelled(self) -> bool:
        """Whether it reads embeddings, which the model has to compute, of labelled images."""
        return self.labelled_embeddings or self.labelled_instances

    def __call__(
        self,
        pool: Pool,
        *,
        budget: int,
        labelled: Labelled,
        params: SelectionParams,
        seed: int,
        progress: ProgressCallback | None = None,
    ) -> Selection:
        """Order the pool's images; see `QueryStrategy`.

        Detections with a score below `params.least_score` are removed before the strategy runs,
        unless it reads no detections.
        """
        least = params.least_score if self.detections else 0.0
        part, rows = without_low_scores(pool, least)
        found = self.run(
            part, budget=budget, labelled=labelled, params=params, seed=seed, progress=progress
        )
        return of_whole_pool(found, rows, pool, least) if least else found


def by_figure(figure: Figure) -> Strategy:
    """The strategy of an entry of `FIGURES`."""
    return Strategy(
        figure,
        figure.ranks_by,
        figure.source,
        figure.use,
        detections=figure.detections,
        independent=True,
    )


SEED_OF_COVERS = "ties, images without detections, the sample behind the adaptive sigma"

STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "taudis": Strategy(
            taudis,
            "votes of uncertain instances that together cover the pool's instances",
            "Algorithm 1",
            "It is the paper's method and the default. It needs instance embeddings that tell"
            " objects apart; its warnings say when they do not. Its images are not always more"
            " diverse than random ones ([measured](selection.md)).",
            detections="uncertainty, embedding",
            edges=True,
            seed=SEED_OF_COVERS,
        ),
        "taudis_cover": Strategy(
            taudis_cover,
            "images whose uncertain instances together cover the pool's instances",
            "beyond the paper",
            "An image counts once for everything that its uncertain instances resemble, so two"
            " similar instances of one image count once. It needs neither beta nor a vote.",
            detections="uncertainty, embedding",
            edges=True,
            seed=SEED_OF_COVERS,
            check=check_sketch,
        ),
        "taudis_uncovered": Strategy(
            taudis_uncovered,
            "votes of uncertain instances that together cover what no labelled instance resembles",
            "beyond the paper",
            "It does not cover again what labelled instances resemble. It may help in later rounds,"
            " or if images repeat. Not yet measured.",
            detections="uncertainty, embedding; embedding and score in labelled images",
            labelled_instances=True,
            edges=True,
            seed=SEED_OF_COVERS,
            check=check_uncovered,
        ),
        "taudis_cover_uncovered": Strategy(
            taudis_cover_uncovered,
            "images whose uncertain instances together cover what no labelled instance resembles",
            "beyond the paper",
            "It is `taudis_cover` on the universe of `taudis_uncovered`. Not yet measured.",
            detections="uncertainty, embedding; embedding and score in labelled images",
            labelled_instances=True,
            edges=True,
            seed=SEED_OF_COVERS,
            check=check_sketch,
        ),
        "taudis_cover_cost": Strategy(
            taudis_cover_cost,
            "newly covered instances / cost of the image (its expected objects + look_cost)",
            "beyond the paper",
            "An image that costs twice as much to label has to cover twice as many new instances."
            " It may help if the number of objects per image varies much. Not yet measured.",
            detections="uncertainty, embedding, class probabilities",
            edges=True,
            seed=SEED_OF_COVERS,
            check=check_sketch,
        ),
        "taudis_img": Strategy(
            taudis_img,
            "uncertain images (WSE) that together cover the pool's images",
            "Algorithm 2",
            "It needs no instance embeddings. Compare it with `taudis` to see the effect of"
            " choosing instances.",
            detections="SE, mask area",
            image_embeddings=True,
            edges=True,
            seed=SEED_OF_COVERS,
        ),
        "random": Strategy(
            random,
            "a hash of seed and image id",
            "section 4",
            "Every other strategy has to beat it. It is also the unbiased choice for a validation"
            " set.",
            independent=True,
            seed="everything",
        ),
        "foreground_random": Strategy(
            foreground_random,
            "a seeded draw, in proportion to the expected objects (the sum of 1 - p_background)",
            "beyond the paper",
            "Like `random`, but images with many predicted objects tend to come early. Compare"
            " uncertainty strategies with it: they prefer crowded images, too.",
            detections="class probabilities",
            independent=True,
            seed="everything",
        ),
        **{figure.strategy: by_figure(figure) for figure in FIGURES},
        "core_set": Strategy(
            core_set,
            "distance to the nearest labelled or picked image, the farthest first",
            "appendix D, [35]",
            "It needs no detections. Use it for the first round, with embeddings of a pretrained"
            " backbone, or while the detector is too weak for its uncertainty to mean anything.",
            image_embeddings=True,
            labelled_embeddings=True,
            seed="ties, the first image where none is labelled",
        ),
        "round_robin": Strategy(
            round_robin,
            "labels in turn take their image of the highest WSE; after B images by WSE",
            "appendix D, [48]",
            "Use it where rare labels must not be forgotten: each label gets its turn, however few"
            " objects it has.",
            detections="SE, mask area, label",
        ),
        "clasp_se": Strategy(
            clasp_se,
            "labels in turn draw an image, with probabilities proportional to WSE^beta; beta grows",
            "beyond the paper, after ClaSP PE",
            "Nearly random in the first rounds, nearly by uncertainty later, and rare labels get"
            " their turn. It may help if uncertain images are all alike. Not yet measured.",
            detections="SE, mask area, label",
            labelled_count=True,
            seed="everything",
        ),
    }
)
"""Every query strategy by the name that settings and command lines use."""


def find(name: str) -> Strategy:
    """The strategy of a name. Raises SelectionError for an unknown name."""
    try:
        return STRATEGIES[name]
    except KeyError:
        raise SelectionError(
            f"strategy: expected one of {', '.join(STRATEGIES)}, got {name!r}."
        ) from None


def strategies_table() -> str:
    """The strategies as Markdown for docs/strategies.md: a table, and when to use each."""
    head = (
        "| name | ranks by | source in the paper | reads of the detections "
        "| image embeddings | order of two images depends on | the seed decides |"
    )
    lines = [head, "|---|---|---|---|---|---|---|"]
    for name, strategy in STRATEGIES.items():
        cells = (
            f"`{name}`",
            strategy.ranks_by,
            strategy.source,
            strategy.detections or "nothing",
            _embeddings_read(strategy),
            "these two" if strategy.independent else "the whole pool",
            strategy.seed,
        )
        lines.append(f"| {' | '.join(cells)} |")
    uses = [f"- `{name}`: {strategy.use}" for name, strategy in STRATEGIES.items()]
    return "\n".join([*lines, "", *uses])


def _embeddings_read(strategy: Strategy) -> str:
    """The table's cell for the image embeddings that a strategy reads."""
    if not strategy.image_embeddings:
        return "no"
    return "yes, and those of labelled images" if strategy.labelled_embeddings else "yes"


def query(
    name: str,
    pool: Pool,
    *,
    budget: int,
    labelled: Labelled,
    params: SelectionParams,
    seed: int,
    progress: ProgressCallback | None = None,
) -> Selection:
    """Order the pool by the named strategy. Raises SelectionError for an unknown name."""
    return find(name)(
        pool, budget=budget, labelled=labelled, params=params, seed=seed, progress=progress
    )
