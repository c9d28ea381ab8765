"""Scoring by ray: one pool for any number of actors, whatever dies. Nodes are real raylets."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from taudis.data.pool_manifest import write_manifest
from taudis.data.pool_reader import load_pool
from taudis.detector.checkpoint import load_checkpoint
from taudis.distributed.blocks import DIED
from taudis.distributed.score_parts import only_driver, score_parts
from taudis.errors import DataError
from taudis.scoring import score_to_file
from tests.taudis.cli.cli_cases import call
from tests.taudis.distributed.ray_cases import (
    DeadlyPath,
    WaitingPath,
    coco_of,
    make_set,
    same_arrays,
    waiting_flag,
    with_path,
    work_in,
)
from tests.taudis.distributed.stand_in import StandIn

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
IMAGES = 14
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Samples, checkpoint, and the pool of the plain command."""
    folder = tmp_path_factory.mktemp("set")
    samples, model = make_set(folder, IMAGES)
    path = folder / "plain.safetensors"
    pairs = ((number, samples.image(row)) for row, number in enumerate(samples.image_ids))
    score_to_file(path, load_checkpoint(model)[0].fast(), pairs, about="tiny")
    return samples, model, load_pool(path)


def pool_of(scored, folder):
    """The pool of the parts, read in place."""
    write_manifest(folder / "pool.json", scored.manifest)
    return load_pool(folder / "pool.json")


@pytest.mark.parametrize("actors", [1, 2, 4])
def test_any_number_of_actors_makes_the_pool_of_the_plain_command(cluster, scene, tmp_path, actors):
    samples, model, plain = scene
    seen = []
    scored = score_parts(
        cluster, work_in(tmp_path, model), samples, actors=actors, size=4, on_progress=seen.append
    )
    assert same_arrays(pool_of(scored, tmp_path), plain)
    assert (scored.actors, scored.made, scored.redone) == (actors, IMAGES, 0)
    assert [each.done for each in seen][-1] == IMAGES and seen[-1].rate > 0
    assert len(scored.manifest.parts) == 4 and scored.manifest.images == IMAGES
    again = score_parts(cluster, work_in(tmp_path, model), samples, actors=actors, size=4)
    assert (again.made, again.manifest) == (0, scored.manifest)


def test_changed_pictures_are_scored_again(scene, tmp_path):
    """Their parts were taken for those of the new pictures."""
    samples, model, _ = scene
    ray, folder = StandIn(), tmp_path / "images"
    folder.mkdir()
    paths = tuple(folder / path.name for path in samples.paths)
    for old, new in zip(samples.paths, paths, strict=True):
        new.write_bytes(old.read_bytes())
    moved = dataclasses.replace(samples, paths=paths)
    assert score_parts(ray.cluster(), work_in(tmp_path, model), moved, size=4).made == IMAGES
    paths[5].write_bytes(samples.paths[0].read_bytes())
    again = score_parts(ray.cluster(), work_in(tmp_path, model), moved, size=4)
    embeddings = pool_of(again, tmp_path).image_embeddings
    assert again.made == 4 and np.array_equal(embeddings[5], embeddings[0])


def test_a_poisoned_image_costs_itself_and_is_counted(cluster, scene, tmp_path):
    samples, model, plain = scene
    torn = tmp_path / "torn.png"
    torn.write_bytes(samples.paths[9].read_bytes()[:60])
    paths = [torn if row == 9 else path for row, path in enumerate(samples.paths)]
    bad = with_path(dataclasses.replace(samples, paths=tuple(paths)), 2, DeadlyPath)
    scored = score_parts(cluster, work_in(tmp_path, model), bad, actors=2, size=4)
    left = scored.manifest.unreadable
    assert list(left) == [samples.image_ids[2], samples.image_ids[9]]
    assert left[samples.image_ids[2]] == DIED and "torn.png" in left[samples.image_ids[9]]
    assert scored.manifest.images == IMAGES - 2 and scored.redone == 4
    rows = [row for row in range(IMAGES) if row not in (2, 9)]
    found = pool_of(scored, tmp_path)
    assert found.image_ids.tolist() == [samples.image_ids[row] for row in rows]
    assert set(found.image_ids.tolist()) < set(plain.image_ids.tolist())


def test_the_command_writes_the_file_of_the_plain_command(nodes, tmp_path):
    samples, model = make_set(tmp_path, 6)
    coco = coco_of(samples, tmp_path)
    plain, joined = tmp_path / "plain.safetensors", tmp_path / "pool.safetensors"
    call("score", model, coco, tmp_path, plain)
    found = call("score", model, coco, tmp_path, joined, "--actors", 1, "--ray", nodes.address)
    assert (
        joined.read_bytes() == plain.read_bytes()
        and not (tmp_path / "pool.safetensors.parts").exists()
    )
    assert (found["images"], found["actors"], found["unreadable"]) == (6, 1, 0)
    parts = call(
        "score", model, coco, tmp_path, tmp_path / "m.json", "--ray", nodes.address, "--actors", 1
    )
    assert parts["parts"] == 1
    assert same_arrays(load_pool(tmp_path / "m.json"), load_pool(plain))
    wanted = call("select", plain, 2, "--mean-instances", 4)
    assert call("select", tmp_path / "m.json", 2, "--mean-instances", 4) == wanted


def test_a_killed_driver_goes_on_from_its_parts(nodes, cluster, scene, tmp_path):
    _, _, plain = scene
    driver = subprocess.Popen(
        [sys.executable, "-m", "tests.taudis.distributed.killed_driver", nodes.address,
         str(tmp_path), str(IMAGES)], cwd=ROOT,
    )  # fmt: skip
    try:
        flag = waiting_flag(tmp_path / f"{IMAGES - 1}.png")
        wait_for(flag.exists, driver)
        driver.send_signal(signal.SIGKILL)
    finally:
        driver.kill()
        driver.wait()
    samples, model = make_set(tmp_path, IMAGES)
    scored = score_parts(cluster, work_in(tmp_path, model), samples, actors=1, size=4)
    assert scored.made == 2  # the last block
    assert same_arrays(pool_of(scored, tmp_path), plain)


def test_two_drivers_of_one_folder_are_refused(scene, tmp_path):
    samples, model, _ = scene
    work = work_in(tmp_path, model)
    with only_driver(work.parts), pytest.raises(DataError, match="another driver"):
        score_parts(None, work, samples, actors=1, size=16)


def test_a_node_that_is_killed_in_mid_run_changes_nothing(nodes, cluster, scene, tmp_path):
    samples, model, plain = scene
    slow = with_path(samples, 5, WaitingPath)
    flag, failed = waiting_flag(samples.paths[5]), []

    def kill():
        try:
            wait_for(lambda: flag.exists() and flag.read_text() != "")
            nodes.kill(flag.read_text())
        except BaseException as error:  # noqa: BLE001 - the test raises it
            failed.append(error)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    try:
        scored = score_parts(cluster, work_in(tmp_path, model), slow, actors=2, size=4)
        killer.join(60)
        assert failed == [] and not killer.is_alive()
        assert scored.redone >= 1 and len(nodes.nodes) == 1 and not scored.manifest.unreadable
        assert same_arrays(pool_of(scored, tmp_path), plain)
    finally:
        nodes.fill()


def wait_for(done, process=None):
    """Wait until `done` says so; the process must live meanwhile."""
    end = time.monotonic() + 300
    while not done():
        assert time.monotonic() < end
        assert process is None or process.poll() is None
        time.sleep(0.05)  # between two looks, up to the deadline
