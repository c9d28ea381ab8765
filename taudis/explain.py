"""A selection in words: why each image has its rank, and what to change when a cover collapsed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from taudis.cover import Cover
from taudis.instances import IntArray
from taudis.similarity import SIGMA_CEILING, quantile_sigma
from taudis.vote import Ranking, Tier


def explain(ranking: Ranking, cover: Cover, image: IntArray, candidates: int) -> tuple[str, ...]:
    """One sentence for each rank [I], in the order of the ranking.

    `image` [N] is the image row of each instance, candidates first; `cover.picks` are its rows.
    """
    images = len(ranking.order)
    chosen = np.bincount(image[cover.picks], minlength=images)
    uncertain = np.bincount(image[:candidates], minlength=images)
    detections = np.bincount(image, minlength=images)
    new = cover.gains * (cover.layers == 0)
    gained = np.bincount(image[cover.picks], weights=new, minlength=images).astype(int)
    sentences = []
    for row in ranking.order.tolist():
        match ranking.tiers[row]:
            case Tier.VOTED:
                votes, covers = float(ranking.votes[row]), int(gained[row])
                sentences.append(_voted(votes, int(chosen[row]), int(uncertain[row]), covers))
            case Tier.CANDIDATE:
                total = ranking.candidate_uncertainty[row]
                count = _count(int(uncertain[row]), "uncertain instance")
                sentences.append(f"no votes; summed uncertainty {total:.3f} of its {count}")
            case Tier.DETECTED:
                mean = f"mean uncertainty {ranking.mean_uncertainty[row]:.3f}"
                count = _count(int(detections[row]), "detection")
                sentences.append(f"no votes and no uncertain instance; {mean} of its {count}")
            case _:
                sentences.append("no detections; seeded random place")
    return tuple(sentences)


def _count(number: int, noun: str) -> str:
    """`1 vote`, `2 votes`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _voted(votes: float, chosen: int, uncertain: int, covered: int) -> str:
    """The sentence of an image with votes."""
    head = (
        "1.0 vote" if votes == 1 else f"{votes:.1f} votes" if votes >= 0.1 else f"{votes:.1g} votes"
    )
    text = (
        f"{head}: {chosen} of its {_count(uncertain, 'uncertain instance')} "
        f"{'was' if chosen == 1 else 'were'} chosen"
    )
    if not covered:
        return f"{text}, after the cover was complete"
    they = "it covers" if chosen == 1 else "they cover"
    return f"{text}; {they} {_count(covered, 'pool instance')} that nothing before covered"


def saturation_warning(
    cover: Cover,
    budget: int,
    candidates: int,
    sigma: float,
    similarities: npt.NDArray[np.floating[Any]],
) -> tuple[str, ...]:
    """A warning if the cover was complete before B picks, naming the sigma at which it would not.

    That sigma is an estimate: the quantile of the sampled similarities that leaves each candidate
    about 1/B of the pool, and at most a quarter of what it covers now, so that fewer than B of them
    can hardly cover it.
    """
    done = cover.saturation_pick
    if done is None or done >= min(budget, candidates):
        return ()
    happened = (
        f"The cover was complete after {done} picks, fewer than the budget of {budget} images, "
        f"at sigma {sigma:.4f}; later picks diversify less. "
    )
    covers = float(np.mean(similarities >= sigma)) if len(similarities) else 0.0
    better = quantile_sigma(similarities, min(1 / budget, covers / 4))
    if sigma < better < SIGMA_CEILING:
        return (f"{happened}At sigma of about {better:.4f} it would not be.",)
    return (
        f"{happened}No higher sigma would help: the embeddings hardly differ. "
        "Try standardise, or the embedding of the other branch.",
    )
