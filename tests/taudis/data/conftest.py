"""The folder of pictures that the tests of COCO files share."""

from __future__ import annotations

import pytest
from PIL import Image

from tests.taudis.detector_cases import picture


@pytest.fixture
def folder(tmp_path):
    """A folder of two pictures, 0.png and 1.png."""
    for row in range(2):
        Image.fromarray(picture(row)[0]).save(tmp_path / f"{row}.png")
    return tmp_path
