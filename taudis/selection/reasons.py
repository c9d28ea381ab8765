"""A selection in words: the reason of each image's rank, and a warning for a cover of few picks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from taudis.selection.cover import Cover
from taudis.selection.sigma import CEILING, quantile_sigma
from taudis.selection.vote import Ranking, Tier
from taudis.types import IntArray

_CANDIDATE, _DETECTED = int(Tier.CANDIDATE), int(Tier.DETECTED)

NO_DETECTIONS = "no detections; seeded random place"
"""The reason of an image without detections, under every strategy that reads detections."""


def explain(ranking: Ranking, cover: Cover, image: IntArray, candidates: int) -> tuple[str, ...]:
    """One sentence for each image of the ranking of Algorithm 1, in its order.

    image: [N] image row of each instance, candidates first; `cover.picks` index it. candidates: C.
    """
    voted = int((ranking.tiers == Tier.VOTED).sum())  # voted images come first in the order
    head, tail = ranking.order[:voted], ranking.order[voted:]
    images = len(ranking.order)
    chosen = np.bincount(image[cover.picks], minlength=images)
    uncertain = np.bincount(image[:candidates], minlength=images)
    new = cover.gains * (cover.layers == 0)
    gained = np.bincount(image[cover.picks], weights=new, minlength=images).astype(np.int64)
    columns = (each[head].tolist() for each in (ranking.votes, chosen, uncertain, gained))
    return (
        *(_voted(*figures) for figures in zip(*columns, strict=True)),
        *explain_rest(ranking, tail, image, candidates, "no votes"),
    )


def explain_rest(
    ranking: Ranking, rows: IntArray, image: IntArray, candidates: int, start: str
) -> list[str]:
    """One sentence for each image row of `rows`, images without votes: the value that ranks it.

    image: [N] image row of each instance, candidates first. candidates: C. start: how the sentence
    begins, for example "no votes".
    """
    images = len(ranking.order)
    uncertain = np.bincount(image[:candidates], minlength=images)
    detections = np.bincount(image, minlength=images)
    summed, mean = ranking.candidate_uncertainty, ranking.mean_uncertainty
    # Lists, because formatting numpy scalars is slow for a large pool.
    columns = [each[rows].tolist() for each in (ranking.tiers, summed, uncertain, mean, detections)]
    sentences = []
    for tier, total, unsure, average, found in zip(*columns, strict=True):
        if tier == _CANDIDATE:
            of = counted(unsure, "uncertain instance")
            sentences.append(f"{start}; summed uncertainty {total:.3f} of its {of}")
        elif tier == _DETECTED:
            of = counted(found, "detection")
            sentences.append(
                f"{start} and no uncertain instance; mean uncertainty {average:.3f} of its {of}"
            )
        else:
            sentences.append(NO_DETECTIONS)
    return sentences


def counted(number: int, noun: str) -> str:
    """A number and its noun, such as `1 vote` or `2 votes`."""
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
    """The reason why `taudis_cover` picked an image.

    covered: pool instances that the image newly covers. layer: the layer of the cover, 0 is the
    first. uncertain: number of the image's candidates.
    """
    whose = f"its {counted(uncertain, 'uncertain instance')}"
    if layer:
        return f"{whose}: picked after the cover was complete"
    cover = "covers" if uncertain == 1 else "cover"
    return f"{whose} {cover} {counted(covered, 'pool instance')} that no image before covered"


def coverage(cover: Cover, instances: int) -> dict[str, float | int | str | None]:
    """What the first layer covered, as entries of `Selection.diagnostics`.

    `coverage` and `coverable` are shares of the pool's `instances`. `saturation_pick` is the number
    of picks that cover everything coverable, or None.
    """
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
    """A warning if the cover was complete before B picks, with a sigma at which it would not be.

    budget: B. candidates: number of sets that the cover chooses from. sample: gives sampled
    similarities [S]; called only for a warning.

    The suggested sigma is an estimate. At this quantile of the similarities, a candidate covers
    about 1/B of the pool, and at most a quarter of what it covers now. Fewer than B such candidates
    can hardly cover everything.
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
    if sigma < better < CEILING:
        return (f"{happened}At sigma of about {better:.4f} it would not be.",)
    return (
        f"{happened}No higher sigma would help: the embeddings hardly differ. "
        "Try standardise, or the embedding of the other branch.",
    )
