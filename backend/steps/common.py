"""What every step has in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Result = dict[str, Any]
"""What a step leaves in its row: small, JSON."""
Report = Callable[[Mapping[str, Any]], None]
"""Takes progress: {"step", "done", "total", ...}."""
SHOWN_PROBLEMS = 20
