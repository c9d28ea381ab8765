"""The state of a training that was interrupted: which one is used, and which is not."""

from __future__ import annotations

import dataclasses

import pytest

from taudis.errors import TrainingStopped
from taudis.training import train as training
from tests.taudis.detector_cases import Pictures
from tests.taudis.training.training_cases import QUICK, assert_same, run, weights


class Known(Pictures):
    """Pictures that know which labels they have."""

    def __init__(self, count, version="first"):
        super().__init__(count)
        self.version = version

    def identity(self):
        return [self.count, self.version]


@pytest.mark.slow
def test_the_older_state_serves_when_the_newer_one_is_damaged(tmp_path, monkeypatch):
    monkeypatch.setattr("taudis.training.training_state.shutil.rmtree", lambda *_, **__: None)
    with pytest.raises(TrainingStopped):
        run(resume_dir=tmp_path, stop=iter([False, False, False, True]).__next__)
    newest = sorted(tmp_path.glob("state-*"))[-1]
    (newest / "state.json").write_text("{}")
    steps = []
    resumed = run(resume_dir=tmp_path, progress=lambda p: steps.append(p.step))
    assert steps == [3, 4]
    assert_same(weights(run()), weights(resumed))


@pytest.mark.parametrize(
    "change",
    [
        "seed",
        "damage",
        "labels",
        *(pytest.param(c, marks=pytest.mark.slow) for c in ("recipe", "count")),
    ],
)
def test_a_state_of_another_run_or_a_damaged_one_is_not_used(tmp_path, change, caplog):
    with pytest.raises(TrainingStopped):
        run(samples=Known(3), resume_dir=tmp_path, stop=iter([False, True]).__next__)
    options = {"seed": 2} if change == "seed" else {}
    if change == "recipe":
        options = {"recipe": dataclasses.replace(QUICK, lr=0.002)}
    if change == "count":
        options = {"samples": Known(4)}
    if change == "labels":
        options = {"samples": Known(3, version="corrected")}
    if change == "damage":
        path = next(tmp_path.glob("state-*/state.safetensors"))
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    steps = []
    given = {"samples": Known(3)} | options
    run(resume_dir=tmp_path, progress=lambda p: steps.append(p.step), **given)
    assert steps[0] == 1
    assert "not used" in caplog.text


def test_a_state_of_the_same_labels_is_used(tmp_path):
    with pytest.raises(TrainingStopped):
        run(samples=Known(3), resume_dir=tmp_path, stop=iter([False, True]).__next__)
    steps = []
    run(samples=Known(3), resume_dir=tmp_path, progress=lambda p: steps.append(p.step))
    assert steps[0] == 2


@pytest.mark.parametrize("folder", [False, True], ids=["a file", "a checkpoint"])
def test_initial_weights_that_were_replaced_under_their_name_are_others(tmp_path, folder):
    path = tmp_path / "weights"
    if folder:
        path.mkdir()
    file = path / "SHA256SUMS" if folder else path
    file.write_text("first")
    first = training._content_of(str(path))
    file.write_text("second")
    assert training._content_of(str(path)) != first
    assert training._content_of("imagenet") == "imagenet"
