"""Checks the docker image without docker: parses its files and runs its command in a copy."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
import yaml
from dockerfile_parse import DockerfileParser

from backend.settings import Settings
from backend.settings_table import settings_table

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "docker/Dockerfile"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> DockerfileParser:
    copy = tmp_path_factory.mktemp("recipe") / "Dockerfile"
    shutil.copy(DOCKERFILE, copy)
    return DockerfileParser(str(copy))


def copied(recipe: DockerfileParser) -> list[str]:
    return [step["value"].split()[0] for step in recipe.structure if step["instruction"] == "COPY"]


def test_every_copied_path_exists_and_is_let_through_by_dockerignore(recipe) -> None:
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    assert set(copied(recipe)) == allowed
    assert all((ROOT / path).exists() for path in copied(recipe))


def test_the_image_installs_the_lock_whole_and_hashed(recipe) -> None:
    runs = [step["value"] for step in recipe.structure if step["instruction"] == "RUN"]
    assert any("--no-deps --require-hashes -r requirements.txt" in run for run in runs)
    assert recipe.baseimage.startswith("python:3.11")
    assert any("useradd" in run for run in runs)


def compose() -> dict:
    return yaml.safe_load((ROOT / "docker/docker-compose.yml").read_text())["services"]


def test_compose_gives_only_settings_that_exist() -> None:
    for name in compose()["taudis"]["environment"]:
        assert f"`{name}`" in settings_table(), name


def test_compose_wires_the_two_services_together() -> None:
    services = compose()
    taudis = services["taudis"]["environment"]
    assert taudis["LABEL_STUDIO_URL"] == "http://label-studio:8080"
    assert taudis["BACKEND_URL"] == f"http://taudis:{Settings.model_fields['port'].default}"
    studio = services["label-studio"]["environment"]
    assert studio["SSRF_PROTECTION_ENABLED"] == studio["ML_BLOCK_LOCAL_IP"] == "false"
    named = (ROOT / "docker/.env.example").read_text()
    for secret in ("LABEL_STUDIO_API_KEY", "LABEL_STUDIO_PASSWORD", "BASIC_AUTH_PASS"):
        assert f"{secret}=" in named


def _start(recipe, folder: Path, port: int, **extra: str) -> subprocess.Popen[str]:
    """The image's CMD with its ENV, in a folder that holds only what it copies."""
    app = folder / "app"
    for path in copied(recipe):
        target = app / path
        if (ROOT / path).is_dir():
            shutil.copytree(ROOT / path, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, target)
    (command,) = [step["value"] for step in recipe.structure if step["instruction"] == "CMD"]
    assert yaml.safe_load(command) == ["python", "_wsgi.py"]
    environment = {**os.environ, **recipe.envs, "MODEL_DIR": str(folder / "data"), **extra}
    environment["PORT"] = str(port)
    return subprocess.Popen(
        [sys.executable, "_wsgi.py"], cwd=app, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
def test_without_credentials_the_container_refuses_and_says_how(recipe, tmp_path) -> None:
    process = _start(recipe, tmp_path, free_port())
    said, _ = process.communicate(timeout=90)
    assert process.returncode != 0
    assert "BASIC_AUTH_USER" in said and "Traceback" not in said


@pytest.mark.slow
def test_with_credentials_it_serves_health_and_asks_for_them_elsewhere(recipe, tmp_path) -> None:
    port = free_port()
    process = _start(recipe, tmp_path, port, BASIC_AUTH_USER="u", BASIC_AUTH_PASS="p")
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(300):
            try:
                if requests.get(f"{url}/health", timeout=2).ok:
                    break
            except requests.RequestException:
                time.sleep(0.2)
        assert requests.get(f"{url}/health", timeout=10).json()["status"] == "UP"
        assert requests.get(f"{url}/", timeout=10).status_code == 401
        assert requests.get(f"{url}/", auth=("u", "p"), timeout=10).ok
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=30)
