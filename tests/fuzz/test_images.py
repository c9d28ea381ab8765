"""F7: hostile image files in a round, and the memory that decoding takes."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.backend.images.servers import picture

ROOT = Path(__file__).resolve().parents[2]
MAX_PIXELS = 20_000


def good_files():
    """Files of rare kinds that browsers show, each at most MAX_PIXELS."""
    frames = [Image.new("RGB", (40, 30), color) for color in ("red", "blue")]
    animated = io.BytesIO()
    frames[0].save(animated, "GIF", save_all=True, append_images=frames[1:])
    turned = Image.Exif()
    turned[0x0112] = 6
    return {
        "cmyk.jpg": picture("CMYK", (40, 30), "JPEG"), "deep.png": picture("I;16", (40, 30)),
        "palette.png": picture("P", (40, 30)), "alpha.png": picture("RGBA", (40, 30)),
        "turned.jpg": picture("RGB", (40, 30), "JPEG", exif=turned),
        "moving.gif": animated.getvalue(), "dot.png": picture(size=(1, 1)),
        "strip.png": picture(size=(2_000, 10)),
    }  # fmt: skip


def bad_files():
    """Files that make no picture, and words of the reason that a person reads."""
    noise = np.random.default_rng(1).integers(0, 255, (40, 50, 3), np.uint8)
    whole = io.BytesIO()
    Image.fromarray(noise).save(whole, "PNG")
    return {
        "cut.png": (whole.getvalue()[:-2_000], "broken or cut short"), "empty.png": (b"", "empty"),
        "zeros.png": (b"\x00" * 500, "not an image"), "page.png": (b"<!doctype html>", "web page"),
        "drawing.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        "large.png": (picture(size=(200, 200)), "MAX_IMAGE_PIXELS"),
        "error.png": (b'{"detail": "no"}', "JSON"), "gone.png": (picture(size=(40, 30)), "404"),
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.fault("F7", "round")
def test_a_round_goes_on_without_the_files_that_make_no_picture(make_loop, figures):
    loop = make_loop(MAX_IMAGE_PIXELS=str(MAX_PIXELS))
    project, bad = loop.project(pictures=6), bad_files()
    files = good_files() | {name: data for name, (data, _) in bad.items()}
    parts = [(name, (name, data)) for name, data in files.items()]
    loop.studio.api("POST", f"/api/projects/{project.id}/import", files=parts)
    uploads = loop.studio.records.uploads
    del uploads[next(path for path in uploads if path.endswith("gone.png"))]
    project.label_some(5)
    round_ = project.train()
    assert round_.outcome == "served", round_.message
    folder = loop.data / "rounds" / str(project.id) / f"{round_.number:04d}"
    rows = json.loads((folder / "left_out.json").read_text())["unlabelled"]
    names = {task["id"]: task["data"]["image"].rpartition("-")[2] for task in project.tasks()}
    reasons = {names[row["task"]]: row["reason"] for row in rows}
    assert set(reasons) == set(bad)
    for name, (_, says) in bad.items():
        assert says in reasons[name], reasons[name]
    open_ = {task["id"] for task in project.tasks() if not task["is_labeled"]}
    assert set(project.order()) == open_  # every open task has a place, the readable ones a score
    figures(files=len(files), left_out=len(reasons), crashes=0)


MEASURE = """
import io, json, os, resource, sys
import numpy as np
from PIL import Image
from backend.errors import ImageError
from backend.images.decode import decode_image

side, limit = int(sys.argv[1]), int(sys.argv[2])
noise = np.random.default_rng(1).integers(0, 255, (side, side, 4), np.uint8)
kinds = {
    "RGB.PNG": Image.fromarray(noise[..., :3]), "RGBA.PNG": Image.fromarray(noise),
    "CMYK.JPEG": Image.frombytes("CMYK", (side, side), noise.tobytes()),
    "L.GIF": Image.fromarray(noise[..., 0]),
    "I;16.PNG": Image.fromarray(noise[..., 0].astype(np.uint16) * 200),
    "F.TIFF": Image.fromarray(noise[..., 0].astype(np.float32) - 7),
    "RGBA.WEBP": Image.fromarray(noise),
}
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
for name, image in kinds.items():
    file = io.BytesIO()
    image.save(file, name.partition(".")[2])
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        continue
    before = peak()
    try:
        outcome = decode_image(file.getvalue(), limit).shape[0]
    except ImageError as error:
        outcome = "refused" if "MAX_IMAGE_PIXELS" in str(error) else str(error)
    print(json.dumps([name, outcome, (peak() - before) / side / side]), flush=True)
    os._exit(0)
"""


def measured(side, limit):
    """Kind of file -> what became of a picture of `side` x `side`, and peak bytes a pixel."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(side), str(limit)],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    return {name: rest for name, *rest in map(json.loads, done.stdout.splitlines())}


@pytest.mark.slow
@pytest.mark.fault("F7", "memory")
def test_decoding_takes_bounded_memory_and_a_refusal_almost_none(figures, full):
    side = 3_000 if full else 1_000
    decoded, refused = measured(side, side * side), measured(side, 1_000)
    assert len(decoded) == len(refused) == 7
    assert {outcome for outcome, _ in decoded.values()} == {side}
    assert {outcome for outcome, _ in refused.values()} == {"refused"}
    most = max(memory for _, memory in decoded.values())
    for_nothing = max(memory for _, memory in refused.values())
    figures(bytes_per_px=round(most, 1), bytes_per_px_refused=round(for_nothing, 1), crashes=0)
    assert most < 40  # MAX_IMAGE_PIXELS, 50 million: 2 GB at most
    assert for_nothing < 9  # WebP reads its file whole
