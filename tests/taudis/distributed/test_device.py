"""An actor computes on the card that ray gave it, and on the CPU if ray gave it none.

Ray counts GPUs that it is told of, so a real cluster here has two; no card is behind them.
"""

from __future__ import annotations

import dataclasses
import os

import pytest
import torch

from taudis.distributed import cluster as clusters
from taudis.distributed import score_parts as parts
from taudis.distributed import stream
from taudis.distributed.actors import Actors
from taudis.distributed.cluster import Cluster, connected, device_of_this_actor
from taudis.distributed.grid import RowMaker, run_grid, work_of
from taudis.distributed.score_parts import Scorer, score_parts
from taudis.distributed.stream import StreamScorer, StreamWork
from taudis.errors import DataError
from taudis.selection.params import SelectionParams
from taudis.simulation.grid import Asked
from taudis.simulation.presets import read_presets
from tests.taudis.distributed.ray_cases import make_set, work_in
from tests.taudis.distributed.stand_in import StandIn
from tests.taudis.simulation.simulation_cases import Watched, grid, opened, write_data


@pytest.fixture
def devices(monkeypatch):
    """The devices that actors load their model to; the model itself computes on the CPU."""
    seen, real = [], parts.load_checkpoint

    def load(folder, *, device="cpu"):
        seen.append(device)
        return real(folder)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for module in (parts, stream):
        monkeypatch.setattr(module, "load_checkpoint", load)
    return seen


class Ray:
    """Stands in for ray in an actor that has these cards."""

    def __init__(self, *cards):
        self.cards = cards

    def is_initialized(self):
        return True

    def get_runtime_context(self):
        return self

    def get_accelerator_ids(self):
        return {"GPU": list(self.cards), "TPU": []}


def test_each_of_four_cards_gets_an_actor_that_computes_on_it(tmp_path, monkeypatch, devices):
    samples, model = make_set(tmp_path, 9)
    monkeypatch.setattr(clusters, "import_ray", lambda: Ray("3"))
    ray = StandIn()
    found = score_parts(ray.cluster(cpus=64, gpus=4), work_in(tmp_path, model), samples, size=4)
    # three blocks, so three of the four actors start
    assert (found.actors, found.made) == (3, 9) and devices == ["cuda"] * 3
    assert ray.occupied == [{"num_cpus": 1, "num_gpus": 1}] * 3
    assert Cluster(ray, 64, 4).actors(None) == (4, {"num_cpus": 1, "num_gpus": 1})


@pytest.mark.parametrize(("cards", "device"), [(["0"], "cuda"), ([], "cpu")])
def test_actors_of_both_kinds_load_to_what_they_were_given(
    tmp_path, monkeypatch, devices, cards, device
):
    """Ray does not hide the machine's cards from an actor without one."""
    _, model = make_set(tmp_path, 1)
    monkeypatch.setattr(clusters, "import_ray", lambda: Ray(*cards))
    work = work_in(tmp_path, model)
    work.folder.join({})
    Scorer(work).prepare()
    StreamScorer(StreamWork.of(model, "mask", len, 1)).prepare()
    assert devices == [device, device]


def test_a_card_that_torch_does_not_see_is_told(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(clusters, "import_ray", lambda: Ray("0"))
    assert device_of_this_actor() == "cpu" and "PyTorch sees none" in caplog.text


def grid_work(folder, device):
    data, shared = write_data(folder / "data"), dataclasses.replace(grid(), device=device)
    presets = tuple(read_presets("random", SelectionParams()))
    asked = Asked(("random",), (0,), all_labels=False)
    return work_of(folder / "run", shared, opened(data, shared), presets, asked, 1)


def test_a_grid_on_gpus_ends_where_a_process_has_none(tmp_path, devices):
    ray = StandIn()
    with pytest.raises(DataError, match="expected a GPU for each process"):
        run_grid(ray.cluster(cpus=4), grid_work(tmp_path, "cuda"), Watched(), actors=1)


def test_a_grid_on_cpus_occupies_no_gpu(tmp_path):
    def fate(_actor, method, _arguments):
        return DataError("far enough") if method == "make_row" else None

    ray = StandIn(fate)
    with pytest.raises(DataError, match="far enough"):
        run_grid(ray.cluster(4, gpus=2), grid_work(tmp_path, "cpu"), Watched(), actors=1)
    assert ray.occupied == [{"num_cpus": 1}]
    for actor in (one for word, one in ray.log if word == "start" and isinstance(one, RowMaker)):
        actor._stack.close()  # its thread


class Where:
    """An actor that tells where it would compute on a machine whose cards PyTorch sees."""

    def prepare(self):
        torch.cuda.is_available = lambda: True  # in this process alone
        return device_of_this_actor(), os.environ.get("CUDA_VISIBLE_DEVICES")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_real_actors_have_a_card_each(nodes, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    node = nodes.cluster.add_node(num_cpus=2, num_gpus=2, object_store_memory=80_000_000)
    try:
        with connected(nodes.address) as cluster:
            assert cluster.gpus == 2
            for device, cards in (("cuda", {"0", "1"}), ("cpu", {None})):
                found = set()
                with Actors(cluster, Where, (), 2, 2, device=device) as pool:
                    while len(found) < 2 and pool._at:
                        found |= {(id(each.actor), each.value) for each in pool.answers()}
                assert {value for _, value in found} == {(device, card) for card in cards}
    finally:
        nodes.cluster.remove_node(node)
