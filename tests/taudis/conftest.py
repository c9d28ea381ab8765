"""Pools and oracles that the selection tests share.

Embeddings are small integer vectors, so that an edge can be decided exactly, far from every sigma
that is used; uncertainties are multiples of 1/16, so that sums are exact and ties are frequent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from taudis.types import Instances, Pool, Uncertainty

# image id -> detections: (uncertainty in 1/16, box corner, embedding)
Content = dict[int, list[tuple[int, int, tuple[int, ...]]]]
SIGMAS = (0.55, 0.65, 0.75, 0.9)  # cosines of {-1,0,1}^3 are 0, .408, .5, .577, .707, .816, 1


def build_pool(content: Content, *, width: int = 3) -> Pool:
    """A pool with the given images in the given order; one label, masks dropped."""
    ids = list(content)
    rows = [(i, *found) for i, key in enumerate(ids) for found in content[key]]
    n = len(rows)
    corner = np.array([row[2] for row in rows], np.float32).reshape(n)
    unsure = np.array([row[1] for row in rows], np.float64).reshape(n) / 16
    instances = Instances(
        image_index=np.array([row[0] for row in rows], np.int64).reshape(n),
        boxes=np.stack([corner, corner, corner + 4, corner + 4], axis=1),
        scores=np.full(n, 0.5, np.float32),
        labels=np.ones(n, np.int64),
        class_probs=np.full((n, 2), 0.5, np.float32),
        embeddings=np.array([row[3] for row in rows], np.float32).reshape(n, width),
    )
    return Pool(
        image_ids=np.array(ids, np.int64),
        sizes=np.full((len(ids), 2), 64, np.int64),
        instances=instances,
        uncertainty=Uncertainty(cm=1 - unsure, ce=unsure, se=unsure),
        mask_areas=np.full(n, 16.0, np.float32),
        image_embeddings=np.zeros((len(ids), 2), np.float32),
    )


def permute_pool(pool: Pool, rng: np.random.Generator) -> Pool:
    """The same content with images and instances in another order."""
    images, rows = rng.permutation(len(pool)), rng.permutation(len(pool.instances))
    instances = pool.instances.filter(rows)
    new_row = np.argsort(images)
    return Pool(
        image_ids=pool.image_ids[images],
        sizes=pool.sizes[images],
        instances=replace(instances, image_index=new_row[instances.image_index]),
        uncertainty=Uncertainty(
            pool.uncertainty.cm[rows], pool.uncertainty.ce[rows], pool.uncertainty.se[rows]
        ),
        mask_areas=pool.mask_areas[rows],
        image_embeddings=pool.image_embeddings[images],
    )


def similar(a: tuple[int, ...], b: tuple[int, ...], sigma: float) -> bool:
    """Cosine >= sigma of two integer vectors, in exact arithmetic."""
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    lengths = sum(x * x for x in a) * sum(y * y for y in b)
    return dot > 0 and dot * dot >= Fraction(sigma) ** 2 * lengths


def greedy_by_sets(
    sets: list[set[int]], k: int, remainder: str
) -> tuple[list[int], list[int], list[int]]:
    """(picks, gains, layers) of greedy cover: every set evaluated in every step, no heap, no bits.

    Smaller numbers win ties.
    """
    picks: list[int] = []
    gains: list[int] = []
    layers: list[int] = []
    layer, covered = 0, set[int]()
    while len(picks) < min(k, len(sets)):
        rest = [row for row in range(len(sets)) if row not in picks]
        best = max(rest, key=lambda row: (len(sets[row] - covered), -row))
        gain = len(sets[best] - covered)
        if gain == 0 and remainder == "uncertainty":
            best, layer = rest[0], 1
        elif gain == 0:
            fresh = bool(covered) and any(sets[row] for row in rest)
            if remainder == "none" or layer == 30 or not fresh:
                break
            layer, covered = layer + 1, set()
            continue
        covered |= sets[best]
        picks.append(best)
        gains.append(gain)
        layers.append(layer)
    return picks, gains, layers


def contents(max_images: int = 6, max_found: int = 5) -> st.SearchStrategy[Content]:
    """Small pools: empty images, duplicates, zero vectors and ties are all likely."""
    vector = st.tuples(*[st.integers(-1, 1)] * 3)
    found = st.tuples(st.integers(0, 4), st.integers(0, 3), vector)
    return st.dictionaries(
        st.integers(0, 60), st.lists(found, max_size=max_found), max_size=max_images
    )


# image id -> (image embedding, (height, width), detections); a detection is (SE, CE, CM in 1/16,
# label, mask area, box corner, embedding)
Scenes = dict[
    int,
    tuple[
        tuple[int, ...],
        tuple[int, int],
        list[tuple[int, int, int, int, int, int, tuple[int, ...]]],
    ],
]
SCENE_LABELS = 3


def scene_pool(scenes: Scenes) -> Pool:
    """A pool with the given images in the given order; labels 1..3, image embeddings of 2."""
    ids = list(scenes)
    rows = [(i, *found) for i, key in enumerate(ids) for found in scenes[key][2]]
    n = len(rows)
    columns = np.array([row[:7] for row in rows], np.int64).reshape(n, 7)
    corner = columns[:, 6].astype(np.float32)
    instances = Instances(
        image_index=columns[:, 0],
        boxes=np.stack([corner, corner, corner + 4, corner + 4], axis=1),
        scores=np.full(n, 0.5, np.float32),
        labels=columns[:, 4],
        class_probs=np.full((n, SCENE_LABELS + 1), 1 / (SCENE_LABELS + 1), np.float32),
        embeddings=np.array([row[7] for row in rows], np.float32).reshape(n, 3),
    )
    se, ce, cm = (columns[:, i] / 16 for i in (1, 2, 3))
    return Pool(
        image_ids=np.array(ids, np.int64),
        sizes=np.array([scenes[key][1] for key in ids], np.int64).reshape(len(ids), 2),
        instances=instances,
        uncertainty=Uncertainty(cm=cm, ce=ce, se=se),
        mask_areas=columns[:, 5].astype(np.float32),
        image_embeddings=np.array([scenes[key][0] for key in ids], np.float32).reshape(-1, 2),
    )


def scenes(max_images: int = 7, max_found: int = 4) -> st.SearchStrategy[Scenes]:
    """Small pools of several labels and sizes: ties, duplicates, zero vectors are all likely.

    Areas and image sizes are powers of two, so that sums are exact.
    """
    share = st.integers(0, 4)
    area, corner = st.sampled_from((0, 1, 4, 16)), st.integers(0, 2)
    vector = st.tuples(*[st.integers(-1, 1)] * 3)
    label = st.integers(1, SCENE_LABELS)
    found = st.tuples(share, share, share, label, area, corner, vector)
    sizes = st.sampled_from(((8, 8), (4, 16), (16, 16)))
    place = st.tuples(st.integers(-2, 2), st.integers(-2, 2))
    scene = st.tuples(place, sizes, st.lists(found, max_size=max_found))
    return st.dictionaries(st.integers(0, 60), scene, max_size=max_images)


class Builders:
    """What the tests of this folder share; a class, since test modules cannot import each other."""

    sigmas = SIGMAS
    contents = staticmethod(contents)
    pool = staticmethod(build_pool)
    permute = staticmethod(permute_pool)
    similar = staticmethod(similar)
    greedy_by_sets = staticmethod(greedy_by_sets)
    scenes = staticmethod(scenes)
    scene_pool = staticmethod(scene_pool)

    @staticmethod
    def mixed_pool(images: int, *, seed: int, width: int = 8) -> Pool:
        """Real numbers everywhere: 0 to 6 detections an image, 3 labels, image embeddings of 5.

        Sums depend on the order in which they are added, and no two images tie.
        """
        rng = np.random.default_rng(seed)
        index = np.repeat(np.arange(images), rng.integers(0, 7, images))
        n = len(index)
        probs = rng.dirichlet(np.ones(SCENE_LABELS + 1), n).astype(np.float32)
        corners = rng.uniform(0, 40, (n, 2)).astype(np.float32)
        instances = Instances(
            image_index=index,
            boxes=np.concatenate([corners, corners + 8], axis=1),
            scores=rng.uniform(0.05, 1, n).astype(np.float32),
            labels=rng.integers(1, SCENE_LABELS + 1, n),
            class_probs=probs,
            embeddings=np.maximum(rng.normal(0.5, 1, (n, width)), 0).astype(np.float32),
        )
        cm, ce, se = (rng.uniform(0, 0.69, n).astype(np.float32) for _ in range(3))
        return Pool(
            image_ids=rng.permutation(10 * images)[:images],
            sizes=rng.integers(50, 90, (images, 2)),
            instances=instances,
            uncertainty=Uncertainty(cm, ce, se),
            mask_areas=rng.uniform(1, 400, n).astype(np.float32),
            image_embeddings=np.maximum(rng.normal(0.5, 1, (images, 5)), 0).astype(np.float32),
        )

    @staticmethod
    def clustered_pool(
        images: int,
        per_image: int,
        clusters: int,
        *,
        seed: int,
        noise: float = 0.05,
        width: int = 16,
    ) -> Pool:
        """A pool of random clusters of embeddings with random uncertainties."""
        rng = np.random.default_rng(seed)
        n = images * per_image
        centres = rng.normal(size=(clusters, width))
        vectors = centres[rng.integers(clusters, size=n)] + noise * rng.normal(size=(n, width))
        plain = build_pool(
            {i: [(0, 0, (0,) * width)] * per_image for i in range(images)}, width=width
        )
        unsure = rng.uniform(0, 0.69, n)
        corners = rng.uniform(0, 40, (n, 2)).astype(np.float32)
        boxes = np.concatenate([corners, corners + 8], axis=1)
        found = replace(plain.instances, embeddings=vectors.astype(np.float32), boxes=boxes)
        return replace(plain, instances=found, uncertainty=Uncertainty(1 - unsure, unsure, unsure))


@pytest.fixture(scope="session")
def build() -> type[Builders]:
    return Builders


@pytest.fixture(scope="session")
def bits_to_sets() -> Callable[[Any, int], list[set[int]]]:
    def convert(rows: Any, columns: int) -> list[set[int]]:
        bits = np.unpackbits(rows, axis=1)
        assert not bits[:, columns:].any()
        return [set(np.flatnonzero(row).tolist()) for row in bits]

    return convert
