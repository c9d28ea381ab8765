"""What README and the pages for people who run it say is true: settings, commands, files."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from backend.settings_table import settings_table

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
SETTINGS = (ROOT / "docs" / "settings.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


def test_settings_table_is_the_one_that_the_code_prints() -> None:
    block = SETTINGS.split("<!-- settings:", 1)[1].split("-->", 1)[1].split("<!-- /settings", 1)[0]
    assert block.strip() == settings_table(), (
        "run `.venv/bin/python -m backend settings` and paste it between the settings comments"
    )


@pytest.mark.slow
def test_every_command_of_the_table_exists_and_every_command_is_in_the_table() -> None:
    documented = set(re.findall(r"`python -m backend (\w+)`", OPERATIONS))
    found = subprocess.run(
        [sys.executable, "-m", "backend", "--help"], cwd=ROOT, capture_output=True, text=True,
        check=True, timeout=120,
    ).stdout  # fmt: skip
    listed = set(re.findall(r"^│ (\w+)", found, re.M)) - {"Options", "Commands"}
    assert documented == listed


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake (\w+)", README))))
def test_every_make_target_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)


def test_decisions_are_numbered_without_gap() -> None:
    names = sorted(path.name for path in (ROOT / "docs/decisions").glob("[0-9]*.md"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))


def test_locks_hold_no_address_and_every_line_is_pinned_and_hashed() -> None:
    for name in ("", "-dev", "-studio", "-exporters"):
        text = (ROOT / f"requirements{name}.txt").read_text()
        assert "://" not in text
        blocks = re.findall(r"^([a-z0-9][^\s]*==[^\s]+)(.*?)(?=^[a-z0-9]|\Z)", text, re.M | re.S)
        assert len(blocks) > 50
        assert all("--hash=sha256:" in rest for _, rest in blocks)


def test_dev_lock_agrees_with_the_runtime_lock() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^([a-z0-9][^\s;]*==[^\s;]+)", (ROOT / name).read_text(), re.M))

    assert pins("requirements.txt") <= pins("requirements-dev.txt")


def test_studio_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    pinned = project["dependency-groups"]["studio"][0].split("==")[1]
    compose = yaml.safe_load((ROOT / "docker/docker-compose.yml").read_text())
    assert compose["services"]["label-studio"]["image"].endswith(":" + pinned)
    assert f"label-studio=={pinned}" in (ROOT / "requirements-studio.txt").read_text()


def test_compose_names_every_setting() -> None:
    """A setting of docker/.env that the compose file does not name would do nothing, in silence."""
    names = set(re.findall(r"^\| `(\w+)`", settings_table(), re.M))
    compose = yaml.safe_load((ROOT / "docker/docker-compose.yml").read_text())
    of_the_image = {"HOST", "PORT", "MODEL_DIR"}
    for service in ("web", "worker", "worker-gpu"):
        given = set(compose["services"][service]["environment"])
        assert given == names - of_the_image, "name the setting in docker/docker-compose.yml"
