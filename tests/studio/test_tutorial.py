"""The tutorial's commands, as written: from a folder with a COCO file to a task with masks.

What differs: ports and data directories are free ones, and a round takes seconds (QUICK).
"""

import json
import os
import re
import shutil
import signal
import subprocess

import pytest
import requests

from backend.label_studio.client import Studio
from demo.pictures import generate
from demo.studio import free_port
from demo.studio_template import environment_of, migrated
from taudis.data.coco import load_coco
from tests.studio.conftest import EXECUTABLE, ROOT, TEMPLATE
from tests.studio.loop import QUICK
from tests.studio.processes import Process, wait_for
from tests.test_page_commands import lines_of

pytestmark = [pytest.mark.studio, pytest.mark.slow]

LINES = lines_of(ROOT / "docs/tutorial.md")
PICTURES, LABELLED = 12, 6


def line(part):
    """The one line of the tutorial with this part."""
    (found,) = {each for each in LINES if part in each}
    return found


def line_option(name):
    """The value of an option of the line that starts Label Studio."""
    return re.search(rf"{name} (\S+)", line("label-studio start"))[1]


EXPORT = line("export LABEL_STUDIO_URL")
STUDIO_EXPORTS = [
    line(f"export {name}")
    for name in ("SSRF_PROTECTION_ENABLED", "COLLECT_ANALYTICS", "LOCAL_FILES_SERVING_ENABLED")
]


class Reader:
    """Somebody who types the tutorial's lines in a folder with `mydata`, each in a terminal."""

    def __init__(self, folder):
        self.folder, self.running = folder, []
        self.port, self.studio_port = free_port(), free_port()
        for name in (".venv", ".venv-studio"):
            (folder / name).symlink_to(ROOT / name)
        generate(folder / "mydata", PICTURES, seed=6, size=96)
        coco = json.loads((folder / "mydata/instances.json").read_text())
        few = list(dict.fromkeys(each["image_id"] for each in coco["annotations"]))[:LABELLED]
        coco["annotations"] = [each for each in coco["annotations"] if each["image_id"] in few]
        (folder / "mydata/instances.json").write_text(json.dumps(coco))
        # The lines themselves say where the data lie, what Label Studio lets in and what it sends.
        self.studio_data = folder / line_option("--data-dir")
        shutil.copytree(migrated(EXECUTABLE, TEMPLATE), self.studio_data)
        studio = environment_of(self.studio_data, legacy_tokens=False, fast_import=False)
        said = {name for text in STUDIO_EXPORTS for name in re.findall(r"([A-Z_]+)=", text)}
        said.add("LABEL_STUDIO_BASE_DATA_DIR")
        assert said <= studio.keys(), "a variable that Label Studio does not read"
        self.environment = {
            **{name: value for name, value in studio.items() if name not in said},
            **QUICK,
            "TRAIN_AFTER": str(LABELLED),
            "PORT": str(self.port),
            "MODEL_DIR": str(folder / "data"),
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "300",
            "HOME": os.environ.get("HOME", str(folder)),
        }

    def types(self, text):
        """A line with the ports of this test."""
        text = re.sub(r"(--port |localhost:)8080", rf"\g<1>{self.studio_port}", text)
        return ["bash", "-c", f"cd {self.folder}; {text}"]

    def starts(self, text):
        log = self.folder / f"{len(self.running)}.log"
        self.running.append(Process(self.types(text), self.environment, log))

    def runs(self, text):
        done = subprocess.run(
            self.types(text), env=self.environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def waits_for(self, address):
        def answers():
            logs = [each.log.read_text()[-2000:] for each in self.running]
            assert all(each.running for each in self.running), logs
            try:
                return requests.get(address, timeout=2).ok
            except requests.RequestException:
                return False

        wait_for(answers, address)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    made = Reader(tmp_path_factory.mktemp("tutorial"))
    yield made
    for process in made.running:
        process.end(signal.SIGTERM)


@pytest.fixture(scope="module")
def project(reader):
    """The tutorial's steps 2 to 4: Label Studio, the backend, and the project; its number."""
    reader.starts("; ".join([*STUDIO_EXPORTS, line("label-studio start")]))
    reader.waits_for(f"http://127.0.0.1:{reader.studio_port}/health")
    said = reader.running[0].log.read_text()
    assert f"Starting development server at http://127.0.0.1:{reader.studio_port}/" in said
    assert "LOCAL_FILES_SERVING_ENABLED set to true" not in said  # the folder has a mydata
    login = requests.get(f"http://127.0.0.1:{reader.studio_port}/", timeout=30)
    assert login.url.endswith("/user/login/") and login.ok
    reader.starts(f"{EXPORT}; {line('-m backend serve')}")
    reader.waits_for(f"http://127.0.0.1:{reader.port}/health")
    printed = reader.runs(f"{EXPORT}; {line('create mydata/images --coco')}")
    assert f"{PICTURES} tasks, {LABELLED} of them labelled" in printed
    assert any((reader.studio_data / "media/upload").rglob("*.*")), "the data are where it says"
    return int(re.search(r"/projects/(\d+)", printed)[1])


def test_from_nothing_to_a_task_with_masks_in_the_best_order(reader, project):
    token = re.search(r"API_KEY=(\w+)", EXPORT)[1]
    studio = Studio(f"http://127.0.0.1:{reader.studio_port}", token)

    def served_rows():
        """The served version's prediction of each unlabelled task, once there are masks."""
        version = studio.project(project)["model_version"]
        found = {
            task["id"]: row
            for task in studio.tasks(project)
            if not task["is_labeled"]
            for row in studio.predictions_of(task["id"])
            if row["model_version"] == version
        }
        return found if any(row["result"] for row in found.values()) else None

    # Six labels are enough for TRAIN_AFTER, so that a training starts by itself.
    rows = wait_for(served_rows, "an order with masks", pause=1)
    assert len(rows) == PICTURES - LABELLED
    served = studio.next_task(project)["id"]
    assert rows[served]["score"] == min(row["score"] for row in rows.values())


def test_the_other_commands_of_the_tutorial(reader, project):
    """They come after the round of the test before, which the order of this file settles."""
    assert project == 1, "the lines name it"
    assert "train" in reader.runs(f"{EXPORT}; {line('backend rounds')}")
    assert "taudis-" in reader.runs(f"{EXPORT}; {line('backend versions')}")
    reader.runs(f"{EXPORT}; {line('export --project 1 --coco')}")
    label_map, samples = load_coco(
        reader.folder / "labels/instances.json", reader.folder / "labels/images"
    )
    assert len(samples) == LABELLED and sum(map(len, samples.annotations)) > 0
    assert len(label_map) > 1
    assert "FAIL" not in reader.runs(f"{EXPORT}; {line('backend doctor')}")
    printed = reader.runs(f"{EXPORT}; {line('create mydata/images --labels')}")
    assert f"{PICTURES} tasks, 0 of them labelled" in printed
