"""Which images are tested on, which are labelled first, and every derived random seed.

All depend on names, ids and seeds alone, so that every strategy of a seed begins alike.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from taudis.errors import DataError


def _hashed(text: str) -> bytes:
    """32 bytes that depend on the text alone, uniformly distributed."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def derived_seed(*parts: object) -> int:
    """A seed 0..2^31-1 that depends on the parts alone, such as ("train", seed, round)."""
    return int.from_bytes(_hashed("/".join(map(str, parts)))[:4], "big") >> 1


def scenes_of(names: Sequence[str], group: str) -> list[str]:
    """The scene [I] of each file name: the parts in brackets of the regular expression `group`.

    An image whose name does not match is a scene of its own; without `group`, each image is.
    Raises DataError for a wrong expression, and for one that no name matches.
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
    """Rows to train on and to test on, each in ascending order.

    Scenes are taken for the test in the order of a hash of seed and scene until `share` of the
    images is reached; a scene is never divided. Raises DataError where one side would be empty.
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
    """The ids of the seed set: `count` of the training images by chance, the same for all."""
    return sorted(image_ids, key=lambda number: _hashed(f"seed_set/{seed}/{number}"))[:count]


def folds(names: Sequence[str], *, count: int, seed: int, group: str) -> list[list[int]]:
    """The rows of each fold, ascending; every row is in one, and a scene is never divided.

    Scenes go, in the order of a hash of seed and scene, to the fold with the fewest images. Raises
    DataError where there are fewer scenes than folds.
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
