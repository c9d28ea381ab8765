"""`python -m taudis why`, from a COCO file, a model and a pool to a picture."""

from __future__ import annotations

import json

import numpy as np
import pytest
from matplotlib.image import imread
from PIL import Image as PillowImage

from taudis.cli.why import why
from taudis.cli.why_picture import look_again, matched
from taudis.data.pool_reader import load_pool
from taudis.detector.checkpoint import save_checkpoint
from taudis.errors import DataError, SelectionError
from taudis.selection.params import Labelled
from tests.taudis.cli.cli_cases import asked, run
from tests.taudis.detector_cases import LABELS, detector, picture, save_coco


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six pictures, a COCO file, an untrained model and the pool that it scored."""
    made = tmp_path_factory.mktemp("why")
    pairs = [picture(seed) for seed in range(6)]
    for row, (image, _) in enumerate(pairs):
        PillowImage.fromarray(image).save(made / f"{row}.png")
    images = [(7 + row, f"{row}.png", (64, 64)) for row in range(6)]
    save_coco(made / "coco.json", LABELS, images, [target for _, target in pairs])
    save_checkpoint(made / "model", detector(seed=2), card={})
    save_checkpoint(made / "other", detector(seed=3), card={})
    done = run("score", made / "model", made / "coco.json", made, made / "pool.safetensors")
    assert done.exit_code == 0, done.output
    return made


def command(folder, *options, model="model", budget=3, out="why.png"):
    return run(
        "why", folder / model, folder / "coco.json", folder, folder / "pool.safetensors", budget,
        "--out", folder / out, *options,
    )  # fmt: skip


@pytest.mark.slow
def test_the_command_draws_what_select_chooses(folder):
    done = command(folder, "--labelled", folder / "pool.safetensors", "--uncertainty", "ce")
    assert done.exit_code == 0, (done.output, done.exception)
    assert "drawing" in done.stderr and len(done.stdout.splitlines()) == 1
    said = json.loads(done.stdout)
    assert said["picture"] == str(folder / "why.png") and said["strategy"] == "taudis"
    chosen = json.loads(run("select", folder / "pool.safetensors", 3, "--uncertainty", "ce").stdout)
    assert [int(text.split(",")[0].removeprefix("Image ")) for text in said["why"]] == (
        chosen["order"][:3]
    )
    for text, number in zip(said["why"], chosen["order"], strict=False):
        assert "the square at" in text or "the bar at" in text or "after the cover" in text
        assert f"most like it is {number} (cosine 1.000)" in text
    assert np.ptp(imread(folder / "why.png")[..., :3], axis=2).max() > 0.5
    fewer = json.loads(command(folder, "--top", 2, "--strategy", "wse", out="w.jpg").stdout)
    assert len(fewer["why"]) == 2 and fewer["strategy"] == "wse"


@pytest.mark.slow
def test_the_second_run_finds_every_instance_again(folder):
    pool = load_pool(folder / "pool.safetensors")
    reasons = why(pool, asked(pool, budget=6, labelled=Labelled(2.0)), top=6)
    images = [picture(one.image_id - 7)[0] for one in reasons]
    count = 0
    for one, _, found in look_again(reasons, detector(seed=2).fast(), images):
        assert matched(one, found) == [chosen.number for chosen in one.chosen]
        count += len(one.chosen)
    assert count > 6


@pytest.mark.parametrize(
    ("options", "arguments", "kind", "message"),
    [
        ({"model": "other"}, (), DataError, "Draw with the model"),
        ({"out": "why.txt"}, (), DataError, "expected a name that ends in"),
        ({"budget": 0}, (), DataError, "at least one chosen image"),
        ({}, ("--top", 0), DataError, "at least one chosen image"),
        ({}, ("--sigma", 2), SelectionError, "sigma: expected"),
        ({}, ("--strategy", "best"), SelectionError, "strategy: expected one of"),
    ],
)
def test_the_command_refuses(folder, options, arguments, kind, message):
    out = options.setdefault("out", "refused.png")
    done = command(folder, *arguments, **options)
    assert done.exit_code == 1 and isinstance(done.exception, kind) and done.stdout == ""
    assert message in str(done.exception) and not (folder / out).exists()


def test_images_that_the_coco_file_lacks_are_told(folder, tmp_path):
    save_coco(tmp_path / "coco.json", LABELS, [(99, "0.png", (64, 64))], [picture(0)[1]])
    done = run(
        "why", folder / "model", tmp_path / "coco.json", folder, folder / "pool.safetensors", 2,
        "--out", tmp_path / "why.png",
    )  # fmt: skip
    assert isinstance(done.exception, DataError) and "got none of id [" in str(done.exception)
