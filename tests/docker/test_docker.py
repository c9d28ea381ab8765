"""Checks the image and the compose file without docker: reads them, and runs what they name.

There is no docker engine here. So the compose file is checked against the schema of the compose
specification (check-jsonschema ships it), and each service's command runs as written in a folder
with what the image copies. What a build downloads, and a read-only root, are not run.
"""

import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
import requests
import yaml
from dockerfile_parse import DockerfileParser
from jsonschema.validators import validator_for

from backend.settings import Settings, load_settings
from backend.settings_table import settings_table
from demo.studio import free_port
from tests.studio.processes import wait_for

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "docker/Dockerfile"
COMPOSE = ROOT / "docker/docker-compose.yml"
SECRETS = {
    "LABEL_STUDIO_API_KEY": "a" * 40,
    "LABEL_STUDIO_PASSWORD": "secret",
    "BASIC_AUTH_PASS": "p",
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> DockerfileParser:
    copy = tmp_path_factory.mktemp("recipe") / "Dockerfile"
    shutil.copy(DOCKERFILE, copy)
    return DockerfileParser(str(copy))


def copied(recipe: DockerfileParser) -> list[str]:
    """Every path of the repository that the image copies."""
    steps = [step["value"].split() for step in recipe.structure if step["instruction"] == "COPY"]
    return [path for words in steps if "--from" not in words[0] for path in words[:-1]]


def test_every_copied_path_exists_and_is_let_through_by_dockerignore(recipe) -> None:
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    assert set(copied(recipe)) == allowed
    assert all((ROOT / path).exists() for path in copied(recipe))


def test_the_image_installs_the_lock_hashed_and_runs_as_a_user(recipe) -> None:
    runs = [step["value"] for step in recipe.structure if step["instruction"] == "RUN"]
    (install,) = [run for run in runs if "requirements.txt" in run]
    assert "--no-deps --require-hashes -r requirements.txt" in install
    assert "--no-deps --require-hashes -r rest.txt" in install
    assert "--no-deps --torch-backend cpu -r torch.txt" in install
    arguments = [step["value"] for step in recipe.structure if step["instruction"] == "ARG"]
    assert "TORCH=cpu" in arguments
    makefile = (ROOT / "Makefile").read_text()
    assert f"UV_VERSION := {dict(a.split('=') for a in arguments)['UV_VERSION']}" in makefile
    assert recipe.baseimage.startswith("python:3.11")
    users = [step["value"] for step in recipe.structure if step["instruction"] == "USER"]
    assert users == ["taudis"] and any("useradd --uid 1000 taudis" in run for run in runs)


def test_the_cpu_image_has_the_whole_lock_but_for_cuda() -> None:
    module = runpy.run_path(str(ROOT / "docker/split_lock.py"))
    lock = (ROOT / "requirements.txt").read_text()
    whole = module["blocks"](lock)
    rest, torch = module["split"](lock)
    kept = module["blocks"](rest)
    assert all(whole[name] == part and "--hash=sha256:" in part for name, part in kept.items())
    gone = whole.keys() - kept.keys()
    assert {name for name in gone if not name.startswith("nvidia-")} - {
        "cuda-bindings", "cuda-pathfinder", "cuda-toolkit"
    } == {"torch", "torchvision", "triton"}  # fmt: skip
    # All that the CPU build of PyTorch names stays.
    assert {"filelock", "sympy", "networkx", "jinja2", "fsspec", "numpy", "pillow"} <= kept.keys()
    for line in torch.splitlines():
        assert re.search(rf"^{re.escape(line)} \\$", lock, re.M)
    assert [line.split("==")[0] for line in torch.splitlines()] == ["torch", "torchvision"]


# --- the compose file -----------------------------------------------------------------------------


def compose() -> dict:
    return yaml.safe_load(COMPOSE.read_text())


def services() -> dict:
    return compose()["services"]


def filled_in(service: dict, given: dict[str, str]) -> dict[str, str]:
    """A service's environment as compose makes it from docker/.env with the variables `given`.

    It fills in `${NAME:-default}` and `${NAME:?message}`. A name without a value has that of
    docker/.env, and is no variable of the container where that file has none.
    """

    def of(name: str, text: str | None) -> str | None:
        if text is None:
            return given.get(name)
        return re.sub(
            r"\$\{(\w+)(?::-([^}]*)|:\?[^}]*)\}",
            lambda found: given.get(found[1]) or found[2],
            text,
        )

    found = {name: of(name, text) for name, text in service["environment"].items()}
    return {name: text for name, text in found.items() if text is not None}


def schema() -> dict:
    """The schema of the compose specification."""
    folder = resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    return json.loads((folder / "compose-spec.json").read_text(encoding="utf-8"))


def errors_of(document: dict) -> list[str]:
    found = validator_for(schema())(schema()).iter_errors(document)
    return [f"{error.json_path}: {error.message}" for error in found]


def test_compose_is_valid_by_the_schema_of_its_specification() -> None:
    assert errors_of(compose()) == []
    wrong = compose()
    wrong["services"]["web"]["healthchek"] = {}
    assert errors_of(wrong) != []


def test_compose_names_only_volumes_and_services_that_exist() -> None:
    document = compose()
    for service in document["services"].values():
        for volume in service["volumes"]:
            assert volume.split(":")[0] in document["volumes"]
        assert set(service.get("depends_on", {})) <= set(document["services"])


def test_compose_gives_only_settings_that_exist() -> None:
    for service in ("web", "worker", "worker-gpu"):
        for name in services()[service]["environment"]:
            assert f"`{name}`" in settings_table(), name


def test_compose_passes_on_every_setting_of_the_env_file(monkeypatch) -> None:
    service = services()["worker"]
    named = (ROOT / "docker/.env.example").read_text()
    example = dict(re.findall(r"^(?:# )?([A-Z_]+)=(.*)$", named, re.M))
    assert {"TRAIN_AFTER", "STRATEGY", "CONTROL_SHARE", "BASIC_AUTH_USER"} <= example.keys()
    environment = filled_in(service, {**example, **SECRETS})
    monkeypatch.setattr(os, "environ", environment)
    found = load_settings()
    assert str(found.train_after) == example["TRAIN_AFTER"] != ""
    assert found.strategy == example["STRATEGY"] != Settings.model_fields["strategy"].default
    assert str(found.control_share) == example["CONTROL_SHARE"]
    assert found.basic_auth_user == example["BASIC_AUTH_USER"]
    assert "LABEL_STUDIO_PASSWORD" not in environment
    monkeypatch.setattr(os, "environ", filled_in(service, SECRETS))
    assert load_settings().budget == Settings.model_fields["budget"].default


def test_compose_wires_the_services_together() -> None:
    found = services()
    environment = found["web"]["environment"]
    assert environment == found["worker"]["environment"] == found["worker-gpu"]["environment"]
    assert environment["LABEL_STUDIO_URL"] == "http://label-studio:8080"
    assert environment["BACKEND_URL"] == f"http://web:{Settings.model_fields['port'].default}"
    studio = found["label-studio"]["environment"]
    assert studio["SSRF_PROTECTION_ENABLED"] == studio["ML_BLOCK_LOCAL_IP"] == "false"
    assert studio["LOCAL_FILES_SERVING_ENABLED"] == "false"
    assert studio["LABEL_STUDIO_HOST"] == environment["LABEL_STUDIO_PUBLIC_URL"]
    named = (ROOT / "docker/.env.example").read_text()
    for secret in SECRETS:
        assert f"{secret}=\n" in named
    profile = re.search(r"^COMPOSE_PROFILES=(\w+)$", named, re.M)[1]
    assert found["worker"]["profiles"] == [profile] == ["cpu"]
    assert found["worker-gpu"]["profiles"] == ["gpu"]
    assert all("healthcheck" in service for service in found.values())


def test_our_services_have_no_rights_and_a_root_that_cannot_be_written() -> None:
    for name in ("web", "worker", "worker-gpu"):
        service = services()[name]
        assert service["user"] == "1000" and service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["volumes"] == ["taudis:/data"] and service["tmpfs"] == ["/tmp"]


# --- what the services run ------------------------------------------------------------------------


class Container:
    """A folder with what the image copies, its environment, and a data directory."""

    def __init__(self, recipe: DockerfileParser, folder: Path) -> None:
        self.app, self.home = folder / "app", folder / "home"
        self.home.mkdir(parents=True)
        for path in copied(recipe):
            target = self.app / path
            if (ROOT / path).is_dir():
                shutil.copytree(ROOT / path, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / path, target)
        self.environment = {
            **recipe.envs,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "MPLCONFIGDIR": str(folder / "tmp"),
            "MODEL_DIR": str(folder / "data"),
            "PORT": str(free_port()),
        }
        self.url = f"http://127.0.0.1:{self.environment['PORT']}"
        self.log = folder / "log"

    def files(self) -> set[Path]:
        return {path for root in (self.app, self.home) for path in root.rglob("*")}

    def environment_of(self, service: dict) -> dict[str, str]:
        return {**self.environment, **filled_in(service, SECRETS)}

    def start(self, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command, cwd=self.app, env=environment, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def healthy(self, service: dict) -> bool:
        """Whether the service's health check, as written, says so."""
        kind, *command = service["healthcheck"]["test"]
        assert kind == "CMD"
        done = subprocess.run(
            command, cwd=self.app, env=self.environment_of(service), capture_output=True,
            timeout=120,
        )  # fmt: skip
        return done.returncode == 0


@pytest.fixture
def container(recipe, tmp_path) -> Container:
    return Container(recipe, tmp_path)


@pytest.mark.slow
def test_without_credentials_the_image_refuses_and_says_how(recipe, container) -> None:
    (command,) = [step["value"] for step in recipe.structure if step["instruction"] == "CMD"]
    process = container.start(json.loads(command), container.environment)
    assert process.wait(120) != 0
    said = container.log.read_text()
    assert "BASIC_AUTH_USER" in said and "Traceback" not in said


@pytest.mark.slow
def test_each_service_runs_as_written_and_its_health_check_knows(container) -> None:
    web, worker = services()["web"], services()["worker"]
    before = container.files()
    assert not container.healthy(web) and not container.healthy(worker)
    running = []
    try:
        for service in (web, worker):
            environment = container.environment_of(service)
            running.append(container.start(service["command"], environment))
            wait_for(lambda each=service: container.healthy(each), service["command"][-1])
        assert requests.get(f"{container.url}/", timeout=10).status_code == 401
        page = requests.get(container.url, auth=("label-studio", "p"), timeout=30)
        assert page.ok and "No worker runs" not in page.text
        assert all(process.poll() is None for process in running), container.log.read_text()
    finally:
        for process in running:
            os.killpg(process.pid, signal.SIGTERM)
        codes = [process.wait(60) for process in running]
    assert codes == [0, 0]
    assert not container.healthy(web) and not container.healthy(worker)
    assert container.files() == before  # nothing is written beside /data and /tmp
