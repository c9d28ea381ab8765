"""A checkpoint is what was written, or it is refused with the file named."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from taudis.detector.architecture import build_model
from taudis.detector.card import amend_card, read_card
from taudis.detector.checkpoint import load_checkpoint, save_checkpoint
from taudis.errors import CheckpointError
from taudis.files import write_sealed
from taudis.types import LabelMap
from tests.taudis.detector_cases import LABELS, TINY, detector, picture

FILES = ("SHA256SUMS", "card.json", "weights.safetensors")


@pytest.fixture
def folder(tmp_path):
    save_checkpoint(tmp_path / "v1", detector(seed=5), card={"recipe": "tiny", "steps": 3})
    return tmp_path / "v1"


def test_a_loaded_detector_sees_the_same(folder):
    loaded, card = load_checkpoint(folder, label_map=LABELS)
    image = picture(0)[0]
    before, after = detector(seed=5).detect([image])[0], loaded.detect([image])[0]
    assert np.array_equal(before.instances.boxes, after.instances.boxes)
    assert np.array_equal(before.instances.embeddings, after.instances.embeddings)
    assert card["recipe"] == "tiny" and card["steps"] == 3
    assert card["labels"] == ["square", "bar"]
    assert card["torch_version"] == torch.__version__
    assert loaded.config == TINY
    assert sorted(path.name for path in folder.iterdir()) == list(FILES)


@pytest.mark.slow
@pytest.mark.fault("F13", "checkpoint")
def test_any_flipped_bit_is_found(folder, figures):
    rng, flips = np.random.default_rng(0), 0
    for name in FILES:
        path = folder / name
        content = path.read_bytes()
        bits = 8 * len(content)
        positions = range(0, bits, 37) if bits < 20_000 else rng.integers(0, bits, 15).tolist()
        for bit in positions:
            flips += 1
            changed = bytearray(content)
            changed[bit // 8] ^= 1 << bit % 8
            path.write_bytes(changed)
            with pytest.raises(CheckpointError, match=str(folder)) as refused:
                read_card(folder)
            assert name in str(refused.value)
        path.write_bytes(content)
    read_card(folder)
    figures(flips=flips, loaded=0)


@pytest.mark.fault("F13", "checkpoint")
def test_a_cut_or_missing_file_is_named(folder, figures):
    for name in FILES:
        content = (folder / name).read_bytes()
        for length in (0, 1, len(content) // 2, len(content) - 1):
            (folder / name).write_bytes(content[:length])
            with pytest.raises(CheckpointError, match=str(folder)) as refused:
                load_checkpoint(folder)
            assert name in str(refused.value)
        (folder / name).unlink()
        with pytest.raises(CheckpointError, match=name):
            load_checkpoint(folder)
        (folder / name).write_bytes(content)
    figures(cuts=15, loaded=0)


def test_other_labels_are_refused(folder):
    for names in (("bar", "square"), ("square",), ("square", "bar", "ring")):
        with pytest.raises(CheckpointError, match=r"card\.json: expected a model for the labels"):
            load_checkpoint(folder, label_map=LabelMap(names))


@pytest.mark.slow
def test_the_card_of_another_model_is_refused(folder):
    """Put there as it is, it does not fit the sums; sealed anew, it does not fit the weights."""
    other = folder.with_name("v2")
    save_checkpoint(other, detector(labels=LabelMap(("ring",))), card={"recipe": "other"})
    shutil.copyfile(other / "card.json", folder / "card.json")
    with pytest.raises(CheckpointError, match=r"v1/card\.json: expected SHA-256"):
        load_checkpoint(folder)

    def write(draft):
        shutil.copyfile(other / "card.json", draft / "card.json")
        shutil.copyfile(folder / "weights.safetensors", draft / "weights.safetensors")

    write_sealed(folder.with_name("v3"), write)
    with pytest.raises(CheckpointError, match=r"v3/weights\.safetensors: does not fit the card"):
        load_checkpoint(folder.with_name("v3"))
    with pytest.raises(CheckpointError, match=r"v3/card\.json: expected a model for the labels"):
        load_checkpoint(folder.with_name("v3"), label_map=LABELS)


@pytest.mark.slow
def test_a_second_write_replaces_the_first_and_leaves_nothing_beside(folder):
    save_checkpoint(folder, detector(seed=6), card={"recipe": "second"})
    assert read_card(folder)["recipe"] == "second"
    assert [path.name for path in folder.parent.iterdir()] == ["v1"]


@pytest.mark.slow
def test_a_write_that_fails_leaves_the_old_one(folder, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("taudis.detector.checkpoint.save_file", fail)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(folder, detector(seed=6), card={"recipe": "second"})
    assert read_card(folder)["recipe"] == "tiny"
    assert [path.name for path in folder.parent.iterdir()] == ["v1"]


def test_a_card_that_is_no_json_is_refused(tmp_path):
    for card in ({"map50": float("nan")}, {"folder": tmp_path}):
        with pytest.raises(CheckpointError, match="card"):
            save_checkpoint(tmp_path / "v1", detector(), card=card)


@pytest.mark.slow
def test_an_amended_card_holds_both_and_the_weights_stay(folder):
    weights = (folder / "weights.safetensors").read_bytes()
    before = read_card(folder)
    amended = amend_card(folder, metrics={"map50": 0.5}, steps=4)
    assert amended == {**before, "metrics": {"map50": 0.5}, "steps": 4} == read_card(folder)
    assert (folder / "weights.safetensors").read_bytes() == weights
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert [path.name for path in folder.parent.iterdir()] == ["v1"]
    load_checkpoint(folder, label_map=LABELS)
    inode = folder.stat().st_ino
    assert amend_card(folder, steps=4) == amended
    assert folder.stat().st_ino == inode  # nothing to change, nothing written


def test_what_cannot_be_amended_changes_nothing(folder, monkeypatch):
    before = read_card(folder)
    with pytest.raises(CheckpointError, match="labels"):
        amend_card(folder, labels=["other"])
    with pytest.raises(CheckpointError, match="JSON"):
        amend_card(folder, map50=float("nan"))

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("taudis.detector.card.shutil.copyfile", fail)
    monkeypatch.setattr("taudis.detector.card.os.link", fail)
    with pytest.raises(OSError, match="No space"):
        amend_card(folder, steps=5)
    assert read_card(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["v1"]


def test_a_card_is_amended_without_hard_links_and_without_swapping_names(folder, monkeypatch):
    def refuse(*args):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("taudis.detector.card.os.link", refuse)
    monkeypatch.setattr("taudis.files.exchange", lambda one, other: False)
    assert amend_card(folder, steps=5)["steps"] == 5 == read_card(folder)["steps"]
    assert [path.name for path in folder.parent.iterdir()] == ["v1"]


def test_a_damaged_checkpoint_is_not_amended(folder):
    for name in FILES:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-1])
        with pytest.raises(CheckpointError, match=str(folder)):
            amend_card(folder, steps=5)
        (folder / name).write_bytes(content)
    assert read_card(folder)["steps"] == 3


@pytest.mark.slow
def test_a_checkpoint_gives_initial_weights(folder):
    loaded = build_model(TINY, 7, seed=1, weights=str(folder)).state_dict()
    source = detector(seed=5).model.state_dict()
    assert torch.equal(loaded["backbone.fpn.layer_blocks.0.0.weight"],
                       source["backbone.fpn.layer_blocks.0.0.weight"])  # fmt: skip


def test_the_sums_are_those_of_sha256sum(folder):
    import hashlib

    lines = (folder / "SHA256SUMS").read_text().splitlines()
    for line in lines:
        digest, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert json.loads((folder / "card.json").read_text())["format"] == 1
