"""A manifest's parts are one pool: read in place, ranked as one file, refused where they differ."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taudis.data.pool_format import PoolHeader
from taudis.data.pool_manifest import read_manifest
from taudis.data.pool_reader import load_pool, read_header, save_pool
from taudis.errors import DataError
from taudis.memmap import JoinedRows, blocks, take
from taudis.selection.params import Labelled, SelectionParams
from taudis.selection.strategies import query
from tests.taudis.data.manifest_cases import NAMES, write_parts


@pytest.mark.parametrize("count", [1, 3, 8])
def test_parts_hold_the_arrays_of_the_whole(tmp_path, build, count):
    pool = build.mixed_pool(20, seed=3)
    path = write_parts(tmp_path, pool, count)
    back, manifest = load_pool(path), read_manifest(path)
    assert isinstance(back.instances.embeddings, JoinedRows)
    assert np.array_equal(back.image_ids, pool.image_ids)
    for name in ("image_index", "boxes", "scores", "labels", "class_probs", "embeddings"):
        assert np.array_equal(getattr(back.instances, name), getattr(pool.instances, name)), name
    assert np.array_equal(back.image_embeddings, pool.image_embeddings)
    assert np.array_equal(back.uncertainty.se, pool.uncertainty.se)
    assert read_header(path) == PoolHeader(NAMES, "a model")
    assert (manifest.images, manifest.unreadable) == (20, {7: "torn"})
    some = np.array([11, 3, 19, 3])
    assert np.array_equal(back.subset(some[:3]).image_ids, pool.image_ids[some[:3]])


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), sketch=st.sampled_from(["never", "always", "guaranteed"]))
def test_any_number_of_parts_gives_one_ranking(tmp_path_factory, build, seed, sketch):
    """Exact and sketched; the same ranking as of one file, and of the pool in memory."""
    pool, folder = build.mixed_pool(18, seed=seed), tmp_path_factory.mktemp("parts")
    params = SelectionParams(sketch=sketch, alpha=3.0, beta=2.0)
    known = Labelled(mean_instances=3.0)

    def ranking(found):
        order = query("taudis", found, budget=4, labelled=known, params=params, seed=seed)
        return order.order.tolist(), order.chosen.tolist(), order.gains.tolist()

    wanted = ranking(pool)
    for count in (1, 3, 8):
        assert ranking(load_pool(write_parts(folder / str(count), pool, count))) == wanted


@pytest.mark.parametrize("strategy", ["core_set", "taudis_img", "taudis_cover", "wse", "random"])
def test_other_strategies_read_parts_too(tmp_path, build, strategy):
    pool, known = build.mixed_pool(18, seed=5), Labelled(mean_instances=3.0)
    back = load_pool(write_parts(tmp_path, pool, 3))
    params = SelectionParams()
    one, other = (
        query(strategy, found, budget=4, labelled=known, params=params, seed=1)
        for found in (pool, back)
    )
    assert one.order.tolist() == other.order.tolist()


def test_joined_rows_read_as_one_array():
    rng = np.random.default_rng(0)
    whole = rng.normal(size=(11, 3)).astype(np.float16)
    joined = JoinedRows((whole[:4], whole[4:4], whole[4:]))
    assert (joined.shape, joined.ndim, len(joined)) == (whole.shape, 2, 11)
    rows = np.array([10, 0, 4, 4, 3])
    assert np.array_equal(take(joined, rows), whole[rows])
    assert np.array_equal(joined[2:9:3], whole[2:9:3]) and np.array_equal(joined[5], whole[5])
    assert np.array_equal(np.concatenate([part for _, part in blocks(joined)]), whole)
    assert np.array_equal(np.asarray(joined, np.float32), whole.astype(np.float32))
    for wrong in (np.array([0, 11]), np.array([-1])):
        with pytest.raises(IndexError, match=r"rows 0\.\.10"):
            take(joined, wrong)


def change(path, **more):
    """Replace entries of a manifest."""
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ({"format": "taudis-pool"}, "expected a manifest"),
        ({"format_version": 2}, "format_version 1 or older, got 2"),
        ({"parts": []}, "at least one part"),
        ({"parts": [{"file": "/etc/pool", "images": 1, "instances": 1}]}, "manifest's folder"),
        ({"parts": [{"file": "../pool", "images": 1, "instances": 1}]}, "manifest's folder"),
        ({"parts": [{"file": "pool.parts/0.safetensors"}]}, "damaged"),
        ({"label_names": ["a", "a"]}, "different label_names"),
        ({"label_names": ["a", "b", "x"]}, "0.safetensors: expected the label_names"),
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path, build, more, wanted):
    path = write_parts(tmp_path, build.mixed_pool(6, seed=1), 2)
    change(path, **more)
    with pytest.raises(DataError, match=wanted):
        load_pool(path)


def test_parts_that_do_not_fit_are_named(tmp_path, build):
    pool = build.mixed_pool(6, seed=1)
    path = write_parts(tmp_path, pool, 2)
    part = tmp_path / "pool.parts/1.safetensors"
    other = replace(pool.subset(np.arange(3, 6)), image_embeddings=np.ones((3, 9), np.float32))
    save_pool(part, other, label_names=NAMES)
    with pytest.raises(DataError, match="image_embeddings: expected one width"):
        load_pool(path)
    save_pool(part, pool.subset(np.arange(2)), label_names=NAMES)
    with pytest.raises(DataError, match=r"1\.safetensors: expected 3 images"):
        load_pool(path)
    part.unlink()
    with pytest.raises(DataError, match=r"1\.safetensors: expected a pool file"):
        load_pool(path)
    with pytest.raises(DataError, match="found none"):
        load_pool(tmp_path / "other.json")
