"""Measures contenders in turns, in CPU seconds of this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any


def least(contenders: Mapping[str, Callable[[], Any]], rounds: int = 5) -> dict[str, float]:
    """CPU seconds of each contender in its best round."""
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            started = time.process_time()
            work()
            spent[name].append(time.process_time() - started)
    return {name: min(times) for name, times in spent.items()}
