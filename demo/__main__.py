"""`make demo`: the main job against a real Label Studio that it starts itself.

DEMO=auto labels by itself and ends with a summary; DEMO_DATA and DEMO_IMAGES take a COCO data set;
DEMO_LABELS is brush (default), polygon or rectangle; DEMO_CROWDS says what objects of iscrowd 1 in
that data set are: objects, ignore, or ask (default), which refuses where they are many.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.panel import Panel

from demo.auto import in_words, perform
from demo.environment import BACKEND_USER, CONTROLS, ROOT, Options, Stage, set_stage
from demo.studio import DemoError
from taudis.errors import TaudisError


def options_from(environment: dict[str, str]) -> Options:
    """What the environment asks for.

    Raises:
        DemoError: a variable has a value that cannot be used.
    """
    data, images = environment.get("DEMO_DATA"), environment.get("DEMO_IMAGES")
    labels = environment.get("DEMO_LABELS", "brush")
    if labels not in CONTROLS:
        raise DemoError(f"DEMO_LABELS: expected one of {', '.join(CONTROLS)}, got {labels!r}.")
    if data and not Path(data).is_file():
        raise DemoError(f"DEMO_DATA: expected a COCO file, found none at {data!r}.")
    numbers = {
        "pool_size": "DEMO_POOL",
        "held_out_size": "DEMO_HELD_OUT",
        "budget": "DEMO_BUDGET",
        "rounds": "DEMO_ROUNDS",
        "studio_port": "DEMO_STUDIO_PORT",
        "backend_port": "DEMO_BACKEND_PORT",
    }
    given: dict[str, Any] = {}
    for field, name in numbers.items():
        if name in environment:
            if not environment[name].isdigit() or int(environment[name]) < 1:
                raise DemoError(f"{name}: expected a number from 1 on, got {environment[name]!r}.")
            given[field] = int(environment[name])
    return Options(
        auto=environment.get("DEMO") == "auto",
        folder=Path(environment.get("DEMO_FOLDER", ROOT / ".demo")),
        crowds=environment.get("DEMO_CROWDS", "ask"),
        data=Path(data) if data else None,
        images=Path(images) if images else None,
        labels=labels,
        **given,
    )


def hold(stage: Stage, options: Options, console: Console) -> None:
    """Leave the stage to a person until Ctrl-C, telling what the backend does."""
    people = "\n".join(f"  log in as   {one.email}  /  {one.password}" for one in stage.people)
    console.print(
        Panel(
            f"Label Studio  {stage.studio.url}/projects/{stage.project}\n"
            f"backend       {stage.backend.url}/  ({BACKEND_USER} / {stage.backend.password})\n"
            f"{people}\n\n"
            "1. Open the project and press Label All Tasks.\n"
            "2. Correct what is drawn (nothing is, before the first model), Submit.\n"
            f"3. After {options.budget} labels a round runs; the next task comes from the new\n"
            "   order, with the new model's pre-annotations. Settings > Model > Start Training\n"
            "   starts a round at once.\n\n"
            "Ctrl-C ends everything.",
            title="TAUDIS demo",
        )
    )
    from backend.store.database import Store

    store, told = Store(stage.backend.data), ""
    while True:
        rounds = store.rounds(stage.project, limit=1)
        now = ""
        if rounds:
            ended = rounds[0].outcome
            now = f"round {rounds[0].number} ({rounds[0].kind}): "
            now += f"{ended}. {rounds[0].message}" if ended else in_words(rounds[0]).split(",")[0]
        if now != told and now:
            console.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {now}")
            told = now
        time.sleep(2)


def main() -> int:
    """Run the demonstration. Returns the exit status."""
    auto = os.environ.get("DEMO") == "auto"
    console = Console(stderr=auto)
    # A closed or killed terminal must not leave servers behind: both unwind like Ctrl-C.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda number, _frame: sys.exit(128 + number))
    try:
        options = options_from(dict(os.environ))
        with set_stage(options, lambda text: console.print(f"[bold]*[/] {text}")) as stage:
            if not options.auto:
                hold(stage, options, console)
            summary = perform(options, stage, console)
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 0
    except (DemoError, TaudisError) as error:
        console.print(f"[bold red]error:[/] {error}", highlight=False)
        return 1
    print(json.dumps(summary))
    wrong = shortcomings(summary, options)
    for text in wrong:
        console.print(f"[bold red]not as promised:[/] {text}", highlight=False)
    if not wrong:
        console.print(f"[bold green]as promised:[/] {in_short(summary)}", highlight=False)
    return 1 if wrong else 0


def in_short(summary: dict[str, Any]) -> str:
    """A sentence on a run in which all went well."""
    first, last = summary["map50"][0], summary["map50"][-1]
    apart = sum(summary["apart"].values())
    return (
        f"{summary['served_in_order']} of {summary['served']} tasks were the best of the published"
        f" order ({apart} not counted, since something changed while they were asked for);"
        f" {summary['annotations_in_last_snapshot']} of {summary['annotations']} annotations are in"
        f" the last snapshot; mAP50 {'rose' if last > first else 'did not rise'}: {first:.2f} with"
        f" {summary['labels'][0]} labels, {last:.2f} with {summary['labels'][-1]}."
    )


def shortcomings(summary: dict[str, Any], options: Options) -> list[str]:
    """What a run of DEMO=auto must not show; [] if all is well.

    That the model gets better is demanded of the generated pictures alone: data of one's own may
    need more labels, or longer training, than a demonstration has.
    """
    found = []
    if not summary["served"] or summary["served"] != summary["served_in_order"]:
        found.append(f"{summary['served_in_order']} of {summary['served']} served in order")
    if summary["annotations"] != summary["annotations_in_last_snapshot"]:
        found.append("the last snapshot does not hold every annotation")
    if options.data is None and summary["map50"][-1] <= summary["map50"][0]:
        found.append(f"the last model is no better than the first: {summary['map50']}")
    return found


if __name__ == "__main__":
    sys.exit(main())
