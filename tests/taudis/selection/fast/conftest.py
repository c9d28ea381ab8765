"""Vectors, a product of whole numbers and the check that every test of a shortcut makes."""

from __future__ import annotations

import numpy as np
import pytest

from taudis.selection.similarity import BLOCK
from taudis.selection.unit_vectors import to_unit_length


class Shared:
    """A class, since test modules cannot import each other."""

    @staticmethod
    def decaying(rows, width, *, seed, fall=6.0):
        """Unit rows whose energy lies in few directions, as a network's embeddings have it."""
        rng = np.random.default_rng(seed)
        scale = np.exp(-np.arange(width) / fall) + 0.003
        scale[0] += 3
        turn, _ = np.linalg.qr(rng.normal(size=(width, width)))
        return to_unit_length(
            ((np.abs(rng.normal(size=(rows, width))) * scale) @ turn).astype("f4")
        )

    @staticmethod
    def spread(rows, width, *, seed, clusters=9):
        """Unit rows in as many directions as there are clusters, with noise in all of them."""
        rng = np.random.default_rng(seed)
        centres = rng.normal(size=(clusters, width))
        found = centres[rng.integers(clusters, size=rows)] + 0.4 * rng.normal(size=(rows, width))
        return to_unit_length(found.astype(np.float32))

    @staticmethod
    def near(pool, own, sigma):
        """A threshold near sigma that is the cosine of a pair, so that rounding decides some."""
        cosines = np.sort((pool[own] @ pool.T).ravel())
        return float(cosines[np.searchsorted(cosines, sigma)])

    @staticmethod
    def multiply(rows, columns, out):
        """The product of whole numbers on any processor."""
        out[:] = rows.astype(np.int32) @ columns.T.astype(np.int32)

    @staticmethod
    def undecided(shortcut, rows, columns, sigma):
        """Whether each pair is left undecided [n,m]; the others must be those of dot products."""
        assert len(rows) <= BLOCK and len(columns) <= BLOCK
        edges, places = shortcut.bounds(rows).decide(shortcut.bounds(columns), sigma)
        left = np.zeros(edges.shape, bool)
        left.ravel()[places] = True
        wanted = np.vecdot(rows[:, None], columns[None]) >= np.float32(sigma)
        assert np.array_equal(edges[~left], wanted[~left])
        exact = rows.astype(np.float64) @ columns.astype(np.float64).T
        sure = ~left & (np.abs(exact - sigma) > 2e-6)
        assert np.array_equal(edges[sure], (exact >= sigma)[sure])
        return left


@pytest.fixture(scope="session")
def shared():
    return Shared
