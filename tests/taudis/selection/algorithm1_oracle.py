"""The oracle of Algorithm 1, in plain Python."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np

from taudis.selection.vote import seeded_hash


# long: the lines of Algorithm 1 in their order
def algorithm_one(
    build, content, budget, alpha, beta, sigma, remainder, seed, known=(), vote="count"
):
    """Algorithm 1 lines 4-8 in plain Python: ids in order, and the instances it chose.

    An instance is (uncertainty, image id, box corner, embedding). known: embeddings of labelled
    instances, which cover what resembles them.
    """
    budget = min(budget, len(content))
    found = [(u, key, x, e) for key, rows in content.items() for u, x, e in rows]
    found.sort(key=lambda t: (-t[0], t[1], t[2], np.array(t[3], np.float32).tobytes()))
    candidates = found[: math.ceil(round(alpha * budget, 9))]
    free = [j for j, b in enumerate(found) if not any(build.similar(b[3], e, sigma) for e in known)]
    sets = [
        {j for j in free if i == j or build.similar(a[3], found[j][3], sigma)}
        for i, a in enumerate(candidates)
    ]
    k = min(len(candidates), math.ceil(round(beta * budget, 9)))
    picks, gains, layers = build.greedy_by_sets(sets, k, remainder)
    votes, chosen_sum, candidate_sum = (defaultdict(float) for _ in range(3))
    for row, layer in zip(picks, layers, strict=True):
        weight = 0.5**layer if remainder == "layers" else 1
        votes[found[row][1]] += weight * (found[row][0] / 16 if vote == "uncertainty" else 1)
        chosen_sum[found[row][1]] += found[row][0]
    for u, key, *_ in candidates:
        candidate_sum[key] += u

    def place(key):
        mine = [u for u, _, _ in content[key]]
        tie = int(seeded_hash(np.array([key]), seed)[0])
        if votes.get(key):
            return (0, -votes[key], -chosen_sum[key], tie)
        if key in candidate_sum:
            return (1, -candidate_sum[key], 0, tie)
        return (2, -sum(mine) / len(mine), 0, tie) if mine else (3, 0, 0, tie)

    chosen = [found[row] for row in picks]
    return (
        sorted(content, key=place),
        candidates,
        sets,
        chosen,
        gains,
        {key: value for key, value in votes.items() if value},
    )
