"""`make demo` without DEMO=auto: a person labels in a browser until Ctrl-C."""

from __future__ import annotations

import time
from typing import NoReturn

from rich.console import Console
from rich.panel import Panel

from backend.store.database import Store
from backend.store.rounds import Round
from demo.backend_process import BACKEND_USER
from demo.environment import Environment
from demo.options import Options
from demo.progress import in_words


def run(options: Options, environment: Environment, console: Console) -> NoReturn:
    """Print addresses and logins, then a line whenever a round changes. Only Ctrl-C ends it."""
    people = "\n".join(
        f"  log in as   {one.email}  password {one.password}" for one in environment.people
    )
    studio, backend = environment.studio, environment.backend
    console.print(
        Panel(
            f"Label Studio  {studio.url}/projects/{environment.project}\n"
            f"{people}\n"
            f"Status page   {backend.url}/\n"
            f"  log in as   {BACKEND_USER}  password {backend.password}\n\n"
            "1. Open the project and press Label All Tasks.\n"
            "2. Correct the drawn regions (there are none before the first model), Submit.\n"
            f"3. After {options.budget} labels a round runs for some two minutes. Then tasks come\n"
            "   in the new order, with the new model's pre-annotations. Start Training, in the\n"
            "   project's Settings > Model, starts a round at once.\n\n"
            "Two accounts: two people can label at once. Ctrl-C ends everything in some seconds.",
            title="TAUDIS demo",
        )
    )
    store, last_line = Store(backend.data), ""
    while True:
        rounds = store.rounds(environment.project, limit=1)
        line = _line(rounds[0]) if rounds else ""
        if line and line != last_line:
            console.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {line}")
            last_line = line
        time.sleep(2)


def _line(round_: Round) -> str:
    """A round's step, or its outcome with the message."""
    outcome = round_.outcome
    state = f"{outcome}. {round_.message}" if outcome else in_words(round_).split(",")[0]
    return f"round {round_.number} ({round_.kind}): {state}"
