"""A training that is killed at any instant ends with the very weights of one that was not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from taudis.detector.mask_rcnn import has_bf16
from tests.taudis.training.killed_training import RECIPE, SAVING

ROOT = Path(__file__).resolve().parents[3]
# Without bfloat16 in hardware no training uses it, and a test of it takes minutes.
PRECISIONS = ["fp32", "bf16"] if has_bf16("cpu") else ["fp32"]
STEP_SECONDS = 0.05  # or more; kills spread over the step after the one that they are aimed at


@pytest.fixture(scope="module")
def start():
    """Runs one training, killed as asked, and says which steps it did and how it ended."""
    command = [sys.executable, "-m", "tests.taudis.training.killed_training"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as launcher:

        def run(folder, precision, kill=None):
            asked = {"folder": str(folder), "precision": precision, "kill": kill}
            launcher.stdin.write(json.dumps(asked) + "\n")
            launcher.stdin.flush()
            return json.loads(launcher.stdout.readline())

        yield run
        launcher.stdin.close()


def ten_kills(seed):
    """Kills at ten random steps, in order; six of them in the midst of writing a state."""
    rng = np.random.default_rng(seed)
    steps = 1 + np.sort(rng.choice(RECIPE.steps - 12, 10, replace=False))
    saving = iter(rng.permutation(list(SAVING)).tolist())
    in_saving = set(rng.choice(10, len(SAVING), replace=False).tolist())
    return [
        ["saving", int(step), next(saving)]
        if number in in_saving
        else ["step", int(step), float(rng.uniform(0, STEP_SECONDS))]
        for number, step in enumerate(steps)
    ]


def weights(folder):
    return load_file(folder / "done" / "weights.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.fault("F1", "training")
def test_ten_kills_leave_the_weights_bit_for_bit(tmp_path, start, precision, capsys, figures):
    whole = start(tmp_path / "whole", precision)
    assert whole == {"steps": list(range(1, RECIPE.steps + 1)), "exit": 0}

    killed, first = tmp_path / "killed", []
    for kill in ten_kills(seed=5):
        ended = start(killed, precision, kill)
        assert ended["exit"] == -9, (kill, ended)
        first.append(ended["steps"][0])
        assert ended["steps"][-1] >= kill[1]
    ended = start(killed, precision)
    assert ended["exit"] == 0 and ended["steps"][-1] == RECIPE.steps
    starts = [*first[1:], ended["steps"][0]]
    assert starts == sorted(starts) and starts[-1] > RECIPE.checkpoint_every
    assert all(step % RECIPE.checkpoint_every == 1 for step in starts), (
        "from a kept state each time"
    )

    one, other = weights(tmp_path / "whole"), weights(killed)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    with capsys.disabled():
        print(f"\n{precision}: ten kills, {len(one)} tensors equal; went on from steps {starts}")
    figures(training_kills=10)
