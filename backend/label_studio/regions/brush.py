"""Label Studio's brush format: run lengths of an RGBA image, packed bit by bit.

The format is `rle-pack` of thi.ng: a head, then runs:

    head  32 bit  number of values
           5 bit  word size - 1, in bits
        4 x 4 bit  four run sizes - 1, in bits
    run    1 bit  1: repeated, 0: literal
           2 bit  which of the four run sizes
                  length - 1, in as many bits as that size
                  one value (repeated), or `length` values (literal)

A mask pixel is four equal values, the last of which is alpha.

Encoding gives the bytes of `label_studio_sdk.converter.brush.mask2rle(mask * 255)`. Decoding gives
the pixels where `decode_rle(...).reshape(H, W, 4)[..., 3]` is at least half of its maximum. Both
work on runs, not on pixels. Unlike the SDK's decoder, this decoder does not allocate the size that
the first four bytes claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.errors import RegionError
from backend.label_studio.regions.crop import Crop
from taudis.types import BoolArray, IntArray

MAX_PIXELS = 100_000_000
"""Larger images are refused before a mask is allocated."""

CHANNELS = 4
WORD_SIZE = 8
RUN_SIZES = (3, 4, 8, 16)  # bits of length - 1, as Label Studio writes them
_HEADER_BITS = 32 + 5 + 4 * 4
_LONGEST = 1 << RUN_SIZES[-1]
# Made once, because making these arrays takes a third of the time for a small mask.
_SIZE_BOUNDS, _SIZE_BITS = np.array([8, 16, 256]), np.array(RUN_SIZES)
_HEAD = np.array([0, WORD_SIZE - 1, *(size - 1 for size in RUN_SIZES)])
_HEAD_WIDTHS = np.array([32, 5, 4, 4, 4, 4])


def encode_rle(mask: BoolArray) -> list[int]:
    """Encode a mask [H,W] as Label Studio's bytes (values 0..255)."""
    return encode_rles([Crop(np.asarray(mask, bool), 0, 0)], *mask.shape)[0]


def encode_rles(crops: Sequence[Crop], height: int, width: int) -> list[list[int]]:
    """Encode masks [height,width] of one image, given by their crops, as `encode_rle` does.

    The full masks are never built. All masks share the calls of numpy, which would take most of the
    time if made for each mask. Raises RegionError if a crop extends beyond the image.
    """
    _check_size(height, width)
    for crop in crops:
        rows, columns = crop.mask.shape
        if crop.x < 0 or crop.y < 0 or crop.y + rows > height or crop.x + columns > width:
            raise RegionError(
                f"Mask crop {rows}x{columns} at ({crop.x}, {crop.y}) leaves the image "
                f"{height}x{width}."
            )
    if not crops:
        return []
    edges, owner = _edges(crops, width)
    lengths, filled, owner = _runs(edges, owner, len(crops), height * width)
    values = np.where(filled, 255, 0)
    return _pack(lengths * CHANNELS, values, owner, len(crops), height * width * CHANNELS)


def decode_rle(rle: Sequence[int], height: int, width: int) -> BoolArray:
    """Decode Label Studio's bytes to a mask [height,width]: pixels with at least half the maximum
    alpha.

    The region's maximum alpha is the reference, because a tool may draw with less than full
    opacity, and strokes and erasers have soft edges. Faint pixels left by an eraser do not count.

    Raises RegionError for truncated or malformed bytes; and, before it allocates memory, for a size
    out of bounds or bytes that claim another number of values than height x width x 4.
    """
    _check_size(height, width)
    data = _as_bytes(rle)
    count, word_size, run_sizes = _header(data)
    wanted = height * width * CHANNELS
    if count != wanted:
        raise RegionError(
            f"Brush RLE: expected {wanted} values for {height}x{width} px, its header says {count};"
            " it was drawn on an image of another size: draw again.",
            "other_image",
        )
    ends, values = _read_runs(data, count, word_size, run_sizes)
    # The alpha of pixel k is value 4k+3, so a run that ends at e has the alphas below e // 4.
    alphas = np.diff(ends // CHANNELS, prepend=0)
    full = int(values[alphas > 0].max())
    filled = (values > 0) & (2 * values.astype(np.int64) >= full)
    return np.repeat(filled, alphas).reshape(height, width)


def stated_values(rle: Any) -> int | None:
    """The number of values (4 per pixel) that Label Studio's bytes claim; None if invalid."""
    if not isinstance(rle, Sequence) or isinstance(rle, (str, bytes)) or len(rle) < 4:
        return None
    head = rle[:4]
    if not all(isinstance(byte, int) and 0 <= byte < 256 for byte in head):
        return None
    return int.from_bytes(bytes(head), "big")


def _check_size(height: int, width: int) -> None:
    if not (height >= 1 and width >= 1 and height * width <= MAX_PIXELS):
        raise RegionError(
            f"Brush RLE: expected an image of 1 to {MAX_PIXELS} px, got {height}x{width}."
        )


def _edges(crops: Sequence[Crop], width: int) -> tuple[IntArray, IntArray]:
    """The pixel numbers (in reading order) at which masks change, and the mask of each change.

    The rows of all crops are stacked as bits, padded to the width of the widest crop.
    """
    heights = np.array([len(crop.mask) for crop in crops])
    tops = heights.cumsum() - heights
    words = max(crop.mask.shape[1] for crop in crops) // 64 + 1
    rows = np.zeros((int(heights.sum()), 8 * words), np.uint8)  # a row ends with an empty pixel
    for crop, top in zip(crops, tops.tolist(), strict=True):
        packed = np.packbits(crop.mask, axis=1, bitorder="little")
        rows[top : top + packed.shape[0], : packed.shape[1]] = packed
    row, column = _changes(rows)
    owner = np.arange(len(crops)).repeat(heights)[row]
    first = np.array([crop.y * width + crop.x for crop in crops]) - tops * width
    edges = row * width + column + first[owner]
    # If a crop is as wide as the image, a run that ends at the right border continues in a run that
    # starts the next row.
    touching = ((edges[1:] == edges[:-1]) & (owner[1:] == owner[:-1])).nonzero()[0]
    if len(touching):
        both = np.concatenate([touching, touching + 1])
        edges, owner = np.delete(edges, both), np.delete(owner, both)
    return edges, owner


def _changes(rows: npt.NDArray[np.uint8]) -> tuple[IntArray, IntArray]:
    """Rows and columns at which a pixel differs from its left neighbour; outside is empty.

    rows: whole words of bits, the first pixel in the lowest bit. Comparing 64 pixels at a time
    takes a third of the time.
    """
    words = rows.view("<u8").ravel()
    changed = words ^ (words << 1)
    changed[1:] ^= words[:-1] >> 63
    at = (changed != 0).nonzero()[0]
    bits = np.unpackbits(changed[at].view(np.uint8), bitorder="little")
    found = bits.view(bool).nonzero()[0]
    return np.divmod(at[found >> 6] * 64 + (found & 63), rows.shape[1] * 8)


def _runs(
    edges: IntArray, owner: IntArray, masks: int, pixels: int
) -> tuple[IntArray, BoolArray, IntArray]:
    """The length in px of each run, whether it is filled, and the number of its mask."""
    count = np.bincount(owner, minlength=masks) + 1  # a run ends at each edge and at the image end
    first = count.cumsum() - count
    ends = np.full(len(edges) + masks, pixels)
    ends[np.arange(len(edges)) + owner] = edges
    starts = np.concatenate([[0], ends[:-1]])
    starts[first] = 0
    owner = np.arange(masks).repeat(count)
    lengths = ends - starts
    filled = (np.arange(len(ends)) - first[owner]) % 2 == 1
    some = lengths > 0  # the first or last run is empty if a mask begins or ends filled
    return lengths[some], filled[some], owner[some]


def _pack(
    lengths: IntArray, values: IntArray, owner: IntArray, masks: int, total: int
) -> list[list[int]]:
    """Pack each mask's runs (lengths >= 2) like the SDK.

    Each run gets the smallest run size that fits. Runs that are too long are split.
    """
    more = (lengths - 1) >> RUN_SIZES[-1]  # full pieces of the largest size before the last piece
    size = _SIZE_BOUNDS.searchsorted(lengths)
    bits = _SIZE_BITS[size]
    token = ((((4 | size) << bits) | (lengths - 1 - more * _LONGEST)) << WORD_SIZE) | values
    if more.any():
        last = (more + 1).cumsum() - 1
        longest = ((7 << RUN_SIZES[-1]) | (_LONGEST - 1)) << WORD_SIZE
        bits, owner = bits.repeat(more + 1), owner.repeat(more + 1)
        tokens = (longest | values).repeat(more + 1)
        tokens[last] = token
        token = tokens
    bits = bits + (3 + WORD_SIZE)
    # Each mask has its head, its runs, and padding. The SDK pads by 8 - n % 8 zero bits, so by a
    # whole byte if the last byte is already full.
    head, count = len(_HEAD), np.bincount(owner, minlength=masks)
    numbers = np.zeros(len(token) + (head + 1) * masks, np.int64)
    widths = np.zeros(len(numbers), np.int64)
    at = np.arange(len(token)) + (head + 1) * owner + head
    numbers[at], widths[at] = token, bits
    ends = (count + head + 1).cumsum()
    heads = (ends - count - head - 1)[:, None] + np.arange(head)
    numbers[heads], widths[heads] = _HEAD, _HEAD_WIDTHS
    numbers[heads[:, 0]] = total
    written = np.bincount(owner, bits, minlength=masks).astype(np.int64) + _HEADER_BITS
    widths[ends - 1] = 8 - written % 8
    joined = _joined(numbers, widths)
    cuts = [0, *(written // 8 + 1).cumsum().tolist()]
    return [list(joined[start:end]) for start, end in pairwise(cuts)]


def _joined(numbers: IntArray, widths: IntArray) -> bytes:
    """The `width` <= 33 lowest bits of each number, concatenated to whole bytes."""
    starts = widths.cumsum() - widths
    first = starts >> 5
    # Each number covers two words of 32 bits from its first word. No two numbers share a bit, so
    # adding joins them, and a word is exact as a float64.
    windows = numbers.astype(np.uint64) << (64 - (starts & 31) - widths).astype(np.uint64)
    parts = np.concatenate([windows >> 32, windows & 0xFFFFFFFF])
    words = np.bincount(np.concatenate([first, first + 1]), parts)
    return words.astype(">u4").tobytes()


def _as_bytes(rle: Any) -> bytes:
    if isinstance(rle, (str, bytes)) or not isinstance(rle, Sequence):
        raise RegionError(
            f"Brush RLE: expected a list of numbers 0..255, got {type(rle).__name__}."
        )
    try:
        return bytes(rle)
    except (TypeError, ValueError):
        raise RegionError("Brush RLE: expected whole numbers 0..255, got others.") from None


def _header(data: bytes) -> tuple[int, int, tuple[int, ...]]:
    if len(data) * 8 < _HEADER_BITS:
        raise RegionError(f"Brush RLE: expected a header of 7 bytes, got {len(data)} bytes.")
    head = int.from_bytes(data[:7], "big") >> (56 - _HEADER_BITS)
    word_size = ((head >> 16) & 31) + 1
    if word_size > WORD_SIZE:
        raise RegionError(f"Brush RLE: expected values of at most 8 bits, got {word_size} bits.")
    return head >> 21, word_size, tuple(((head >> shift) & 15) + 1 for shift in (12, 8, 4, 0))


def _read_runs(
    data: bytes, count: int, word_size: int, run_sizes: tuple[int, ...]
) -> tuple[IntArray, npt.NDArray[np.uint8]]:
    """The ends of all runs, counted in values (the last is `count`), and the runs' values."""
    ends: list[int] = []
    values: list[int] = []
    position, end, available = _HEADER_BITS, 0, len(data) * 8
    data = data + bytes(8)  # allows a window of 8 bytes at every byte
    window, mask = int.from_bytes, (1 << word_size) - 1
    # Indexed by a run's first three bits (repeated, size): the number of bits up to the end of its
    # first value, and their bit mask.
    fields = [(3 + size + word_size, (1 << size + word_size) - 1) for size in run_sizes] * 2
    while end < count:
        byte, offset = position >> 3, position & 7
        word = window(data[byte : byte + 8], "big")
        kind = (word >> (61 - offset)) & 7
        bits, lowest = fields[kind]
        run = (word >> (64 - offset - bits)) & lowest  # length - 1 and one value
        length = (run >> word_size) + 1
        position += bits if kind > 3 else bits + (length - 1) * word_size
        end += length
        if position > available or end > count:
            cut = position > available
            raise RegionError(f"Brush RLE: {'cut short' if cut else 'runs past its end'}.")
        if kind > 3:
            ends.append(end)
            values.append(run & mask)
        else:
            ends.extend(range(end - length + 1, end + 1))
            values.extend(_literals(data, position - length * word_size, length, word_size))
    return np.array(ends, np.int64), np.array(values, np.uint8)


def _literals(data: bytes, position: int, length: int, word_size: int) -> list[int]:
    """`length` values of `word_size` bits from bit `position` on."""
    first, last = position >> 3, (position + length * word_size + 7) >> 3
    bits = np.unpackbits(np.frombuffer(data[first:last], np.uint8))[position & 7 :]
    words = bits[: length * word_size].reshape(length, word_size)
    weights = 1 << np.arange(word_size - 1, -1, -1)
    return [int(value) for value in words @ weights]
