"""Initial weights of rounds: what a changed setting does, and what is refused before training."""

import html
import io

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models

from taudis.detector.checkpoint import load_checkpoint
from taudis.detector.imagenet import PREFIX, backbone_state, packaged_weights
from tests.backend.commands.test_doctor import findings
from tests.backend.local_loop import PASSWORD, USER
from tests.taudis.detector_cases import picture, varied

AUTH = (USER, PASSWORD)
CHANGED = "trained from initial weights 'imagenet', the model before 'none'"


def backbone_of(project, version):
    """The trained tensors of a version's backbone."""
    detector, _ = load_checkpoint(project.loop.data / "models" / str(project.id) / version)
    tensors = detector.model.state_dict()
    return {name: value for name, value in tensors.items() if name.startswith(PREFIX)}


# long: one project through four rounds; each step needs those before it
@pytest.mark.slow
def test_another_setting_counts_from_the_next_training_and_the_message_says_so(make_loop):
    loop = make_loop(WEIGHTS="none", KEEP_VERSIONS="9")
    project = loop.project(9)
    project.label_some(4)
    one = project.train()
    first = project.version()
    assert one.outcome == "served" and "initial weights" not in one.message
    assert project.card(first)["initial_weights"] == "none"
    assert not packaged_weights().keys() <= backbone_of(project, first).keys()

    loop.start_worker(WEIGHTS="imagenet")
    loop.turn()
    assert project.version() == first and project.rounds[0] == one
    project.import_pictures(1)  # an order for new images is made by the model that serves
    loop.store.update_project(project.id, reorder=True)
    loop.turn()
    refreshed = project.rounds[0]
    assert (refreshed.kind, refreshed.outcome) == ("refresh", "served")
    assert refreshed.steps["scored"]["model"] == first
    assert "initial weights" not in refreshed.message

    project.label_some(1)
    two = project.train()
    second = project.version()
    assert two.outcome == "served" and CHANGED in two.message
    assert CHANGED in html.unescape(loop.app.test_client().get("/", auth=AUTH).text)
    assert project.card(second)["initial_weights"] == "imagenet"
    trained = backbone_of(project, second)
    for name, value in packaged_weights().items():  # one step at a tenth of the first rate
        assert torch.allclose(trained[name], value, atol=1e-4), name

    project.label_some(1)
    three = project.train()
    assert three.outcome == "served" and "initial weights" not in three.message

    project.cli("rollback", first)
    assert project.version() == first
    task = next(task for task in project.tasks() if task["id"] in project.stored_order(first))
    body = {"project": f"{project.id}.1", "tasks": [task]}
    answer = loop.app.test_client().post("/predict", json=body, auth=AUTH).json
    assert answer["model_version"] == first and answer["results"][0]["result"]


@pytest.mark.slow
def test_bad_weights_are_refused_by_name_before_training(make_loop, tmp_path, monkeypatch):
    torch.manual_seed(0)
    good = varied(models.resnet18(weights=None)).state_dict()
    torch.save(good, tmp_path / "good.pth")
    content = (tmp_path / "good.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(content[: len(content) // 2])
    damaged = bytearray(content)
    damaged[len(content) // 2] ^= 1
    (tmp_path / "changed.pth").write_bytes(damaged)
    torch.save(models.mobilenet_v2(weights=None).state_dict(), tmp_path / "layout.pth")
    torch.save({**good, "conv1.weight": torch.zeros(64, 4, 7, 7)}, tmp_path / "channels.pth")
    endless = {**good, "bn1.bias": torch.full((64,), torch.inf)}
    torch.save(endless, tmp_path / "endless.pth")

    loop = make_loop()
    project = loop.project(3)
    project.label_some(2)
    before = project.version()
    monkeypatch.setattr("taudis.training.train._Run", lambda *_: pytest.fail("it was trained"))
    for file, says in (
        ("cut.pth", "no torch state file"),
        ("changed.pth", "does not fit its CRC-32"),
        ("layout.pth", "expected the tensors of resnet18"),
        ("channels.pth", "of another shape, such as conv1.weight"),
        ("endless.pth", "bn1.bias holds numbers that are not finite"),
        ("missing.pth", "No such file"),
    ):
        settings = {"WEIGHTS": str(tmp_path / file), "BACKBONE": "resnet18"}
        well, said, _ = findings(project.cli("doctor", well=False, **settings))["initial weights"]
        assert not well and file in said and says in said, said
        loop.start_worker(**settings)
        round_ = project.train()
        assert round_.outcome == "failed" and "trained" not in round_.steps
        assert file in round_.message and says in round_.message, round_.message
        assert project.version() == before
    assert not (loop.data / "models").exists()


@pytest.mark.slow
def test_a_round_starts_from_a_classification_model_of_ones_own(make_loop, tmp_path):
    torch.manual_seed(0)
    state = varied(models.resnet18(weights=None)).state_dict()
    torch.save(state, tmp_path / "own.pth")
    settings = {"WEIGHTS": str(tmp_path / "own.pth"), "BACKBONE": "resnet18"}
    loop = make_loop(**settings)
    project = loop.project(4)
    found = findings(project.cli("doctor"))["initial weights"]
    assert found[0] and "own.pth: 122 tensors of a backbone" in found[1]
    project.label_some(2)
    round_ = project.train()
    assert round_.outcome == "served", round_.message
    model = project.card(project.version())
    assert model["initial_weights"] == settings["WEIGHTS"]
    assert (model["model"]["backbone"], model["model"]["norm"]) == ("resnet18", "folded")
    trained = backbone_of(project, project.version())
    folded = backbone_state("resnet18", "folded", state, "own.pth")
    assert trained.keys() == folded.keys()
    assert any(not torch.equal(trained[name], folded[name]) for name in folded)
    for name, value in folded.items():  # one step at a tenth of the first rate
        assert torch.allclose(trained[name], value, atol=1e-4), name
    folder = str(loop.data / "models" / str(project.id) / project.version())
    printed = findings(project.cli("doctor", WEIGHTS=folder, BACKBONE=""))["initial weights"]
    assert printed[0] and "tensors of a detector" in printed[1]  # its card says the architecture


def encoded(image):
    """A grey picture [H,W] in several files, by name; each shows the same."""
    grey = Image.fromarray(image)
    low = np.random.default_rng(0).integers(0, 256, image.shape)
    deep = (image.astype(np.uint16) << 8) + low.astype(np.uint16)  # the lower byte is not shown
    palette = Image.frombytes("P", grey.size, (255 - image).tobytes())
    palette.putpalette([255 - index for index in range(256) for _ in "RGB"])
    files = {"rgb": grey.convert("RGB"), "grey": grey, "palette": palette}
    found = {name: io.BytesIO() for name in files}
    for name, file in found.items():
        files[name].save(file, "PNG")
    content = {name: file.getvalue() for name, file in found.items()}
    content["grey 16"] = cv2.imencode(".png", deep)[1].tobytes()
    content["rgb 16"] = cv2.imencode(".png", np.dstack([deep] * 3))[1].tobytes()
    return content


@pytest.mark.slow
def test_grey_deep_and_palette_files_of_a_picture_get_the_same_regions(loop):
    """They go through one normalisation, with the backbone from ImageNet weights."""
    project = loop.project(4)
    image = picture(5)[0].mean(2).astype(np.uint8)
    image.flat[0] = 255  # 16 bits are the smallest depth that holds it
    files = encoded(image)
    for name, content in files.items():
        file = (f"{name.replace(' ', '')}.png", content)
        url = f"/api/projects/{project.id}/import"
        loop.studio.api("POST", url, files=[(file[0], file)])
    project.label_some(4)
    round_ = project.train()
    assert round_.outcome == "served", round_.message
    rows = [row for _, row in project.rows(project.version()).values()]
    # the sentence why in `meta` has the rank, which differs
    regions = [[{**each, "id": "", "meta": {}} for each in row] for row in rows]
    assert len(regions) == len(files) and regions[0]
    assert all(row == regions[0] for row in regions)
