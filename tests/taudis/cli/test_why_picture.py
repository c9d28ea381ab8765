"""The picture of why: instances are found again, and outlined where they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread
from PIL import Image as PillowImage

from taudis.cli import why_picture
from taudis.cli.why_picture import check_picture_path, draw, matched, outlines
from taudis.errors import DataError
from taudis.types import Detection, Instances
from tests.taudis.cli.cli_cases import instance, reason

SIDE = 120


def seen_once(boxes, *, labels=None, size=(SIDE, SIDE)):
    """A detection whose masks fill their boxes."""
    n = len(boxes)
    found = Instances(
        np.zeros(n, np.int64),
        np.array(boxes, np.float32).reshape(n, 4),
        np.full(n, 0.5, np.float32),
        np.ones(n, np.int64) if labels is None else np.array(labels),
        np.full((n, 3), 1 / 3, np.float32),
        np.zeros((n, 2), np.float32),
        np.ones((n, 28, 28), np.float32),
    )
    return Detection(found, np.zeros(2, np.float32), size)


BOXES = [(10.0, 10.0, 40.0, 40.0), (60.0, 70.0, 110.0, 100.0), (61.0, 72.0, 108.0, 99.0)]


def test_instances_are_found_again_by_label_and_box():
    reported = reason(instance(box=BOXES[1]), instance(box=BOXES[0]))
    assert matched(reported, seen_once(BOXES[::-1])) == [1, 2]
    moved = [tuple(side + 0.9 for side in box) for box in BOXES]
    assert matched(reported, seen_once(moved)) == [1, 0]
    assert matched(reported, seen_once(BOXES, labels=[1, 1, 2])) == [1, 0]


@pytest.mark.parametrize(
    ("again", "message"),
    [
        (seen_once([(10.0, 13.0, 40.0, 40.0)]), r"image 7: expected detection 0 .* is 3\.0 px off"),
        (seen_once(BOXES[:1], labels=[2]), "got none of its label"),
        (seen_once([]), "got none of its label"),
    ],
)
def test_another_models_detections_are_refused(again, message):
    with pytest.raises(DataError, match=message):
        matched(reason(instance(box=BOXES[0])), again)


def test_a_large_box_may_be_off_by_a_share_of_its_side():
    reported = reason(instance(box=(0.0, 0.0, 1000.0, 10.0)))
    assert matched(reported, seen_once([(0.0, 0.0, 981.0, 10.0)], size=(1000, 1000))) == [0]
    with pytest.raises(DataError, match=r"21\.0 px off"):
        matched(reported, seen_once([(0.0, 0.0, 979.0, 10.0)], size=(1000, 1000)))


def test_outlines_run_along_the_masks_border():
    (line,) = outlines(seen_once(BOXES), 1)
    assert np.array_equal(line[0], line[-1])
    assert np.allclose(line.min(0), (60, 70), atol=1) and np.allclose(
        line.max(0), (109, 99), atol=1
    )
    empty = seen_once(BOXES)
    empty = replace(
        empty, instances=replace(empty.instances, mask_probs=np.zeros((3, 28, 28), np.float32))
    )
    (line,) = outlines(empty, 0)
    assert line.tolist() == [[10, 10], [40, 10], [40, 40], [10, 40], [10, 10]]


def panel_pixels(path, monkeypatch, reported, found, image):
    """The picture [h,w,3] 0..1, and where an image's px (x, y) lie in it."""
    figures = []
    made = why_picture._figure
    monkeypatch.setattr(
        why_picture, "_figure", lambda *a: figures.append(made(*a)) or figures[-1]
    )  # fmt: skip
    draw(path, [(reported, image, found)], ("cell", "bud"))
    axes = figures[0].axes[0]
    pixels = imread(path)[..., :3]
    scale = pixels.shape[1] / figures[0].bbox.width

    def at(x, y):
        across, up = axes.transData.transform((x, y)) * scale
        return round(pixels.shape[0] - up), round(across)

    return pixels, at


@pytest.mark.parametrize("layer", [0, 1])
def test_the_outline_is_where_the_mask_is(tmp_path, monkeypatch, layer):
    """Coloured along the border of the chosen instance and nowhere else in the image."""
    image = np.full((SIDE, SIDE, 3), 60, np.uint8)
    reported = reason(instance(25, layer, box=BOXES[1]))
    path = tmp_path / "why.png"
    pixels, at = panel_pixels(path, monkeypatch, reported, seen_once(BOXES[:2]), image)
    coloured = np.ptp(pixels, axis=2) > 0.3
    top, left = at(0, 0)
    bottom, right = at(SIDE - 1, SIDE - 1)
    rows, columns = np.nonzero(coloured[top:bottom, left:right])
    near = [at(x, y) for x, y in ((60, 70), (109, 99))]
    assert abs(rows.min() + top - near[0][0]) <= 4 and abs(columns.min() + left - near[0][1]) <= 4
    assert abs(rows.max() + top - near[1][0]) <= 4 and abs(columns.max() + left - near[1][1]) <= 4
    inside = coloured[at(60, 80)[0] : at(60, 90)[0], at(65, 80)[1] : at(104, 80)[1]]
    assert not inside.any()
    border = coloured[at(60, 70)[0] - 3 : at(60, 70)[0] + 4, at(62, 70)[1] : at(107, 70)[1]].any(0)
    share = border.mean()
    assert share == 1 if layer == 0 else 0.4 < share < 0.95  # dashed after the cover
    # The other detection is outlined in grey, lighter than the image.
    y, x = at(25, 10)
    other = pixels[y - 3 : y + 4, x - 3 : x + 4]
    assert other.max() > 60 / 255 + 0.1 and np.ptp(other, axis=2).max() < 0.05
    assert np.allclose(pixels[at(90, 30)], 60 / 255, atol=0.02)


@pytest.mark.slow
def test_the_picture_has_a_panel_for_each_image_and_is_left_whole(tmp_path):
    rng = np.random.default_rng(0)
    images = [
        rng.integers(0, 255, (30, 900, 3)).astype(np.uint8),
        *rng.integers(0, 255, (6, SIDE, SIDE, 3)).astype(np.uint8),
    ]
    reported = replace(reason(), votes=None)
    seen = [(reported, image, seen_once([], size=image.shape[:2])) for image in images]
    for name, kind in (("why.jpg", "JPEG"), ("why.png", "PNG")):
        draw(tmp_path / name, iter(seen if kind == "PNG" else seen[:1]))
        with PillowImage.open(tmp_path / name) as made:
            assert made.format == kind
            assert made.width >= 250 * (5 if kind == "PNG" else 1)
            assert np.asarray(made.convert("L")).std() > 20
    before = (tmp_path / "why.png").read_bytes()
    broken = [(reason(instance(box=BOXES[0])), images[1], seen_once([]))]
    with pytest.raises(DataError, match="got none of its label"):
        draw(tmp_path / "why.png", broken)
    with pytest.raises(DataError, match="at least one chosen image"):
        draw(tmp_path / "why.png", [])
    with pytest.raises(DataError, match=r"of \(120, 120\) \(height, width\) px, got \(9, 9\)"):
        draw(tmp_path / "why.png", [(reason(), images[1], seen_once([], size=(9, 9)))])
    assert (tmp_path / "why.png").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["why.jpg", "why.png"]


def test_names_are_checked_before_the_work(tmp_path):
    with pytest.raises(DataError, match=r"why\.gif: expected a name that ends in \.png, \.jpg"):
        check_picture_path(tmp_path / "why.gif")
    with pytest.raises(DataError, match="nowhere to exist"):
        check_picture_path(tmp_path / "nowhere" / "why.png")
