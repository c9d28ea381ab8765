"""The worker gives way to the web process, also where Linux groups processes by session."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from backend.process import AUTOGROUP

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import os
from backend.process import AUTOGROUP, lower_priority
lower_priority(7)
print(os.nice(0), AUTOGROUP.read_text() if AUTOGROUP.exists() else "")
"""


def said(*, leader):
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=ROOT, start_new_session=leader,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    niceness, _, group = done.stdout.partition(" ")
    return int(niceness), group.strip()


def test_the_session_of_a_worker_is_lowered():
    before, (niceness, group) = said(leader=False)[0], said(leader=True)
    assert niceness == before
    if not AUTOGROUP.exists():
        pytest.skip("this kernel does not group processes by session")
    assert group.endswith("nice 7")


def test_the_session_of_a_terminal_is_not():
    if not AUTOGROUP.exists():
        pytest.skip("this kernel does not group processes by session")
    before = AUTOGROUP.read_text(encoding="ascii").strip()
    _, group = said(leader=False)
    assert group == before
