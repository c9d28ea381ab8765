"""Chooses the tasks without pre-annotation, which people label without suggestions."""

from __future__ import annotations

import hashlib

_BUCKETS = 1 << 64


def is_blank(task: int, share: float, seed: int) -> bool:
    """Whether a task is blank: a pure function of its id, the share (0 to 1) and the seed.

    A task is blank in every version or in none. A larger share only adds blank tasks.
    """
    digest = hashlib.sha256(f"taudis-blank:{seed}:{task}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * _BUCKETS
