"""The options of `make demo`, read from environment variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.label_studio.new_project import CONTROLS
from demo.errors import DemoError

ROOT = Path(__file__).resolve().parents[1]
"""The root of the repository."""
NUMBERS = {
    "pool_size": "DEMO_POOL",
    "held_out_size": "DEMO_HELD_OUT",
    "budget": "DEMO_BUDGET",
    "rounds": "DEMO_ROUNDS",
    "studio_port": "DEMO_STUDIO_PORT",
    "backend_port": "DEMO_BACKEND_PORT",
}
"""Field of Options -> variable; each is a whole number from 1 on."""


@dataclass(frozen=True)
class Options:
    """The options of one run."""

    auto: bool  # simulated annotators label; False: a person labels in a browser
    folder: Path  # working folder of the run
    data: Path | None  # COCO file; None generates pictures
    images: Path | None  # folder of the COCO file's images; None: `images` beside the file
    labels: str = "brush"  # a key of CONTROLS
    crowds: str = "ask"  # the meaning of objects with iscrowd 1 in `data`: objects, ignore, or ask
    pool_size: int = 150  # pictures to label
    held_out_size: int = 60  # pictures that only measure the model
    budget: int = 16  # labels that start a round
    blank_share: float = 0.0  # share of tasks without pre-annotations, 0 to 0.5
    rounds: int = 4  # training rounds of a run with simulated annotators
    studio_port: int | None = None  # None: a free port
    backend_port: int | None = None
    control_share: float = 0.0  # share of the queue in random order, 0 to 0.5


def options_from(environment: Mapping[str, str]) -> Options:
    """Read the options from environment variables.

    Raises:
        DemoError: a variable has a value that cannot be used.
    """
    data, images = environment.get("DEMO_DATA"), environment.get("DEMO_IMAGES")
    labels = environment.get("DEMO_LABELS", "brush")
    if labels not in CONTROLS:
        raise DemoError(f"DEMO_LABELS: expected one of {', '.join(CONTROLS)}, got {labels!r}.")
    if data and not Path(data).is_file():
        raise DemoError(f"DEMO_DATA: expected a COCO file, found none at {data!r}.")
    return Options(
        auto=environment.get("DEMO") == "auto",
        folder=Path(environment.get("DEMO_FOLDER", ROOT / ".demo")),
        crowds=environment.get("DEMO_CROWDS", "ask"),
        data=Path(data) if data else None,
        images=Path(images) if images else None,
        labels=labels,
        blank_share=_share(environment, "DEMO_BLANK"),
        control_share=_share(environment, "DEMO_CONTROL"),
        **_numbers(environment),
    )


def _share(environment: Mapping[str, str], name: str) -> float:
    """A share from the environment, 0 to 0.5; 0 if it is not set."""
    given = environment.get(name, "0")
    try:
        share = float(given)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 0.5:
        raise DemoError(f"{name}: expected a share from 0 to 0.5, got {given!r}.")
    return share


def _numbers(environment: Mapping[str, str]) -> dict[str, Any]:
    """Field -> whole number, for the variables that are set."""
    given: dict[str, Any] = {}
    for field, name in NUMBERS.items():
        if name in environment:
            if not environment[name].isdigit() or int(environment[name]) < 1:
                raise DemoError(f"{name}: expected a number from 1 on, got {environment[name]!r}.")
            given[field] = int(environment[name])
    return given
