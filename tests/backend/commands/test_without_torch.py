"""Commands that use no model answer at once: they do not load torch, which takes seconds."""

import os
import subprocess
import sys

import pytest

from backend.store.database import Store

PROGRAM = (
    "import sys; from backend.__main__ import app\n"
    "try: app()\n"
    "finally: sys.stderr.write(f'torch: {\"torch\" in sys.modules}')"
)

NO_ADDRESS = "Label Studio's address is not known"


@pytest.fixture
def data(tmp_path):
    """A data directory with one project and no model."""
    store = Store(tmp_path / "data")
    store.update_project(7, title="Seven")
    store.close()
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("--help", "COMMAND [ARGS]"),
        ("settings", "MODEL_DIR"),
        ("rounds", "no round has run yet"),
        ("versions", "No order yet"),
        ("prune --dry-run", NO_ADDRESS),
        ("disconnect", "is not connected: nothing to restore"),
        ("review --remove", NO_ADDRESS),
        ("unpin", "serves nothing"),
        ("backup kept.tar", "1 projects"),
    ],
)
def test_a_command_without_a_model_loads_no_torch(command, answer, data, tmp_path):
    given = {"MODEL_DIR": str(data), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *command.split()],
        cwd=tmp_path, env={**os.environ, **given, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert answer in done.stdout, done.stdout + done.stderr
    assert done.stderr.endswith("torch: False"), done.stderr
