"""Chromium draws every kind of image file with the pixels that the decoder returns."""

import base64

import numpy as np
import pytest

from taudis.data.images import decode_image
from tests.taudis.data.picture_cases import CASES, squares_of

pytestmark = pytest.mark.browser

DRAW = """async data => {
  const image = new Image(); image.src = data;
  try { await image.decode() } catch { return null }
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
  const pen = canvas.getContext("2d", {willReadFrequently: true});
  pen.fillStyle = "#fff"; pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(image, 0, 0);
  const pixels = pen.getImageData(0, 0, canvas.width, canvas.height).data;
  return [canvas.height, canvas.width, Array.from(pixels)];
}"""
TYPES = {"JPEG": "jpeg", "TIFF": "tiff", "PGM": "x-portable-graymap"}


@pytest.fixture(scope="module")
def page(chromium):
    page = chromium.new_page()
    page.set_content("<p>pictures</p>")
    yield page
    page.close()


@pytest.mark.fault("F7", "decode", "turned")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.kind)
def test_chromium_draws_what_the_decoder_gives(page, case):
    data = case.make()
    kind = case.kind.split(",")[0].split()[0]
    mime = "image/" + TYPES.get(kind, kind.lower())
    drawn = page.evaluate(DRAW, f"data:{mime};base64,{base64.b64encode(data).decode()}")
    assert (drawn is None) == (case.browser == "no")
    if drawn is None:
        return
    height, width, values = drawn
    drawn = np.array(values, np.uint8).reshape(height, width, 4)[..., :3]
    ours = decode_image(data)
    assert drawn.shape == ours.shape
    apart = np.abs(drawn.astype(int) - ours).max()
    if case.browser == "same":
        assert apart <= 2
    else:
        assert apart > 2
    if case.browser.startswith("("):
        assert " ".join(str(pixel) for pixel in squares_of(case, drawn)) == case.browser
