"""Options of the commands that can run on a ray cluster."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperCommand

OPTION, LOCAL = "--ray", "local"

RayAddress = Annotated[
    str | None,
    typer.Option(
        OPTION,
        metavar="[ADDRESS]",
        help="Run on a ray cluster: HOST:PORT; auto: the one of this machine; local, or no address:"
        " one that is started for this command. Needs the extra `ray`. docs/scale.md says more.",
    ),
]
Actors = Annotated[
    int | None,
    typer.Option(
        help="Processes of --ray that have the model; default: one a GPU, else one a core."
    ),
]


class WithRay(TyperCommand):
    """A command whose option --ray may have no value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; `--ray` at the end or before another option means `--ray local`."""
        given: list[str] = []
        for word, after in zip(args, [*args[1:], "-"], strict=True):
            given += [word, LOCAL] if word == OPTION and after.startswith("-") else [word]
        return super().parse_args(ctx, given)
