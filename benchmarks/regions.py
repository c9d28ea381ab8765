"""Times masks to Label Studio's regions and back, against the Label Studio SDK and torchvision.

    OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.regions

- Brush: 20 masks of 1024 x 1024 px, ten of generated discs and ten real ones, scaled up.
- Pasting: 20 instances of 24 to 400 px on an image of 1024 x 1024 px, from [28,28] probabilities.
- Polygons: the smallest IoU of a mask and its polygons, over real masks of more than 100 px.

Both sides must give equal results. They take turns. Times are CPU seconds of the process, medians
over the rounds. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torchvision.models.detection.roi_heads import paste_masks_in_image

from backend.label_studio.regions.brush import decode_rle, encode_rles
from backend.label_studio.regions.crop import Crop, tight, union
from backend.label_studio.regions.encode import paste
from backend.label_studio.regions.polygon import mask_to_polygons, polygon_to_crop
from taudis.data.coco import decode
from taudis.types import BoolArray, FloatArray

with warnings.catch_warnings():  # the SDK still uses pydantic's old validators
    warnings.simplefilter("ignore", DeprecationWarning)
    from label_studio_sdk.converter import brush as sdk

logger = logging.getLogger("regions")

DATA = Path(__file__).resolve().parents[1] / "../shared/data"
SIDE, MASKS = 1024, 20
POLYGON_MASKS = 6000
LEAST_PX = 100


def written_by_sdk(mask: npt.NDArray[np.uint8]) -> list[int]:
    rle: list[int] = sdk.mask2rle(mask)  # type: ignore[no-untyped-call]
    return rle


def speedup(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int) -> float:
    """Median over the rounds of their CPU time / ours, in turns; the first round is not counted."""
    ratios = []
    for _ in range(rounds + 1):
        spent = []
        for work in (theirs, ours):
            started = time.process_time()
            work()
            spent.append(time.process_time() - started)
        ratios.append(spent[0] / spent[1])
    return round(float(np.median(ratios[1:])), 1)


def real_masks(folder: Path) -> Iterator[Callable[[], BoolArray]]:
    """The objects of every COCO file below a folder, as functions that decode their mask."""
    for path in sorted(folder.glob("*/instances.json")):
        file = json.loads(path.read_text())
        sizes = {image["id"]: (image["height"], image["width"]) for image in file["images"]}
        for each in file["annotations"]:
            size = sizes[each["image_id"]]
            if each["area"] > LEAST_PX:
                yield partial(decode, each["segmentation"], *size)


def discs(seed: int) -> BoolArray:
    """A mask of four overlapping discs with radii of 20 to 250 px."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    mask = np.zeros((SIDE, SIDE), bool)
    for _ in range(4):
        cy, cx, r = *rng.uniform(0, SIDE, 2), rng.uniform(20, 250)
        mask |= (y - cy) ** 2 + (x - cx) ** 2 < r * r
    return mask


def brush_masks() -> list[BoolArray]:
    """Ten masks of discs and ten real ones, scaled up; without data, 20 of discs."""
    every = list(real_masks(DATA))
    real = [every[row]() for row in range(0, len(every), max(len(every) // 10, 1))][:10]
    scaled = [
        cv2.resize(mask.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) >= 0.5
        for mask in real
    ]
    return [*scaled, *(discs(seed) for seed in range(MASKS - len(scaled)))]


def brush(rounds: int) -> dict[str, float]:
    masks = brush_masks()
    bytes_ = [mask.astype(np.uint8) * 255 for mask in masks]
    crops = [Crop(mask, 0, 0) for mask in masks]
    written = encode_rles(crops, SIDE, SIDE)

    def read_by_sdk() -> list[BoolArray]:
        return [sdk.decode_rle(rle).reshape(SIDE, SIDE, 4)[..., 3] > 0 for rle in written]

    def read() -> list[BoolArray]:
        return [decode_rle(rle, SIDE, SIDE) for rle in written]

    assert written == [written_by_sdk(mask) for mask in bytes_]
    for mask, ours, theirs in zip(masks, read(), read_by_sdk(), strict=True):
        assert np.array_equal(ours, mask) and np.array_equal(theirs, mask)
    return {
        "rle_encode_speedup": speedup(
            lambda: encode_rles(crops, SIDE, SIDE),
            lambda: [written_by_sdk(mask) for mask in bytes_],
            rounds,
        ),
        "rle_decode_speedup": speedup(read, read_by_sdk, rounds),
    }


def instances() -> tuple[FloatArray, FloatArray]:
    """Mask probabilities [20,28,28] of random blobs, and boxes [20,4] of 24 to 400 px."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:28, :28] - 13.5
    ragged = np.stack([cv2.resize(rng.random((5, 5)), (28, 28)) for _ in range(MASKS)])
    probs = 1 / (1 + np.exp(np.hypot(y, x) - 9 - 6 * ragged))
    sides = np.exp(rng.uniform(np.log(24), np.log(400), (MASKS, 2)))
    corner = rng.uniform(0, SIDE - sides)
    return probs.astype(np.float32), np.hstack([corner, corner + sides]).astype(np.float32)


def pasting(rounds: int) -> dict[str, float]:
    probs, boxes = instances()
    tensors = torch.from_numpy(probs)[:, None], torch.from_numpy(boxes)

    def ours() -> list[list[int]]:
        crops = [paste(mask, box, SIDE, SIDE) for mask, box in zip(probs, boxes, strict=True)]
        return encode_rles([crop for crop in crops if crop], SIDE, SIDE)

    def theirs() -> list[list[int]]:
        pasted = paste_masks_in_image(*tensors, (SIDE, SIDE))[:, 0] >= 0.5
        return [written_by_sdk(mask.numpy().astype(np.uint8) * 255) for mask in pasted]

    assert ours() == theirs()
    return {"paste_encode_speedup": speedup(ours, theirs, rounds)}


def polygons(count: int) -> dict[str, float]:
    """IoU of `count` masks, evenly spaced (0: all), and their polygons; {} without data."""
    every = list(real_masks(DATA))
    step = max(len(every) // count, 1) if count else 1
    ious, points = [], []
    for mask in (each() for each in every[::step]):
        outlines = mask_to_polygons(tight(Crop(mask, 0, 0)), *mask.shape)
        drawn = union([polygon_to_crop(outline, *mask.shape) for outline in outlines])
        again = drawn.paste(*mask.shape)
        ious.append((again & mask).sum() / (again | mask).sum())
        points.append(sum(map(len, outlines)))
    if not ious:
        logger.info("No real masks: %s is not there.", DATA.name)
        return {}
    return {
        "polygon_iou": round(float(min(ious)), 5),
        "polygon_iou_mean": round(float(np.mean(ious)), 7),
        "polygon_points": round(float(np.mean(points)), 1),
        "polygon_masks": len(ious),
    }


def measure(rounds: int = 9, masks: int = POLYGON_MASKS) -> dict[str, float]:
    """The figures for regions in docs/benchmarks.md."""
    return {**brush(rounds), **pasting(rounds), **polygons(masks)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--masks", type=int, default=POLYGON_MASKS, help="0: all of them")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    print(json.dumps(measure(options.rounds, options.masks)))


if __name__ == "__main__":
    main()
