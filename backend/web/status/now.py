"""The current state of a project: in a word, the running round, and what needs a person."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from backend.label_studio.left_out import Summary
from backend.store.rounds import STEPS, Round
from backend.store.state import ProjectState
from backend.web.status.words import STEP_WORDS, duration, moment

State = Literal["attention", "working", "cold", "ready", "off"]
"""attention: a person should act. off: disconnected or not visible. Each has its colour."""


@dataclass(frozen=True)
class Step:
    """A step of the running round."""

    name: str
    state: Literal["done", "now", "next"]
    took: str = ""


@dataclass(frozen=True)
class Running:
    """The open round."""

    number: int
    reason: str
    step: str
    done: int
    total: int
    left: str  # time left in this step; '' if unknown
    since: str
    steps: Sequence[Step] = ()

    @property
    def line(self) -> str:
        """Step, progress and time left in one sentence without its full stop."""
        counted = f" {self.done} of {self.total}" if self.total else ""
        left = f", about {self.left} left" if self.left else ""
        return f"{self.step}{counted}{left}"


@dataclass(frozen=True)
class Now:
    """The current state of a project."""

    state: State
    word: str  # the state for people
    sentence: str
    running: Running | None
    next_round: str
    changed: int
    wanted: int
    alerts: Sequence[tuple[str, str]] = field(default=())  # (heading, sentence)
    unusable: str = ""  # counts of regions in changed tasks that the next training cannot use
    reasons: Sequence[str] = ()  # the first of these regions, with the reason and a remedy


def now_of(state: ProjectState, rounds: Sequence[Round], wanted: int, *, arms: bool = False) -> Now:
    """The current state of a project.

    Args:
        state: the project's state.
        rounds: its newest rounds, newest first; at least the open and the last ended round.
        wanted: number of changed tasks that starts a round.
        arms: whether the queue has a control arm, so that rounds compare both arms.
    """
    open_ = next((r for r in rounds if r.ended is None), None)
    ended = next((r for r in rounds if r.ended is not None), None)
    alerts = [*_alerts(state), *_failure(ended)]
    running = None if open_ is None else running_round(open_, arms=arms)
    kind, word, sentence = _state(state, running, ended, alerts)
    unusable = Summary.from_json(state.unusable or {})
    return Now(
        kind,
        word,
        sentence,
        running,
        progress_to_round(state, wanted, open_, ended),
        min(state.changed or 0, wanted),
        wanted,
        alerts,
        unusable.counted(),
        unusable.first,
    )


def _state(
    state: ProjectState, running: Running | None, ended: Round | None, alerts: Sequence[Any]
) -> tuple[State, str, str]:
    """The state, its word for people, and a sentence about what happens now."""
    if state.gone:
        return "off", "Not visible", "Label Studio does not list this project for our user any more"
    if state.disconnected:
        again = "connect it again in its Settings > Model, or with `python -m backend connect`"
        return "off", "Disconnected", f"a person disconnected the project; {again}"
    doing = f"Round {running.number}: {running.line}" if running else ""
    if state.waiting_reason:
        return "attention", "Held up", doing or "nothing runs until the reason is gone"
    if running:
        return ("attention" if alerts else "working"), "Working", doing
    if ended is not None and ended.outcome == "failed":
        return "attention", "Failed", f"round {ended.number} failed; the previous order is served"
    if ended is not None and ended.steps.get("synced", {}).get("pool") == 0:
        sentence = "every task is labelled; new tasks get an order automatically"
        return ("attention" if alerts else "ready"), "Nothing to label", sentence
    if not state.serving:
        return "cold", "Connecting", "the worker connects the project and makes a first order"
    waiting = "waits for labels"
    if not state.model:
        waiting = "the first order is served; label to train the first model"
        return ("attention" if alerts else "cold"), "No model yet", waiting
    if alerts:
        return "attention", "Needs a look", "read the note; meanwhile it waits for labels"
    return "ready", "Ready", waiting


def _alerts(state: ProjectState) -> list[tuple[str, str]]:
    """Notices for people, as pairs of a heading and a sentence."""
    found = (
        ("What holds it up", state.waiting_reason),
        ("Note", state.message),
        ("Changed in Label Studio", state.changed_by_person),
        ("Label Studio", state.pages),
        ("No pre-annotations", state.scores_only),
        *(
            (f"The worker cannot {job}", reason)
            for job, reason in state.cleaner_waits.items()
            if reason and state.armed and not state.gone
        ),
    )
    return [(heading, text) for heading, text in found if text]


def _failure(ended: Round | None) -> list[tuple[str, str]]:
    """The error of the last ended round, if it failed."""
    if ended is None or ended.outcome != "failed":
        return []
    when = moment(ended.ended or ended.started)
    again = "Press Start Training to try again at once. The worker also retries automatically."
    return [(f"Round {ended.number} failed ({when})", f"{_sentence(ended.message)} {again}")]


def _sentence(text: str) -> str:
    """The text with a full stop."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def progress_to_round(
    state: ProjectState, wanted: int, open_: Round | None, ended: Round | None = None
) -> str:
    """How many changed tasks the next round still needs, or when it begins if there are enough.

    `open_` is the queued or running round. Once it has read the labels and the changes were counted
    again, the count has only changes that this round lacks. `ended` is the last ended round.
    """
    if state.disconnected:
        return "none while the project is disconnected"
    if state.changed is None:
        return f"the worker has not counted the labels yet; {wanted} changed tasks start a round"
    changed = state.changed
    if open_ is not None and open_.kind == "train":
        if "synced" in open_.steps and state.changed_since == open_.number:
            return _beside_training(changed, wanted)
        begins = f"round {open_.number}, queued or running, takes those from before its start"
    elif open_ is not None:
        begins = f"the next round begins after round {open_.number}"
    elif ended is not None and (ended.kind, ended.outcome) == ("train", "failed"):
        begins = "the next round begins after a pause, because the last one failed"
    else:
        begins = "the next round begins as soon as the worker is free"
    trains = open_ is not None and open_.kind == "train"
    since = " since the last training" if state.changed_since and not trains else ""
    if changed < wanted:
        return f"{changed} of {wanted} changed tasks{since}, {wanted - changed} to go"
    return f"enough labels are there: {_changed(changed)}{since} ({wanted} start a round); {begins}"


def _beside_training(changed: int, wanted: int) -> str:
    """The count of tasks that changed since the running training read the labels, in words."""
    if changed < wanted:
        to_go = f"{changed} of {wanted} changed tasks, {wanted - changed} to go"
    else:
        to_go = f"{wanted} are enough: it begins after this round"
    if not changed:
        return f"the training that runs has every label; {to_go}"
    return (
        f"{_changed(changed)} since this training read the labels; it does not have these labels,"
        f" the next training does ({to_go})"
    )


def _changed(changed: int) -> str:
    return "1 task has changed" if changed == 1 else f"{changed} tasks have changed"


def running_round(round_: Round, *, arms: bool = False) -> Running:
    """What an open round does now, in words. `arms`: as for `now_of`."""
    progress = round_.progress
    step = str(progress.get("step") or round_.next_step or "")
    eta = progress.get("eta_s")
    return Running(
        round_.number,
        round_.reason,
        STEP_WORDS.get(step, step),
        int(progress.get("done") or 0),
        int(progress.get("total") or 0),
        duration(eta) if isinstance(eta, (int, float)) else "",
        duration(time.time() - round_.started),
        _steps(round_, arms),
    )


def _steps(round_: Round, arms: bool) -> list[Step]:
    """All steps of an open round: done with its duration, now, or next.

    Without a control arm the last step, the comparison of both arms, is none.
    """
    found, before = [], round_.started
    for name in STEPS[round_.kind]:
        if name == "compared" and not arms:
            continue
        words = STEP_WORDS[name].partition(" (")[0]
        if name in round_.steps:
            at = round_.times.get(name, before)
            seconds = round_.steps[name].get("seconds", at - before)
            found.append(Step(words, "done", duration(float(seconds))))
            before = at
        else:
            found.append(Step(words, "now" if name == round_.next_step else "next"))
    return found
