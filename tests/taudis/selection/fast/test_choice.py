"""Which shortcut is taken, by whom the integer product comes, and that none of it is needed."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import taudis
from taudis.selection.fast import choice
from taudis.selection.fast.choice import find_shortcut
from taudis.selection.fast.prefix import Prefix
from taudis.selection.fast.rounded import Rounding
from taudis.selection.graph import edges_between, using_integer_product
from taudis.selection.similarity import similarity_rows
from taudis.selection.unit_vectors import UnitVectors, to_unit_length

SELECTIONS = """
import hashlib, json, pickle, sys
import numpy as np
import pytest
from taudis.selection.graph import using_integer_product
from taudis.selection.params import Labelled, SelectionParams
from taudis.selection.strategies import query

ways = []
try:
    from taudis.selection.fast import choice
except ImportError:
    pass
else:
    find = choice.find_shortcut
    choice.find_shortcut = lambda *given: ways.append(find(*given)) or ways[-1]

def multiply(rows, columns, out):
    out[:] = rows.astype(np.float32) @ columns.T.astype(np.float32)  # exact up to 2^24

digest = hashlib.sha256()
for path in sys.argv[1:]:
    pool = pickle.load(open(path, "rb"))
    with using_integer_product(multiply):
        for name in ("taudis", "taudis_cover"):
            for rule in ("flat", "adaptive"):
                got = query(name, pool, budget=40, labelled=Labelled(10.0),
                            params=SelectionParams(sigma_rule=rule), seed=3)
                for found in (got.order, got.votes, got.chosen, got.gains, got.layers):
                    digest.update(np.ascontiguousarray(found).tobytes())
                digest.update(repr((got.diagnostics, got.reasons, got.warnings)).encode())
print(json.dumps([digest.hexdigest(), [type(way).__name__ for way in ways]]))
"""


def select_with(package, pools):
    """The digest of some selections by a copy of the package, and the shortcuts that it took."""
    done = subprocess.run(
        [sys.executable, "-c", SELECTIONS, *map(str, pools)],
        cwd=package.parent, check=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.slow
def test_without_the_folder_every_selection_is_the_same(build, shared, tmp_path):
    pools = []
    for name in ("decaying", "spread"):
        pool = build.clustered_pool(1700, 10, 40, seed=1, width=128)
        pool.instances.embeddings[:] = getattr(shared, name)(17_000, 128, seed=2)
        pools.append(tmp_path / name)
        pools[-1].write_bytes(pickle.dumps(pool))
    whole = Path(taudis.__file__).parent
    bare = tmp_path / "taudis"
    shutil.copytree(whole, bare, ignore=shutil.ignore_patterns("fast", "__pycache__"))
    assert not (bare / "selection" / "fast").exists()
    with_it, ways = select_with(whole, pools)
    without, none = select_with(bare, pools)
    assert {"Prefix", "Rounding"} <= set(ways) and not none
    assert with_it == without


def test_few_pairs_are_not_worth_a_look(shared, monkeypatch):
    pool = UnitVectors.of(shared.decaying(600, 128, seed=0))
    assert find_shortcut(pool.head(200), pool, 0.97) is None
    monkeypatch.setattr(choice, "LEAST_PAIRS", 200 * 600)
    assert isinstance(find_shortcut(pool.head(200), pool, 0.97), Prefix)


def test_the_cheaper_shortcut_is_taken(shared, monkeypatch):
    monkeypatch.setattr(choice, "LEAST_PAIRS", 0)
    spread = UnitVectors.of(shared.spread(600, 256, seed=0, clusters=300))
    assert find_shortcut(spread.head(200), spread, 0.4) is None  # too many directions
    found = find_shortcut(spread.head(200), spread, 0.4, shared.multiply)
    assert isinstance(found, Rounding) and found.multiply is shared.multiply
    few = UnitVectors.of(shared.decaying(600, 256, seed=0, fall=1.0))
    assert isinstance(find_shortcut(few.head(200), few, 0.97, shared.multiply), Prefix)
    flat = np.random.default_rng(0).normal(size=(600, 128)).astype(np.float32)
    alike = UnitVectors.of(to_unit_length(np.abs(flat)))
    assert find_shortcut(alike.head(200), alike, 0.64, shared.multiply) is None


def test_an_integer_product_is_used_in_its_context_alone(shared, monkeypatch):
    monkeypatch.setattr(choice, "LEAST_PAIRS", 0)
    pool, own, used = shared.spread(900, 128, seed=0), np.arange(300), []

    def multiply(rows, columns, out):
        used.append(len(rows) * len(columns))
        shared.multiply(rows, columns, out)

    wanted = similarity_rows(pool[own], pool, 0.4, own=own)
    with using_integer_product(multiply):
        with using_integer_product(None):
            assert np.array_equal(edges_between(pool[own], pool, 0.4, own=own), wanted)
            assert not used
        assert np.array_equal(edges_between(pool[own], pool, 0.4, own=own), wanted)
    assert sum(used) == 300 * 900
    edges_between(pool[own], pool, 0.4, own=own)
    assert sum(used) == 300 * 900
