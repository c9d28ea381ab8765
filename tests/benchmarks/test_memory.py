"""A short run of benchmarks.memory: the worker stays below its memory limit and does not grow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from backend.process import PREDICT_BYTES
from benchmarks import memory

ROOT = Path(__file__).resolve().parents[2]
IMAGES, FILES = 48, 12  # every size four times, 4,000 x 3,000 among them
GROWTH_MB = 80


@pytest.mark.slow
def test_scoring_large_images_stays_under_its_limit_and_does_not_grow(tmp_path):
    memory.prepare(tmp_path / "m", IMAGES, FILES, steps=40)
    command = [sys.executable, "-m", "benchmarks.memory", "--path", "worker",
               "--measure", str(tmp_path / "m")]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    print(found)
    assert found["detections_per_image"] > 5, "the model finds nothing: the test shows nothing"
    assert 1e6 * found["peak_mb"] < PREDICT_BYTES
    half, whole = found["half_way_mb"], found["at_end_mb"]
    assert whole - half < GROWTH_MB, f"from {half} to {whole} MB in {IMAGES // 2} images"
