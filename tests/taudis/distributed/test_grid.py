"""A grid on a cluster: the rows of one process, and the claims that processes without ray have."""

from __future__ import annotations

import dataclasses

import pytest
from ray.exceptions import ActorDiedError

from taudis.distributed.grid import RowMaker, run_grid, work_of
from taudis.errors import ClusterError, DataError, TrainingError
from taudis.selection.params import SelectionParams
from taudis.simulation.grid import Asked
from taudis.simulation.presets import read_presets
from tests.taudis.distributed.stand_in import StandIn
from tests.taudis.simulation.simulation_cases import Watched, grid, opened, simulate, write_data

STRATEGIES = "random,wse"
VARYING = {"cpu_seconds"}


def without_seconds(row):
    return {key: value for key, value in row.items() if key not in VARYING}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_grid_on_two_actors_has_the_rows_of_one_process(cluster, tmp_path):
    data, shared = write_data(tmp_path / "data"), grid()
    plain, _ = simulate(data, tmp_path / "plain", STRATEGIES, (0,))
    presets = tuple(read_presets(STRATEGIES, SelectionParams()))
    asked = Asked(tuple(preset.name for preset in presets), (0,), True)
    work = work_of(tmp_path / "ray", shared, opened(data, shared), presets, asked, 1)
    seen = Watched()
    outcome = run_grid(cluster, work, seen, actors=2)
    assert outcome.made == len(outcome.rows) == len(plain.rows) and len(seen.jobs) == outcome.made
    for job, row in plain.rows.items():
        assert without_seconds(outcome.rows[job]) == without_seconds(row)
    assert not list((tmp_path / "ray" / "claims").iterdir())
    again = run_grid(cluster, work, Watched(), actors=2)
    assert again.made == 0 and again.rows == outcome.rows
    other = work_of(tmp_path / "ray", grid(budget=1), opened(data, shared), presets, asked, 1)
    with pytest.raises(DataError, match="budget"):
        run_grid(cluster, other, Watched(), actors=1)


@pytest.mark.parametrize(
    ("names", "said"),
    [(("seed_set/0", "a model"), "5 processes died at the row seed_set/0"), ((), "12 died")],
)
def test_a_row_whose_processes_die_is_named(tmp_path, names, said):
    def fate(actor, method, arguments):
        if method == "prepare":
            return None
        for name in names:
            actor.run.claims.take(name)
        return ActorDiedError()

    data, shared, ray = write_data(tmp_path / "data"), grid(), StandIn(fate)
    presets, asked = (
        tuple(read_presets("random", SelectionParams())),
        Asked(("random",), (0,), False),
    )
    work = work_of(tmp_path / "run", shared, opened(data, shared), presets, asked, 1)
    with pytest.raises(ClusterError, match=said):
        run_grid(ray.cluster(), work, Watched(), actors=1)
    for actor in (one for word, one in ray.log if word == "start" and hasattr(one, "run")):
        actor._stack.close()  # its thread


def test_the_last_row_counts_where_it_is_read_before_its_answer(tmp_path):
    """The stand-in makes a row within the call, and its answer is looked at later."""
    data, shared = write_data(tmp_path / "data"), grid(rounds=1)
    presets = tuple(read_presets("random", SelectionParams()))
    asked = Asked(("random",), (0,), all_labels=False)
    work = work_of(tmp_path / "run", shared, opened(data, shared), presets, asked, 1)
    ray, seen = StandIn(), Watched()
    outcome = run_grid(ray.cluster(), work, seen, actors=1)
    assert outcome.made == len(outcome.rows) == len(seen.jobs) == 2
    for actor in (one for word, one in ray.log if word == "start"):
        actor._stack.close()  # its thread


def test_a_node_that_lacks_disk_or_the_folder_is_named(tmp_path):
    def fate(actor, method, arguments):
        def fail(*_):
            raise OSError(28, "No space left on device")

        if method == "make_row":
            actor.run.advance = fail

    data, shared, ray = write_data(tmp_path / "data"), grid(rounds=1), StandIn(fate)
    presets = tuple(read_presets("random", SelectionParams()))
    asked = Asked(("random",), (0,), all_labels=False)
    work = work_of(tmp_path / "run", shared, opened(data, shared), presets, asked, 1)
    with pytest.raises(
        ClusterError, match=r"node .*No space left on device.*run the command again"
    ):
        run_grid(ray.cluster(), work, Watched(), actors=1)
    for actor in (one for word, one in ray.log if word == "start"):
        actor._stack.close()  # its thread
    elsewhere = RowMaker(dataclasses.replace(work, out=tmp_path / "not" / "shared"))
    with pytest.raises(DataError, match=r"node .*expected the run in .*All nodes must see"):
        elsewhere.prepare()
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize("bad", [1, 2])
def test_a_process_that_fails_at_every_row_ends_the_run_only_if_it_is_the_last(tmp_path, bad):
    """One node may lack memory or files. It fails at all rows before the other has made one."""
    failing = []

    def fate(actor, method, arguments):
        if method == "prepare":
            failing.extend([actor] if len(failing) < bad else [])
        elif actor in failing:
            actor.run.failures.update(
                (job, TrainingError("no memory here")) for job in actor.run.jobs
            )

    data, shared, ray = write_data(tmp_path / "data"), grid(rounds=1), StandIn(fate)
    presets = tuple(read_presets("random", SelectionParams()))
    asked = Asked(("random",), (0, 1), all_labels=False)
    work = work_of(tmp_path / "run", shared, opened(data, shared), presets, asked, 1)
    if bad == 1:
        outcome = run_grid(ray.cluster(cpus=2), work, Watched(), actors=2)
        assert outcome.made == len(outcome.rows) == 4
    else:
        with pytest.raises(TrainingError, match="no memory here") as error:
            run_grid(ray.cluster(cpus=2), work, Watched(), actors=2)
        assert "could not be made: seed_set/0, seed_set/1" in " ".join(error.value.__notes__)
    assert len([one for word, one in ray.log if word == "kill"]) >= bad
    for actor in (one for word, one in ray.log if word == "start"):
        actor._stack.close()  # its thread
