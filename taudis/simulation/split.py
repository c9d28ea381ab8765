"""The test images, the seed set (the images labelled first), and all derived random seeds.

They depend only on names, ids and seeds, so that all strategies of a seed start the same way.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from taudis.errors import DataError


def _hashed(text: str) -> bytes:
    """The SHA-256 of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def derived_seed(*parts: object) -> int:
    """A seed 0..2^31-1, a hash of its parts, such as ("train", seed, round)."""
    return int.from_bytes(_hashed("/".join(map(str, parts)))[:4], "big") >> 1


def scenes_of(names: Sequence[str], group: str) -> list[str]:
    """The scene [I] of each file name: the bracketed parts of the regular expression `group`.

    An image whose name does not match is a separate scene. Without `group`, every image is.
    Raises DataError for an invalid expression, and for an expression that no name matches.
    """
    if not group:
        return list(names)
    try:
        pattern = re.compile(group)
    except re.error as error:
        raise DataError(
            f"--group: expected a regular expression, got {group!r}: {error}."
        ) from None
    if not pattern.groups:
        raise DataError(f"--group: expected brackets around what a scene shares, got {group!r}.")
    found = [pattern.search(name) for name in names]
    if not any(found):
        raise DataError(
            f"--group: expected an expression that file names such as {names[0]!r} match, got"
            f" {group!r}, which matches none."
        )
    return [
        "\0".join(part or "" for part in match.groups()) if match else name
        for name, match in zip(names, found, strict=True)
    ]


def split(
    names: Sequence[str], *, share: float, seed: int, group: str
) -> tuple[list[int], list[int]]:
    """The rows of the training and of the test images, each in ascending order.

    Scenes become test images in the order of a hash of seed and scene, until `share` of the images
    is reached. A scene is never divided. Raises DataError if one side would be empty.
    """
    if not 0 < share < 1:
        raise DataError(f"--test-share: expected a number between 0 and 1, got {share}.")
    scenes: dict[str, list[int]] = {}
    for row, scene in enumerate(scenes_of(names, group)):
        scenes.setdefault(scene, []).append(row)
    test: list[int] = []
    for scene in sorted(scenes, key=lambda scene: _hashed(f"test/{seed}/{scene}")):
        if len(test) < share * len(names):
            test += scenes[scene]
    train = sorted(set(range(len(names))) - set(test))
    if not train or not test:
        raise DataError(
            f"expected scenes for both training and test, got {len(scenes)} scenes of"
            f" {len(names)} images. Change --group or --test-share."
        )
    return train, sorted(test)


def seed_set(image_ids: Sequence[int], count: int, seed: int) -> list[int]:
    """The ids of the seed set: `count` random images, the same for all strategies of a seed."""
    return sorted(image_ids, key=lambda number: _hashed(f"seed_set/{seed}/{number}"))[:count]


def folds(names: Sequence[str], *, count: int, seed: int, group: str) -> list[list[int]]:
    """The rows of each fold, ascending. Every row is in one fold, and a scene is never divided.

    In the order of a hash of seed and scene, each scene goes to the fold with the fewest images.
    Raises DataError if there are fewer scenes than folds.
    """
    scenes: dict[str, list[int]] = {}
    for row, scene in enumerate(scenes_of(names, group)):
        scenes.setdefault(scene, []).append(row)
    if not 2 <= count <= len(scenes):
        raise DataError(f"--folds: expected 2 to {len(scenes)}, the number of scenes, got {count}.")
    found: list[list[int]] = [[] for _ in range(count)]
    for scene in sorted(scenes, key=lambda scene: _hashed(f"fold/{seed}/{scene}")):
        min(found, key=len).extend(scenes[scene])
    return [sorted(rows) for rows in found]
