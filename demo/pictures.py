"""Generates pictures with ground truth: overlapping objects on textured backgrounds.

Most pictures are alike: a few common objects on a calm background. Some are crowded, some are
empty, and two of the six kinds of objects are rare. It therefore matters which pictures are
labelled first. The kinds can be distinguished only by colour, texture and shape together. The same
seed gives the same pictures.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
MaskArray = npt.NDArray[np.uint8]
Shape = Callable[[np.random.Generator, float], list[FloatArray]]

MIN_SIDE, MAX_SIDE = 16.0, 70.0
"""Range of an object's diameter, in pixels of a picture of 192."""
MIN_VISIBLE = 0.4
"""An object is not drawn where it would leave less than this share of another object visible."""
HELD_OUT_SEED = 990_000
"""`held_out` adds this to the seed, so that no picture is in both sets."""


def _turned(points: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Points [P,2] rotated about the origin by a random angle."""
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray(points @ turn.T, np.float32)


def _circle(radius: float, squash: float = 1.0, points: int = 40) -> FloatArray:
    """Points [P,2] of an ellipse with the half axes `radius` and `radius * squash`."""
    t = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([radius * np.cos(t), radius * squash * np.sin(t)], axis=1).astype(np.float32)


def _disc(rng: np.random.Generator, radius: float) -> list[FloatArray]:
    """A filled circle, slightly squashed."""
    return [_turned(_circle(radius, rng.uniform(0.85, 1.0)), rng)]


def _ring(rng: np.random.Generator, radius: float) -> list[FloatArray]:
    """A circle with a round hole: two contours, filled by the even-odd rule."""
    return [_circle(radius), _circle(radius * rng.uniform(0.45, 0.6))]


def _leaf(rng: np.random.Generator, radius: float) -> list[FloatArray]:
    """A shape between two arcs that meet in two points."""
    t = np.linspace(-1, 1, 20)
    arc = rng.uniform(0.38, 0.55) * (1 - t**2)
    upper, lower = np.stack([t, arc], axis=1), np.stack([t[::-1], -arc], axis=1)
    return [_turned(radius * np.concatenate([upper, lower]).astype(np.float32), rng)]


def _bar(rng: np.random.Generator, radius: float) -> list[FloatArray]:
    """A long rectangle."""
    half = radius * rng.uniform(0.2, 0.32)
    corners = [[-radius, -half], [radius, -half], [radius, half], [-radius, half]]
    return [_turned(np.array(corners, np.float32), rng)]


def _star(rng: np.random.Generator, radius: float) -> list[FloatArray]:
    """A star of five or six points."""
    points = int(rng.integers(5, 7))
    t = np.arange(2 * points) * np.pi / points
    r = np.where(np.arange(2 * points) % 2, radius * rng.uniform(0.4, 0.5), radius)
    return [_turned(np.stack([r * np.cos(t), r * np.sin(t)], axis=1).astype(np.float32), rng)]


def _cross(rng: np.random.Generator, radius: float) -> list[FloatArray]:
    """A plus sign."""
    a, b = radius, radius * rng.uniform(0.28, 0.38)
    corners = [(-b, -a), (b, -a), (b, -b), (a, -b), (a, b), (b, b)]
    corners += [(-x, -y) for x, y in corners]
    return [_turned(np.array(corners, np.float32), rng)]


@dataclass(frozen=True)
class Kind:
    """One label: its shape, its usual hue (0..179, as OpenCV counts), its texture, its rarity."""

    name: str
    shape: Shape
    hue: float
    texture: str
    rare: bool = False


KINDS = (
    Kind("disc", _disc, 5, "shaded"),
    Kind("ring", _ring, 105, "plain"),
    Kind("leaf", _leaf, 55, "veins"),
    Kind("bar", _bar, 25, "stripes"),
    Kind("star", _star, 150, "shaded", rare=True),
    Kind("cross", _cross, 85, "dots", rare=True),
)
"""The labels, in the order of the labelling config and of the COCO categories 1..6."""

COMMON = tuple(i for i, kind in enumerate(KINDS) if not kind.rare)
RARE_PART = 0.09
"""Probability that a picture holds objects of one given rare kind."""


@dataclass(frozen=True)
class Scene:
    """A type of picture: its share, its number of objects, their diameters and backgrounds."""

    name: str
    share: float
    count: tuple[int, int]  # both ends included
    sides: tuple[float, float]  # px of a picture of 192
    kinds: tuple[int, ...]
    grounds: tuple[str, ...]


SCENES = (
    Scene("dull", 0.45, (1, 3), (34, 60), (0, 3), ("gradient", "noise")),
    Scene("mixed", 0.31, (3, 6), (24, MAX_SIDE), COMMON, ("noise", "stripes", "gradient")),
    Scene("crowded", 0.19, (7, 12), (MIN_SIDE, 46), COMMON, ("stripes", "blotches", "noise")),
    Scene("empty", 0.05, (0, 0), (30, 60), COMMON, ("gradient", "noise", "stripes", "blotches")),
)
"""The types of pictures. The shares sum to 1."""


def _ground(name: str, rng: np.random.Generator, size: int) -> FloatArray:
    """Background [size,size,3] BGR, 0..255, of low saturation."""
    base = rng.uniform(60, 170, 3).mean() + rng.uniform(-18, 18, 3)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    angle = rng.uniform(0, np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    if name == "stripes":
        shade = 22 * np.sign(np.sin(2 * np.pi * along * rng.uniform(5, 14)))
    elif name == "gradient":
        shade = rng.uniform(-70, 70) * (along - 0.5)
    else:
        cells = int(rng.integers(5, 9)) if name == "blotches" else size // 3
        rough = rng.normal(0, 26, (cells, cells)).astype(np.float32)
        shade = cv2.resize(rough, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.asarray(base + shade[..., None], np.float32)


def _paint(kind: Kind, rng: np.random.Generator, size: int, centre: FloatArray) -> FloatArray:
    """The object's texture over the whole picture [size,size,3] BGR, 0..255, before masking."""
    hue = (kind.hue + rng.normal(0, 9)) % 180
    hsv = np.array([[[hue, rng.uniform(110, 230), rng.uniform(120, 240)]]]).astype(np.uint8)
    colour = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0].astype(np.float32)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    angle, pitch = rng.uniform(0, np.pi), rng.uniform(0.9, 1.4)
    along = (x * np.cos(angle) + y * np.sin(angle)) * pitch
    if kind.texture == "shaded":
        light = 1.15 - np.hypot(x - centre[0] + 6, y - centre[1] + 6) / (0.35 * size)
    elif kind.texture == "stripes":
        light = 0.85 + 0.3 * np.sign(np.sin(along))
    elif kind.texture == "veins":
        light = 0.85 + 0.25 * np.sin(0.7 * along)
    elif kind.texture == "dots":
        across = (-x * np.sin(angle) + y * np.cos(angle)) * pitch
        light = np.where(np.sin(along) * np.sin(across) > 0.3, 0.5, 1.05)
    else:
        light = np.ones_like(x)
    return np.asarray(colour * light[..., None], np.float32)


def _mask(contours: list[FloatArray], centre: FloatArray, size: int) -> MaskArray:
    """Even-odd fill [size,size] uint8 of 0 and 1, of contours about the origin."""
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [np.round((c + centre) * 16).astype(np.int32) for c in contours], 1, shift=4)
    return mask


def _place(
    kind: Kind,
    side: float,
    owner: npt.NDArray[np.int16],
    areas: list[int],
    rng: np.random.Generator,
) -> tuple[MaskArray, FloatArray] | None:
    """A mask and its centre that leave every earlier object visible; None after eight tries."""
    size = len(owner)
    for _ in range(8):
        centre = rng.uniform(0.04 * size, 0.96 * size, 2).astype(np.float32)
        mask = _mask(kind.shape(rng, side / 2), centre, size)
        hidden = np.bincount(owner[mask > 0], minlength=len(areas) + 1)[1:]
        seen = np.bincount(owner.ravel(), minlength=len(areas) + 1)[1:] - hidden
        if mask.sum() >= 60 and (seen >= MIN_VISIBLE * np.array(areas)).all():
            return mask, centre
    return None


def _kinds_of(scene: Scene, rng: np.random.Generator) -> list[int]:
    """The kinds of a picture's objects: those of the scene, and sometimes rare kinds."""
    kinds = rng.choice(scene.kinds, rng.integers(scene.count[0], scene.count[1] + 1)).tolist()
    for index, kind in enumerate(KINDS):
        if kind.rare and scene.name != "empty" and rng.random() < RARE_PART / 0.95:
            kinds += [index] * int(rng.integers(1, 3))
    rng.shuffle(kinds)
    return [int(k) for k in kinds]


def picture(
    rng: np.random.Generator, size: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int16], list[int]]:
    """Generate one picture.

    Returns:
        pixels: [size,size,3] BGR.
        owner: [size,size], the number of the object that is visible there, 1..n; 0 is background.
        kinds: object i has the kind `KINDS[kinds[i - 1]]`.
    """
    scene = SCENES[int(rng.choice(len(SCENES), p=[s.share for s in SCENES]))]
    canvas = _ground(str(rng.choice(scene.grounds)), rng, size)
    owner = np.zeros((size, size), np.int16)
    areas: list[int] = []
    kinds: list[int] = []
    for index in _kinds_of(scene, rng):
        side = float(rng.uniform(*scene.sides)) * size / 192
        placed = _place(KINDS[index], side, owner, areas, rng)
        if placed is None:
            continue
        mask, centre = placed
        kinds.append(index)
        areas.append(int(mask.sum()))
        owner[mask > 0] = len(kinds)
        soft = cv2.GaussianBlur(mask.astype(np.float32), (3, 3), 0.6)[..., None]
        canvas += soft * (_paint(KINDS[index], rng, size, centre) - canvas)
    canvas += rng.normal(0, 7, canvas.shape).astype(np.float32)
    return np.clip(canvas, 0, 255).astype(np.uint8), owner, kinds


def _counts(mask: npt.NDArray[np.bool_]) -> list[int]:
    """COCO's uncompressed run lengths of a mask [H,W], column by column, zeros first."""
    flat = np.concatenate([[False], mask.ravel(order="F"), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    runs = np.diff(np.concatenate([[0], edges, [mask.size]]))
    return [int(r) for r in (runs[:-1] if runs[-1] == 0 else runs)]


def _annotation(number: int, image: int, kind: int, mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """A COCO annotation of the visible part of one object."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return {
        "id": number,
        "image_id": image,
        "category_id": kind + 1,
        "bbox": [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1],
        "area": int(mask.sum()),
        "iscrowd": 0,
        "segmentation": {"size": list(mask.shape), "counts": _counts(mask)},
    }


def generate(folder: Path, count: int, seed: int, size: int = 192) -> Path:
    """Write `count` JPEG pictures and their COCO file; the same seed gives the same pictures.

    Picture i depends only on the seed and i, so a larger set begins with a smaller set.

    Args:
        folder: made if missing; gets `images/*.jpg` and `instances.json`.
        count: number of pictures.
        seed: any integer from 0.
        size: side of a picture in px; objects grow with it.

    Returns:
        The path of `instances.json`; its file names are relative to `folder/images`.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for i in range(count):
        pixels, owner, kinds = picture(np.random.default_rng([seed, i]), size)
        name = f"{seed:06d}_{i:05d}.jpg"
        (folder / "images" / name).write_bytes(_jpeg(pixels))
        images.append({"id": i + 1, "file_name": name, "width": size, "height": size})
        for number, kind in enumerate(kinds, start=1):
            annotations.append(
                _annotation(len(annotations) + 1, i + 1, kind, owner == number)  # visible part
            )
    categories = [{"id": i + 1, "name": kind.name} for i, kind in enumerate(KINDS)]
    coco = {"images": images, "annotations": annotations, "categories": categories}
    path = folder / "instances.json"
    path.write_text(json.dumps(coco))
    return path


def _jpeg(pixels: npt.NDArray[np.uint8]) -> bytes:
    """The bytes of the picture as a JPEG file of quality 92."""
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 92])
    return bytes(encoded)


def held_out(folder: Path, count: int = 150, seed: int = 0, size: int = 192) -> Path:
    """`generate` with other seeds than for the pool, for pictures to evaluate models on."""
    return generate(folder, count, HELD_OUT_SEED + seed, size)
