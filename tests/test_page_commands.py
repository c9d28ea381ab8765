"""Every command in a bash block of README and the tutorial: parsed, and run where that is cheap.

RUN_BY says which test runs a line. NOT_RUN says why a line is not run. Each line is in one of them.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.main import get_group

from backend.__main__ import app as backend_app
from backend.settings_table import setting_names
from demo.options import NUMBERS, options_from
from taudis.__main__ import app as taudis_app
from tests.taudis.cli.cli_cases import call
from tests.taudis.simulation.simulation_cases import write_data

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs/tutorial.md")
APPS = {"taudis": taudis_app, "backend": backend_app}
STUDIO = {
    "SSRF_PROTECTION_ENABLED",
    "ML_BLOCK_LOCAL_IP",
    "USE_DEFAULT_BANNED_SUBNETS",
    "USER_ADDITIONAL_BANNED_SUBNETS",
    "COLLECT_ANALYTICS",
    "LATEST_VERSION_CHECK",
    "SENTRY_DSN",
    "FRONTEND_SENTRY_DSN",
    "LOCAL_FILES_SERVING_ENABLED",
}
"""Variables of Label Studio; tests/studio/test_doctor.py and test_tutorial.py run them."""
DEMO = {"DEMO", "DEMO_DATA", "DEMO_IMAGES", "DEMO_LABELS", "DEMO_CONTROL", "DEMO_BLANK", *NUMBERS}

RUN_BY = {
    r"\.venv/bin/python -m taudis (check|pool|train|score|why) .*mydata/": "the last test here",
    r"\.venv/bin/python -m taudis select runs/": "the last test here",
    r"\.venv/bin/python -m taudis (simulate|compare) ": "tests/taudis/cli/test_examples.py",
    r".*\.venv-studio/bin/label-studio start": "tests/studio/test_tutorial.py",
    (
        r"export (LABEL_STUDIO_URL|SSRF_PROTECTION_ENABLED|COLLECT_ANALYTICS"
        r"|LOCAL_FILES_SERVING_ENABLED)="
    ): "tests/studio/test_tutorial.py",
    r"\.venv/bin/python -m backend (serve|create|rounds|versions)": "tests/studio/test_tutorial.py",
    r"\.venv/bin/python -m backend export .*--coco": "tests/studio/test_tutorial.py",
    r"\.venv/bin/python -m backend doctor": "tests/studio/test_tutorial.py",
    r"make test": "CI, which runs this test by it",
}
"""Beginning of a line -> what runs it."""
NOT_RUN = {
    r"make demo": "takes minutes; tests/demo and tests/browser run its parts",
    r"make install( studio)?": "builds environments that `make test` builds before this test",
    r"cp docker/": "without docker there is nothing to copy it for",
    r"docker compose ": "no docker in CI; tests/docker reads the file and runs the image's command",
    r"\.venv/bin/python -m backend export .*taudis-": "names a model that is not there",
}
"""Beginning of a line -> why it is not run."""


def lines_of(page: Path) -> list[str]:
    """The lines of a page's bash blocks, continued ones joined, without comments."""
    blocks = re.findall(r"^ *```bash\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.M | re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    bare = (" ".join(re.sub(r"(^|\s)#.*", "", line).split()) for line in lines)
    return [line for line in bare if line]


LINES = [pytest.param(line, id=line[:60]) for page in PAGES for line in lines_of(page)]


def split(line: str) -> tuple[dict[str, str], list[str]]:
    """The variables before a command, and its words."""
    # `<your access token>` is for a person to fill in.
    words = shlex.split(re.sub(r"<[^>]*>", "something", line))
    if words[0] == "export":
        words = words[1:]
    variables = {}
    while words and re.match(r"[A-Z_]+=", words[0]):
        name, _, value = words.pop(0).partition("=")
        variables[name] = value
    return variables, words


@pytest.mark.parametrize("line", LINES)
def test_every_line_is_run_by_a_test_or_has_a_reason_not_to_be(line: str) -> None:
    runs = [why for beginning, why in RUN_BY.items() if re.match(beginning, line)]
    reasons = [why for beginning, why in NOT_RUN.items() if re.match(beginning, line)]
    assert len(runs + reasons) == 1, (runs, reasons)
    for test in runs:
        assert not test.startswith("tests/") or (ROOT / test).is_file()


def test_no_entry_is_for_a_line_that_is_gone() -> None:
    lines = [line for page in PAGES for line in lines_of(page)]
    unused = [each for each in RUN_BY | NOT_RUN if not any(re.match(each, one) for one in lines)]
    assert not unused


@pytest.mark.parametrize("line", LINES)
def test_every_line_can_be_parsed(line: str) -> None:
    """Its program, its arguments and its variables exist, and have values of the right kind."""
    variables, words = split(line)
    assert not set(variables) - (setting_names() | STUDIO | DEMO)
    match words:
        case []:
            assert variables, "a line without a command exports something"
        case ["make", *targets]:
            makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
            assert all(re.search(rf"^{target}:", makefile, re.M) for target in targets)
            options_from({name: value for name, value in variables.items() if name in DEMO})
        case [".venv/bin/python", "-m", package, command, *arguments]:
            get_group(APPS[package]).commands[command].make_context(command, arguments)
        case [".venv-studio/bin/label-studio", "start", *options]:
            assert options, "tests/studio/test_tutorial.py runs these"
        case ["cp", source, _]:
            assert (ROOT / source).is_file()
        case ["docker", "compose", "-f", file, "up", "--build"]:
            assert "services" in yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))
        case _:
            pytest.fail(f"how is {words[0]} to be checked?")


def test_the_simulation_of_the_tutorial_is_the_one_that_is_run() -> None:
    """tests/taudis/cli/test_examples.py runs these two lines of docs/experiments.md.

    The tutorial's file also lists unlabelled images, so its command reads the labelled ones.
    """
    first = [
        line.replace("mydata/labelled.json", "mydata/instances.json")
        for line in lines_of(PAGES[1])
        if re.search(r" (simulate|compare) ", line)
    ]
    assert first == lines_of(ROOT / "docs/experiments.md")[: len(first)] and len(first) == 2


@pytest.mark.slow
def test_the_researchers_way_of_the_tutorial_runs(tmp_path: Path, monkeypatch) -> None:
    """As written, but for 2 steps of training instead of 240."""
    write_data(tmp_path / "mydata" / "images", images=24)
    (tmp_path / "mydata/images/instances.json").rename(tmp_path / "mydata/instances.json")
    monkeypatch.chdir(tmp_path)
    coco = json.loads((tmp_path / "mydata/instances.json").read_text())
    left = {each["id"] for each in coco["images"][:10]}
    coco["annotations"] = [each for each in coco["annotations"] if each["image_id"] not in left]
    (tmp_path / "mydata/instances.json").write_text(json.dumps(coco))
    commands = [
        split(line)[1][3:]
        for line in lines_of(PAGES[1])
        if re.search(r"-m taudis (check|pool|train|score|select|why) ", line)
    ]
    assert [words[0] for words in commands] == ["check", "pool", "train", "score", "select", "why"]
    done = {
        words[0]: call(*("2" if word == "240" else word for word in words)) for words in commands
    }
    assert done["check"]["use"] and done["train"]["images"] == 14
    assert done["score"]["images"] == 10 == done["pool"]["unlabelled"]
    assert (tmp_path / "runs/ranked.csv").read_text().count("\n") == 1 + 10
    assert (tmp_path / "runs/why.png").stat().st_size > 1000
