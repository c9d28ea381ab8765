"""`make demo` without DEMO=auto: a person labels in a browser until Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NoReturn

from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from backend.store.database import Store
from backend.store.rounds import Round
from backend.web.status.words import KIND_WORDS
from demo.addresses import Addresses
from demo.environment import Environment
from demo.options import Options
from demo.progress import in_words


def run(options: Options, environment: Environment, console: Console) -> NoReturn:
    """Print addresses and logins, then follow the rounds. Only Ctrl-C ends it."""
    addresses = Addresses.of(environment)
    console.print(
        Panel(
            f"{addresses.in_lines()}\n\n"
            "1. Open the project and press Label All Tasks.\n"
            "2. Correct the drawn regions (none before the first model), Submit.\n"
            f"3. After {options.budget} labels a round runs for some two minutes. Then tasks come\n"
            "   in the new order, with the new model's pre-annotations. A round\n"
            "   starts at once with Start Training, in Settings > Model.\n\n"
            "Two accounts: two people can label at once. Ctrl-C ends everything.",
            title="TAUDIS demo: the first order is served",
        )
    )
    store = Store(environment.backend.data)
    with Live(console=console, refresh_per_second=2, transient=True) as live:
        lines = RoundLines(live, addresses)
        while True:
            lines.update(store.rounds(environment.project, limit=5))
            time.sleep(2)  # a person sees no difference to a shorter pause


class RoundLines:
    """Prints the result of each round, and after each new order the addresses again.

    A terminal shows the step of the running round in one line that is redrawn, so steps do not
    scroll the addresses away. Other outputs get one line for each step.

    Args:
        live: the redrawn line, on the console that gets the other lines.
        addresses: printed again after a round, but not after the first order, which is served when
            the demonstration prints them first.
    """

    def __init__(self, live: Live, addresses: Addresses) -> None:
        self._live, self._addresses = live, addresses
        self._ended = 0  # number of the last round whose result is printed
        self._step = ""

    def update(self, rounds: Sequence[Round]) -> None:
        """Print what is new. rounds: the newest rounds, newest first."""
        for round_ in reversed(rounds):
            if round_.ended is not None and round_.number > self._ended:
                self._ended = round_.number
                self._print(f"{_name(round_)}: {round_.outcome}. {round_.message}")
                if round_.kind != "first":
                    self._live.console.print(self._addresses.in_lines(), highlight=False)
        open_ = rounds[0] if rounds and rounds[0].ended is None else None
        line = f"{_name(open_)}: {in_words(open_)}" if open_ else ""
        if self._live.console.is_terminal:
            self._live.update(Text(line, style="dim"))
        elif open_ and (step := f"{open_.number} {open_.next_step}") != self._step:
            self._step = step
            self._print(line)

    def _print(self, line: str) -> None:
        self._live.console.print(
            Text.assemble((time.strftime("%H:%M:%S"), "dim"), f" {line}"), highlight=False
        )


def _name(round_: Round) -> str:
    """A round's number and kind, as the status page names them."""
    return f"round {round_.number} ({KIND_WORDS[round_.kind]})"
