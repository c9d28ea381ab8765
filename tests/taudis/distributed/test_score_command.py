"""The command `score --ray` and its folder of parts, on a stand-in for a cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import psutil
import pytest

from taudis.cli import score
from taudis.data.pool_reader import load_pool
from taudis.distributed import cluster
from taudis.distributed.blocks import PartsFolder
from taudis.distributed.score_parts import only_driver
from taudis.errors import DataError
from tests.taudis.cli.cli_cases import call, run
from tests.taudis.distributed.ray_cases import coco_of, make_set, same_arrays
from tests.taudis.distributed.stand_in import StandIn

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def command(tmp_path, monkeypatch):
    """The words of the command before the name of the pool."""
    samples, model = make_set(tmp_path, 5)
    monkeypatch.setattr(cluster, "connected", lambda _: nullcontext(StandIn().cluster()))
    return "score", model, coco_of(samples, tmp_path), tmp_path


def test_two_pools_of_one_stem_have_folders_of_their_own(command, tmp_path):
    manifest, joined = tmp_path / "pool.json", tmp_path / "pool.safetensors"
    call(*command, manifest, "--ray")
    call(*command, joined, "--ray")
    assert same_arrays(load_pool(manifest), load_pool(joined))
    assert [path.name for path in tmp_path.glob("*.parts")] == ["pool.json.parts"]


def test_the_parts_are_the_commands_until_they_are_joined(command, tmp_path, monkeypatch):
    join, tried = score._join, []

    def checked(out, folder, manifest):
        with pytest.raises(DataError, match="another driver"), only_driver(folder.path):
            pass
        tried.append(folder.path.name)
        join(out, folder, manifest)

    monkeypatch.setattr(score, "_join", checked)
    call(*command, tmp_path / "pool.safetensors", "--ray")
    assert tried == ["pool.safetensors.parts"]
    assert not [path.name for path in tmp_path.iterdir() if "parts" in path.name]


def test_a_pool_that_lacks_images_says_so_and_keeps_its_parts(command, tmp_path, monkeypatch):
    torn, out = tmp_path / "3.png", tmp_path / "pool.safetensors"
    whole, opened = torn.read_bytes(), cluster.connected

    def torn_meanwhile(address):
        torn.write_bytes(whole[:60])  # after the check by the driver
        return opened(address)

    monkeypatch.setattr(cluster, "connected", torn_meanwhile)
    done = run(*command, out, "--ray")
    assert done.exit_code == 0
    assert "pool.safetensors lacks 1 of 5 images" in done.stderr
    assert len(load_pool(out)) == 4 and (tmp_path / "pool.safetensors.parts").is_dir()
    torn.write_bytes(whole)
    monkeypatch.setattr(cluster, "connected", opened)
    assert call(*command, out, "--ray")["unreadable"] == 0
    assert len(load_pool(out)) == 5 and not (tmp_path / "pool.safetensors.parts").exists()


def test_who_begins_while_a_folder_is_removed_gets_a_new_one(tmp_path):
    folder = PartsFolder(tmp_path / "pool.parts")
    with only_driver(folder.path):
        folder.join({"block": 4})
        folder.retire()
        with only_driver(folder.path):
            folder.join({"block": 8})
    folder.remove_retired()
    assert [path.name for path in tmp_path.iterdir()] == ["pool.parts"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_cluster_of_the_command_ends_with_it(tmp_path):
    samples, model = make_set(tmp_path, 5)
    mark, out = {"TAUDIS_TEST": str(tmp_path)}, tmp_path / "pool.json"
    others = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    # In a home of its own: ray keeps a token there.
    env = others | mark | {"HOME": str(tmp_path), "RAY_worker_niceness": "0"}
    words = [model, coco_of(samples, tmp_path), tmp_path, out, "--actors", "1", "--ray"]
    command = [sys.executable, "-m", "taudis", "score", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    _, left = psutil.wait_procs([each for each in psutil.process_iter() if _has(each, mark)], 30)
    for process in left:
        process.kill()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["actors"] == 1 and len(load_pool(out)) == 5
    assert left == []


def _has(process, mark):
    """Whether a process has the variables `mark`, which children inherit."""
    try:
        return mark.items() <= process.environ().items()
    except psutil.Error:
        return False
