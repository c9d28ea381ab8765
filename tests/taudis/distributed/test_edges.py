"""Edges by part: any number of parts and any order of the tasks give the ranking of one process."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.pools import as_pool, synthetic
from taudis.data.pool_reader import load_pool, save_pool
from taudis.distributed import edges as module
from taudis.distributed.edges import Layout, RayEdges
from taudis.errors import DataError
from taudis.selection.cover import row_sizes
from taudis.selection.graph import edges_between, using_edges
from taudis.selection.params import Labelled, SelectionParams
from taudis.selection.strategies import query
from taudis.selection.unit_vectors import UnitVectors
from tests.ray_nodes import STORE
from tests.taudis.cli.cli_cases import call
from tests.taudis.data.manifest_cases import write_parts


class Inline:
    """Stands for the module ray: a task runs when it is given out, the last answer comes first."""

    exceptions = SimpleNamespace(RayTaskError=ZeroDivisionError)

    def put(self, value):
        return value

    def remote(self, function):
        def run(*given):
            return (function(*given),)  # a reference; a tuple of one, to tell it from its value

        return SimpleNamespace(
            options=lambda **_: SimpleNamespace(remote=lambda *g: Answer(run(*g)))
        )

    in_vain = 0  # how often no task has finished within the time limit

    def wait(self, waiting, num_returns, timeout):
        if self.in_vain:
            self.in_vain -= 1
            return [], waiting
        return waiting[-1:], waiting[:-1]

    def available_resources(self):
        return {}


class Answer:
    """A reference to the answer of a task."""

    def __init__(self, value):
        self.value = value[0]


def inline():
    return RayEdges(SimpleNamespace(ray=Inline(), cpus=2, result=lambda answer: answer.value))


def ranking(pool, params, seed, strategy="taudis"):
    known = Labelled(
        mean_instances=3.0,
        instance_embeddings=np.asarray(pool.instances.embeddings[np.arange(2)], np.float32),
    )
    found = query(strategy, pool, budget=4, labelled=known, params=params, seed=seed)
    return found.order.tolist(), found.chosen.tolist(), found.gains.tolist(), found.diagnostics


@settings(max_examples=8)
@given(
    seed=st.integers(0, 10**6),
    sketch=st.sampled_from(["never", "always"]),
    centre=st.booleans(),
    strategy=st.sampled_from(["taudis", "taudis_uncovered", "taudis_img", "taudis_cover"]),
)
def test_any_number_of_parts_gives_one_ranking(
    tmp_path_factory, build, seed, sketch, centre, strategy
):
    pool, folder = build.mixed_pool(40, seed=seed), tmp_path_factory.mktemp("parts")
    params = SelectionParams(sketch=sketch, centre=centre, alpha=3.0, beta=2.0)
    wanted = ranking(pool, params, seed, strategy)
    for count in (1, 3, 8):
        back = load_pool(write_parts(folder / str(count), pool, count))
        with using_edges(inline()):
            assert ranking(back, params, seed, strategy) == wanted


def test_the_guaranteed_sketch_by_parts(tmp_path, build):
    pool = build.mixed_pool(40, seed=2)
    params = SelectionParams(sketch="guaranteed", epsilon=0.9)
    back = load_pool(write_parts(tmp_path, pool, 3))
    wanted = ranking(pool, params, 2)
    with using_edges(inline()):
        assert ranking(back, params, 2) == wanted


@settings(max_examples=20)
@given(st.integers(0, 300), st.integers(0, 9))
def test_a_layout_gives_each_column_a_place_of_its_own(tmp_path_factory, count, seed):
    """Parts begin at whole words; tasks cover the columns once."""
    rng = np.random.default_rng(seed)
    file = tmp_path_factory.mktemp("one") / "rows"
    matrix = np.memmap(file, np.float16, "w+", shape=(301, 4))
    units = UnitVectors.of(matrix, rng.permutation(301)[:count])
    layout = Layout.of(units)
    assert len(np.unique(layout.columns)) == count and layout.width % 8 == 0
    tasks = list(layout.tasks(3))
    assert sum(len(task.rows) for task in tasks) == count
    assert sum(task.width for task in tasks) == layout.width


def test_edges_are_those_of_one_process_in_another_order(tmp_path, build, monkeypatch, caplog):
    monkeypatch.setattr(module, "LEAST_COLUMNS", 64)
    monkeypatch.setattr(module, "TASK_BYTES", 1)
    pool = build.mixed_pool(150, seed=4)
    back = load_pool(write_parts(tmp_path, pool, 3))
    order = np.random.default_rng(0).permutation(len(pool.instances))
    columns, one = UnitVectors.of(back.instances.embeddings, order), inline()
    own, one.cluster.ray.in_vain = np.arange(20), 2
    got = one(columns.head(20), columns, 0.7, own)
    assert caplog.text.count("has finished in 300 s. 0 of 2 cores are free") == 2
    wanted = edges_between(columns.head(20), columns, 0.7, own=own)
    assert np.array_equal(row_sizes(got), row_sizes(wanted))
    bits, plain = (np.unpackbits(each, axis=1) for each in (got, wanted))
    assert np.array_equal(bits[:, Layout.of(columns).columns], plain[:, : len(order)])
    figures = one.moved.to_dict()
    assert figures["tasks"] > 3 and figures["bits_bytes"] == got.nbytes
    assert figures["candidates_bytes"] == 20 * 8 * 4 and figures["worker_peak_bytes"] > 10**7


def test_a_pool_in_memory_and_a_replaced_part_are_refused(tmp_path, build):
    pool = build.mixed_pool(12, seed=4)
    params = SelectionParams()
    with using_edges(inline()), pytest.raises(DataError, match="pool in files"):
        ranking(pool, params, 0)
    back = load_pool(write_parts(tmp_path, pool, 2))
    layout = Layout.of(UnitVectors.of(back.instances.embeddings))
    save_pool(tmp_path / "pool.parts/0.safetensors", pool)
    with pytest.raises(DataError, match="got another"):
        layout.regions[0].rows(np.arange(2))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("sketch", ["never", "always"])
def test_the_command_ranks_on_a_cluster(nodes, build, tmp_path, sketch):
    pool = build.mixed_pool(60, seed=8)
    path = write_parts(tmp_path, pool, 3)
    arguments = ("select", path, 5, "--mean-instances", 3, "--sketch", sketch)
    wanted, found = call(*arguments), call(*arguments, "--ray", nodes.address)
    moved = found.pop("moved")
    assert found == wanted
    assert moved["tasks"] == 3 and moved["bits_bytes"] > 0 and moved["worker_peak_bytes"] > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_bits_of_more_than_the_store_of_a_node_are_not_spilled_to_disk(nodes, tmp_path):
    session = Path(nodes.cluster.head_node.get_session_dir_path())
    spilled, over = set(), threading.Event()

    def watch():
        while not over.wait(0.02):  # ray deletes the files of objects that nobody needs
            spilled.update(path.name for path in session.glob("ray_spilled_objects*/*"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    pool = as_pool(synthetic(150_000, 0.001)[0])
    path = write_parts(tmp_path, pool, 3, names=("a",))
    arguments = ("--alpha", 25, "--beta", 15, "--sketch", "never", "--mean-instances", 1)
    found = call("select", path, 200, *arguments, "--ray", nodes.address)
    over.set()
    watcher.join()
    assert found["moved"]["bits_bytes"] > STORE and not spilled
