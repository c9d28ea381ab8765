"""The wheel, built and installed in an environment that has what it asks for and nothing else.

The environment is a venv whose packages are links to those of .venv: the packages that the wheel
names, and what these name in turn. So nothing is downloaded (PyTorch alone is 5 GB), and a package
that the wheel forgets to name cannot be imported. No test's folder or path is the repository's.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import pytest
import requests
from packaging.requirements import Requirement

from demo.pictures import generate
from demo.studio import free_port
from tests.studio.processes import wait_for

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
UV = ROOT / ".venv-tools/bin/uv"
OVERRIDDEN = {"attr", "opencv-python"}
"""Left out of our environments (pyproject.toml): they would overwrite other packages' modules."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built by the command of `make wheel` from a copy of what git has."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in ("taudis", "backend"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [UV, "build", "--quiet", "--wheel", "--no-build-isolation", "--offline"]
    command += ["--python", sys.executable, "--out-dir", out, source]
    subprocess.run(command, check=True, timeout=300)
    (found,) = out.glob("*.whl")
    return found


def closure(requirements):
    """The distributions that the requirements name, and what these name, as installed here."""
    found, todo = {}, [Requirement(each) for each in requirements]
    while todo:
        wanted = todo.pop()
        name = wanted.name.lower().replace("_", "-")
        if name in OVERRIDDEN or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        known = metadata.distribution(name)
        assert name in found or wanted.specifier.contains(known.version, prereleases=True), wanted
        if name not in found:
            found[name] = known
            todo += [Requirement(each) for each in known.requires or ()]
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder of an environment's commands, with the wheel installed."""
    folder = tmp_path_factory.mktemp("clean") / "env"
    venv.create(folder, symlinks=True, with_pip=False)
    install = [UV, "pip", "install", "--quiet", "--no-deps", "--offline"]
    subprocess.run([*install, "--python", folder / "bin/python", wheel], check=True, timeout=300)
    (packages,) = folder.glob("lib/python*/site-packages")
    (info,) = packages.glob("taudis_label_studio-*.dist-info")
    for each in closure(metadata.Distribution.at(info).requires).values():
        for name in {file.parts[0] for file in each.files or ()} - {"..", "__pycache__"}:
            target = Path(str(each.locate_file(name)))
            if target.exists() and not (packages / name).exists():
                (packages / name).symlink_to(target)
    return folder / "bin"


@pytest.fixture
def run(installed, tmp_path):
    """A function that runs an installed command in an empty folder; its standard output."""

    def run_(name, *arguments, status=0, **variables):
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "COLUMNS": "200"}
        environment |= {"OMP_NUM_THREADS": "1", "MODEL_DIR": str(tmp_path / "data"), **variables}
        done = subprocess.run(
            [installed / name, *map(str, arguments)], cwd=tmp_path, env=environment,
            capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    return run_


def test_it_is_not_the_repository_that_is_imported(run, installed):
    code = "import taudis, backend, importlib.util as u; print(taudis.__file__, backend.__file__,"
    code += " *[u.find_spec(name) for name in ('label_studio_ml', 'pytest', 'demo')])"
    *files, one, two, three = run("python", "-c", code).split()
    assert all(str(installed.parent) in file for file in files)
    assert (one, two, three) == ("None", "None", "None")


def test_it_goes_from_a_coco_file_to_a_comparison_of_strategies(run, tmp_path):
    coco = generate(tmp_path / "mydata", 16, seed=1, size=64)
    images = tmp_path / "mydata/images"
    assert "16" in run("taudis", "check", coco, images)
    options = ("--data", coco, "--images", images, "--out", "runs", "--strategies", "random,taudis")
    sizes = ("--seeds", 0, "--rounds", 1, "--budget", 3, "--seed-images", 4, "--steps", 2)
    last = run("taudis", "simulate", *options, *sizes, "--all-labels").splitlines()[-1]
    assert json.loads(last)["rows_done"] == 4


def test_the_backends_commands_answer(run):
    assert "doctor" in run("taudis-backend", "--help")
    assert "MODEL_DIR" in run("taudis-backend", "settings")
    said = run("taudis-backend", "doctor")
    assert "ok   initial weights: imagenet" in said and "FAIL" not in said
    said = run("taudis-backend", "doctor", status=1, HOST="0.0.0.0")
    assert "FAIL listen address" in said


def test_it_serves_its_page_with_a_worker(installed, tmp_path):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    variables = {"HOME": str(tmp_path), "MODEL_DIR": str(tmp_path / "data"), "PORT": str(port)}
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", **variables}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [installed / "taudis-backend", "serve"], cwd=tmp_path, env=environment,
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip

    def ready():
        assert process.poll() is None, (tmp_path / "log").read_text()
        try:
            return requests.get(f"{url}/ready", timeout=5).ok
        except requests.RequestException:
            return False

    try:
        wait_for(ready, "the worker")
        page = requests.get(url, timeout=30)
        assert page.ok and "TAUDIS" in page.text
        assert requests.get(f"{url}/assets/page.css", timeout=30).ok
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)
