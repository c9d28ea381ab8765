"""Converts colours to sRGB by the colour profile of an image file, as browsers do."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from itertools import product

import numpy as np
from PIL import Image, ImageCms

from taudis.errors import DataError

__all__ = ["MAX_PROFILE", "to_srgb"]

MAX_PROFILE = 10_000_000
"""Largest profile that is read, bytes. Profiles of printers have up to about 3 MB."""

SPACES = {"L": "GRAY", "RGB": "RGB", "RGBA": "RGB", "CMYK": "CMYK"}
SRGB_GAMMA = 1 / 2.2  # a gamma near this is treated as sRGB
UNSEEN = 2  # of 255; a profile that changes colours by at most this is treated as sRGB


def to_srgb(image: Image.Image, profile: object, gamma: object = None) -> Image.Image:
    """An image of mode L, RGB, RGBA or CMYK as sRGB. L may stay L, alpha is kept.

    A profile is ignored if it is broken, is for other channels than the image's, or changes no
    colour by more than 2 of 255 (most profiles are sRGB). CMYK without a profile is later converted
    by (1 - C)(1 - K), as in browsers. gamma: of a PNG without a profile; 1 is linear light.
    """
    if isinstance(profile, bytes) and 0 < len(profile) <= MAX_PROFILE:
        return _by_profile(image, profile)
    if isinstance(gamma, float) and gamma > 0 and abs(gamma - SRGB_GAMMA) > 0.01:
        return _by_gamma(image, gamma)
    return image


def _by_profile(image: Image.Image, profile: bytes) -> Image.Image:
    grey = _transform(profile, "L") if image.mode in ("L", "RGBA") else None
    if grey is not None:  # also for RGBA, which may be grey with alpha
        made = _through_table(grey, image.getchannel(0))
    else:
        image = image.convert("RGB") if image.mode == "L" else image
        colour = _transform(profile, image.mode)
        if colour is None:
            return image
        made = colour.apply(image)
    if image.mode == "RGBA":
        made.putalpha(image.getchannel("A"))
    return made


def _through_table(transform: ImageCms.ImageCmsTransform, grey: Image.Image) -> Image.Image:
    """Apply a transform to grey pixels by a table of 256 greys, as LittleCMS itself is slow."""
    ramp = transform.apply(Image.fromarray(np.arange(256, dtype=np.uint8)[None]))
    return Image.merge("RGB", [grey.point(list(band.tobytes())) for band in ramp.split()])


def _by_gamma(image: Image.Image, gamma: float) -> Image.Image:
    """Convert samples, which are light to the power of `gamma`, to light and then to sRGB."""
    light = np.linspace(0, 1, 256) ** (1 / gamma)
    curve = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    table = np.rint(curve * 255).astype(int).tolist()
    if image.mode == "RGBA":
        return image.point([*table * 3, *range(256)])
    return image.point(table * len(image.getbands()))


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform from a profile to sRGB; None if it has no effect.

    The transform has no cache of LittleCMS, so that threads can share it.
    """
    try:
        opened = ImageCms.ImageCmsProfile(BytesIO(profile))
        if opened.profile.xcolor_space.strip() != SPACES[mode]:
            return None
        target = "RGBA" if mode == "RGBA" else "RGB"
        # Grey: exact, because its curve may be steep. Colour: interpolated in a grid, for speed.
        more = ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.HIGHRESPRECALC
        made = ImageCms.ImageCmsTransform(
            opened,
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
            mode,
            target,
            flags=ImageCms.Flags.NOCACHE | more,
        )
    except ImportError as error:
        raise DataError(
            "The image has a colour profile and this Pillow has no LittleCMS; install its wheel."
        ) from error
    except (OSError, ValueError, TypeError, ImageCms.PyCMSError):
        return None
    return made if mode == "CMYK" or _changes(made, mode) else None


def _changes(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a transform changes any colour of a grid by more than UNSEEN."""
    steps = range(0, 256, 15)
    colours = [(v,) * 3 for v in range(256)] if mode == "L" else list(product(steps, repeat=3))
    probe = Image.fromarray(np.array([colours], np.uint8)).convert(mode)
    before, after = np.asarray(probe.convert("RGB"), int), transform.apply(probe).convert("RGB")
    return bool(np.abs(before - np.asarray(after, int)).max() > UNSEEN)
