"""The oracle of `taudis_cover`: lines 4-6 of Algorithm 1 and a cover by images, in plain Python.

An instance is (uncertainty in 1/16, image id, box corner, embedding).
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from taudis.selection.vote import seeded_hash


@dataclass
class Expected:
    """What the oracle says."""

    order: list
    reasons: list
    candidates: list
    chosen: list
    gains: list  # of each chosen instance, of the columns
    layers: list
    image_gains: list  # of each picked image
    first_picks: int
    coverable: int
    sets: dict  # image id -> columns it covers, the best image first
    edges: int


def counted(number, noun):
    return f"{number} {noun}" + ("" if number == 1 else "s")


def estimates(counts, layers, scale):
    """Whole numbers whose sums over a layer are the rounded sums."""
    sums, found = defaultdict(int), []
    for count, layer in zip(counts, layers, strict=True):
        before = sums[layer]
        sums[layer] += count
        found.append(round(sums[layer] * scale) - round(before * scale))
    return found


class Images:
    """The images of a pool without votes: which hold candidates, and their order."""

    def __init__(self, content, candidates, seed):
        self.content, self.seed = content, seed
        self.held, self.unsure = defaultdict(list), defaultdict(float)
        for row, (u, key, *_) in enumerate(candidates):
            self.unsure[key] += u
            self.held[key].append(row)
        self.ranked = sorted(content, key=self.place)

    def place(self, key):
        """Sort key: summed uncertainty of candidates, then mean uncertainty, then a hash."""
        mine = [u for u, _, _ in self.content[key]]
        tie = int(seeded_hash(np.array([key]), self.seed)[0])
        if key in self.held:
            return (0, -self.unsure[key], tie)
        return (1, -sum(mine) / len(mine), tie) if mine else (2, 0, tie)

    def not_picked(self, key):
        """The reason of an image that the cover did not pick."""
        tier = self.place(key)[0]
        if tier == 0:
            whose = counted(len(self.held[key]), "uncertain instance")
            return f"not picked; summed uncertainty {self.unsure[key] / 16:.3f} of its {whose}"
        if tier == 2:
            return "no detections; seeded random place"
        mine = [u for u, _, _ in self.content[key]]
        mean, whose = sum(mine) / len(mine) / 16, counted(len(mine), "detection")
        return f"not picked and no uncertain instance; mean uncertainty {mean:.3f} of its {whose}"

    def picked(self, key, gain, layer):
        """The reason of an image that the cover picked."""
        mine = len(self.held[key])
        whose = f"its {counted(mine, 'uncertain instance')}"
        if layer:
            return f"{whose}: picked after the cover was complete"
        verb, newly = "covers" if mine == 1 else "cover", counted(gain, "pool instance")
        return f"{whose} {verb} {newly} that no image before covered"


def split_gains(held, covers, remainder):
    """(candidate row, gain, layer) of each candidate of the picked images.

    held: (candidate rows, layer) of each picked image in pick order. covers: of each candidate.
    """
    found, covered, current = [], set(), 0
    for rows, layer in held:
        if layer != current:
            current = layer
            covered = covered if remainder == "uncertainty" else set()
        for row in rows:
            found.append((row, len(covers[row] - covered), layer))
            covered |= covers[row]
    return found


def cover_by_images(build, content, budget, alpha, sigma, remainder, seed, columns=None):
    """What the strategy is to give; `columns` are the instances to be covered (None: all)."""
    budget = min(budget, len(content))
    found = [(u, key, x, e) for key, rows in content.items() for u, x, e in rows]
    found.sort(key=lambda t: (-t[0], t[1], t[2], np.array(t[3], np.float32).tobytes()))
    candidates = found[: math.ceil(round(alpha * budget, 9))]
    universe = range(len(found)) if columns is None else columns
    covers = [
        {j for j in universe if i == j or build.similar(a[3], found[j][3], sigma)}
        for i, a in enumerate(candidates)
    ]
    images = Images(content, candidates, seed)
    keys = [key for key in images.ranked if key in images.held]
    sets = {key: set().union(*(covers[row] for row in images.held[key])) for key in keys}
    picks, gains, layers = build.greedy_by_sets(list(sets.values()), budget, remainder)
    head = [keys[pick] for pick in picks]
    tail = [key for key in images.ranked if key not in head]
    held = [(images.held[key], layer) for key, layer in zip(head, layers, strict=True)]
    split = split_gains(held, covers, remainder)
    scale = len(found) / len(universe) if columns is not None else 1
    reported = zip(head, estimates(gains, layers, scale), layers, strict=True)
    return Expected(
        order=head + tail,
        reasons=[images.picked(*each) for each in reported]
        + [images.not_picked(key) for key in tail],
        candidates=candidates,
        chosen=[found[row] for row, _, _ in split],
        gains=[gain for _, gain, _ in split],
        layers=[layer for _, _, layer in split],
        image_gains=gains,
        first_picks=layers.count(0),
        coverable=len(set().union(*covers)),
        sets=sets,
        edges=sum(map(len, covers)),
    )
