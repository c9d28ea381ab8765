"""What a running demonstration says about rounds, and that the addresses stay in view."""

import io

import pytest
from rich.console import Console
from rich.live import Live

from backend.store.rounds import STEPS, Round
from demo.addresses import Addresses
from demo.by_hand import RoundLines
from demo.progress import in_words
from demo.studio import Login

PEOPLE = Login("one@demo.example", "secret-1", ""), Login("two@demo.example", "secret-2", "")
ADDRESSES = Addresses("http://127.0.0.1:1/projects/3", PEOPLE, "http://127.0.0.1:2/", "secret-3")


def round_(kind="train", done=(), number=2, progress=None, outcome=None, message=""):
    """A round with finished steps; ended if it has an outcome."""
    ended = 5.0 if outcome else None
    steps = {name: {} for name in done}
    return Round(
        number, 3, number, kind, "", 0.0, ended, outcome, message, progress or {}, steps
    )  # fmt: skip


@pytest.fixture
def lines():
    """Makes RoundLines of a terminal or another output; `printed()` is what it got so far."""

    def make(terminal):
        file = io.StringIO()
        console = Console(file=file, force_terminal=terminal, width=200, color_system=None)
        live = Live(console=console, auto_refresh=False, transient=True)
        made = RoundLines(live, ADDRESSES)
        made.printed = file.getvalue
        made.drawn = lambda: str(live.renderable)
        return made

    return make


@pytest.mark.parametrize("kind", STEPS)
def test_a_step_is_in_the_words_of_the_status_page(kind):
    for place, step in enumerate(STEPS[kind]):
        assert step not in in_words(round_(kind, STEPS[kind][:place])), step
    progress = {"step": "scored", "done": 3, "total": 10, "eta_s": 20.0}
    scoring = round_("train", STEPS["train"][:3], progress=progress)
    assert in_words(scoring) == "looking at the unlabelled images 3 of 10, about 20 s left"


def test_in_a_terminal_steps_are_redrawn_and_only_results_are_printed(lines):
    found = lines(True)
    for done in range(6):
        found.update([round_(done=STEPS["train"][:done])])
    assert found.printed() == ""
    assert found.drawn() == "round 2 (training): publishing the order"
    found.update([round_(done=STEPS["train"], outcome="served", message="mAP50 0.4")])
    assert "round 2 (training): served. mAP50 0.4" in found.printed() and found.drawn() == ""


def test_other_outputs_get_one_line_a_step(lines):
    found = lines(False)
    for done in (0, 1, 1, 1):
        progress = {"step": STEPS["train"][done], "done": 1, "total": 9, "eta_s": 30.0}
        found.update([round_(done=STEPS["train"][:done], progress=progress)])
    assert [line[9:] for line in found.printed().splitlines()] == [
        "round 2 (training): reading labels 1 of 9, about 30 s left",
        "round 2 (training): training 1 of 9, about 30 s left",
    ]


def test_addresses_and_passwords_come_again_after_each_new_order(lines):
    found = lines(True)
    first = round_("first", STEPS["first"], 1, outcome="served", message="the first order")
    found.update([first])
    assert "round 1 (first order): served" in found.printed()
    assert "secret" not in found.printed(), "the box above has just said it"
    ended = round_(done=STEPS["train"], outcome="served")
    for _ in range(3):
        found.update([ended, first])
    for said in ("http://127.0.0.1:1/projects/3", "http://127.0.0.1:2/", "secret-1", "secret-2",
                 "secret-3"):  # fmt: skip
        assert found.printed().count(said) == 1, said
