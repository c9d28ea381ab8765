"""DEMO=auto: two simulated annotators label until the wanted number of rounds has run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.live import Live

from backend.label_studio.label_config import parse_label_config
from demo import summary
from demo.addresses import Addresses
from demo.annotator import Annotator, Truth
from demo.annotators import Annotators
from demo.environment import Environment
from demo.errors import DemoError
from demo.options import Options
from demo.progress import Progress
from demo.waiting import wait_for

FAST, SLOW = 1.0, 12.0
"""Seconds that a simulated annotator takes for a task: between rounds, and during a round."""
SKIP_PART = 0.04
"""Share of the tasks that an annotator skips."""
ROUND_LIMIT = 900.0
"""Time limit for a round, seconds; also for the labels, since a round may pause the annotators."""


def run(options: Options, environment: Environment, console: Console) -> dict[str, Any]:
    """Label with simulated annotators for `options.rounds` rounds. Returns the run's summary.

    The annotators stop before the last round, which Start Training starts. Its snapshot can then be
    compared with every annotation that Label Studio acknowledged.

    Raises:
        DemoError: an annotator gave up, the backend ended, a round failed, or a time limit passed.
    """
    console.print(Addresses.of(environment).in_lines(), highlight=False)
    progress = Progress(options, environment, console, _annotators(options, environment))
    progress.record_rounds()
    with Live(console=console, refresh_per_second=2, transient=False) as live:
        _label(progress, live)
        environment.studio.start_training(environment.backend_id)
        _finish(progress, live)
        live.update(progress.table())
    return summary.summarise(progress)


def _annotators(options: Options, environment: Environment) -> Annotators:
    """One annotator for each account, with the ground truth of the data set."""
    config = parse_label_config(environment.current()["label_config"])
    truth = Truth(environment.dataset.samples, environment.dataset.label_map, config)
    log = options.folder / "run" / "annotators.jsonl"
    return Annotators([
        Annotator(
            environment.studio.url, person.token, environment.project, truth, name,
            pause=FAST, skip_part=SKIP_PART, log=log,
        )
        for person, name in zip(environment.people, ("ada", "ben"), strict=False)
    ])  # fmt: skip


def _wait_until(
    progress: Progress, live: Live, done: Callable[[], bool], within: float, what: str
) -> None:
    """Wait for a condition. Meanwhile set the annotators' pace and redraw the table."""

    def check() -> bool:
        _check_running(progress)
        _set_pace(progress)
        progress.read_order()
        live.update(progress.table())
        progress.write_line()
        return done()

    wait_for(check, within, what, pause=0.5)


def _label(progress: Progress, live: Live) -> None:
    """Label through all rounds but the last, and then as many tasks as the budget."""
    annotators, options = progress.annotators, progress.options
    annotators.start()
    for number in range(1, options.rounds):

        def finished(number: int = number) -> bool:
            return len(progress.finished()) >= number

        _wait_until(progress, live, finished, _round_limit(options), f"round {number}")
        progress.record_rounds()
    wanted = len(annotators.labelled) + options.budget

    def enough() -> bool:
        if options.control_share and progress.store.open_rounds():
            return False  # Start Training would interrupt the comparison of the arms
        return len(annotators.labelled) >= wanted or annotators.idle

    _wait_until(progress, live, enough, _round_limit(options), "labels after the round")
    annotators.stop()


def _finish(progress: Progress, live: Live) -> None:
    """Wait until a round has read every annotation; then record what Label Studio serves."""
    total = progress.annotated()

    def complete() -> bool:
        last = progress.finished()[-1:]
        ended = bool(last) and not progress.store.open_rounds()
        return ended and progress.in_snapshot(last[0]) >= total

    # A running round must end first, so the time limit is that of two rounds.
    _wait_until(progress, live, complete, 2 * _round_limit(progress.options), "the last round")
    progress.record_rounds()
    progress.annotators.ask_once()  # so that the last order is also checked


def _round_limit(options: Options) -> float:
    """Time limit for a round, seconds. A comparison of two arms trains two more models."""
    return ROUND_LIMIT * (3 if options.control_share else 1)


def _check_running(progress: Progress) -> None:
    """Raise DemoError if an annotator gave up or the backend ended."""
    progress.annotators.check()
    if not progress.environment.backend.running:
        raise DemoError("The backend ended; its log is backend.log in the run's folder.")


def _set_pace(progress: Progress) -> None:
    """Label fast between rounds, and slowly and at most `budget` tasks during a round.

    With a control arm, annotators wait until a round's order is served, because earlier labels
    would belong to both arms. They also stop shortly before the next round is due, because it would
    interrupt the comparison of the arms: each has a task open and may ask for one more.
    """
    options, members = progress.options, len(progress.annotators.members)
    open_ = [round_ for round_ in progress.store.open_rounds() if round_.kind == "train"]
    read = open_[0].steps.get("synced", {}).get("labelled") if open_ else None
    labelled, most = len(progress.annotators.labelled), options.budget
    if options.control_share and open_:
        most = max(1, most - 2 * members) if "flipped" in open_[0].steps else 0
    enough = read is not None and labelled >= read + most
    progress.annotators.set_pace(SLOW if open_ else FAST, paused=enough)
