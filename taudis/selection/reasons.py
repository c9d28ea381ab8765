"""A selection in words: why each image has its rank, and what to change when a cover collapsed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from taudis.selection.cover import Cover
from taudis.selection.similarity import SIGMA_CEILING, quantile_sigma
from taudis.selection.vote import Ranking, Tier
from taudis.types import IntArray

_VOTED, _CANDIDATE, _DETECTED = int(Tier.VOTED), int(Tier.CANDIDATE), int(Tier.DETECTED)


def explain(ranking: Ranking, cover: Cover, image: IntArray, candidates: int) -> tuple[str, ...]:
    """One sentence for each rank [I], in the order of the ranking.

    `image` [N] is the image row of each instance, candidates first; `cover.picks` are its rows.
    """
    images = len(ranking.order)
    chosen = np.bincount(image[cover.picks], minlength=images)
    uncertain = np.bincount(image[:candidates], minlength=images)
    detections = np.bincount(image, minlength=images)
    new = cover.gains * (cover.layers == 0)
    gained = np.bincount(image[cover.picks], weights=new, minlength=images).astype(np.int64)
    first = np.select(
        [ranking.tiers == Tier.VOTED, ranking.tiers == Tier.CANDIDATE],
        [ranking.votes, ranking.candidate_uncertainty],
        ranking.mean_uncertainty,
    )
    # Lists, since a large pool's sentences would spend their time in numpy's scalars.
    rows = zip(
        *(each[ranking.order].tolist() for each in
          (ranking.tiers, first, chosen, uncertain, detections, gained)), strict=True,
    )  # fmt: skip
    sentences = []
    for tier, figure, picked, unsure, found, covers in rows:
        if tier == _VOTED:
            sentences.append(_voted(figure, picked, unsure, covers))
        elif tier == _CANDIDATE:
            count = counted(unsure, "uncertain instance")
            sentences.append(f"no votes; summed uncertainty {figure:.3f} of its {count}")
        elif tier == _DETECTED:
            mean = f"mean uncertainty {figure:.3f} of its {counted(found, 'detection')}"
            sentences.append(f"no votes and no uncertain instance; {mean}")
        else:
            sentences.append("no detections; seeded random place")
    return tuple(sentences)


def counted(number: int, noun: str) -> str:
    """`1 vote`, `2 votes`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _voted(votes: float, chosen: int, uncertain: int, covered: int) -> str:
    """The sentence of an image with votes."""
    head = (
        "1.0 vote" if votes == 1 else f"{votes:.1f} votes" if votes >= 0.1 else f"{votes:.1g} votes"
    )
    text = (
        f"{head}: {chosen} of its {counted(uncertain, 'uncertain instance')} "
        f"{'was' if chosen == 1 else 'were'} chosen"
    )
    if not covered:
        return f"{text}, after the cover was complete"
    they = "it covers" if chosen == 1 else "they cover"
    return f"{text}; {they} {counted(covered, 'pool instance')} that nothing before covered"


def covering_sentence(covered: int, layer: int, uncertain: int) -> str:
    """Why an image was picked as a set of the cover (`taudis_cover`)."""
    whose = f"its {counted(uncertain, 'uncertain instance')}"
    if layer:
        return f"{whose}: picked after the cover was complete"
    cover = "covers" if uncertain == 1 else "cover"
    return f"{whose} {cover} {counted(covered, 'pool instance')} that no image before covered"


def coverage(cover: Cover, instances: int) -> dict[str, float | int | str | None]:
    """How far the first layer got: share of all instances, and the pick that completed it."""
    return {
        "coverage": cover.covered / instances if instances else 0.0,
        "coverable": cover.coverable / instances if instances else 0.0,
        "saturation_pick": cover.saturation_pick,
    }


def saturation_warning(
    cover: Cover,
    budget: int,
    candidates: int,
    sigma: float,
    sample: Callable[[], npt.NDArray[np.floating[Any]]],
) -> tuple[str, ...]:
    """A warning if the cover was complete before B picks, naming the sigma at which it would not.

    That sigma is an estimate: the quantile of the sampled similarities [S] that leaves each
    candidate about 1/B of the pool, and at most a quarter of what it covers now, so that fewer than
    B of them can hardly cover it.
    """
    done = cover.saturation_pick
    if done is None or done >= min(budget, candidates):
        return ()
    happened = (
        f"The cover was complete after {done} picks, fewer than the budget of {budget} images, "
        f"at sigma {sigma:.4f}; later picks diversify less. "
    )
    similarities = sample()
    covers = float(np.mean(similarities >= sigma)) if len(similarities) else 0.0
    better = quantile_sigma(similarities, min(1 / budget, covers / 4))
    if sigma < better < SIGMA_CEILING:
        return (f"{happened}At sigma of about {better:.4f} it would not be.",)
    return (
        f"{happened}No higher sigma would help: the embeddings hardly differ. "
        "Try standardise, or the embedding of the other branch.",
    )
