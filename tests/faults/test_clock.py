"""F17: the clocks of Label Studio and of the backend jump an hour; no round is lost or doubled."""

import random

import pytest

from backend.worker.triggers import AFTER_FAILURE_SECONDS
from tests.faults.driver import Driver, Event, Jumps
from tests.faults.schedules import Schedules

HOUR = 3600
BOTH_WAYS = pytest.mark.parametrize(
    "seconds", [pytest.param(HOUR, id="forward"), pytest.param(-HOUR, id="back")]
)
EACH = 3  # labels that start a round


@pytest.fixture
def driver(make_loop, monkeypatch):
    """A project whose webhooks are lost, so that the poll alone can find a change."""
    made = Driver(make_loop(TRAIN_AFTER=str(EACH)), monkeypatch, tasks=10, drawn=True)
    made.happen(Event("lost"))
    return made


def label(driver, number):
    for each in range(number):
        driver.happen(Event("label", each))


def turn_until_rest(driver):
    """Three turns; the numbers of the rounds that they ran."""
    before = driver.project.rounds[0].number
    for _ in range(3):
        driver.happen(Event("turn"))
    assert not driver.loop.store.open_rounds()
    return [round_.number for round_ in driver.project.rounds if round_.number > before]


class Counted:
    """How many rounds ran beside how many were due."""

    def __init__(self, driver):
        self.driver, self.lost, self.doubled = driver, 0, 0

    def due(self, number):
        ran = len(turn_until_rest(self.driver))
        self.lost += max(0, number - ran)
        self.doubled += max(0, ran - number)


@pytest.mark.slow
@BOTH_WAYS
@pytest.mark.fault("F17", "forward", "back")
def test_labels_edits_and_new_tasks_are_found_after_a_jump(driver, seconds, figures):
    rounds = Counted(driver)
    label(driver, EACH)
    rounds.due(1)
    driver.clock.jump(seconds)
    label(driver, EACH - 1)
    rounds.due(0)  # too few labels
    driver.happen(Event("edit", 0))
    rounds.due(1)
    driver.happen(Event("import", 1))
    rounds.due(1)  # they have no place in the order
    driver.clock.jump(-seconds)
    for number in range(EACH):
        driver.happen(Event("delete", number))
    rounds.due(1)
    rounds.due(0)
    found = driver.history().violations()
    lost = rounds.lost + sum(each.name == "lost annotation" for each in found)
    ended = [round_.outcome for round_ in driver.project.rounds]
    figures(jumps=driver.clock.count, rounds=len(ended), lost=lost, doubled=rounds.doubled)
    assert found == [] and lost == rounds.doubled == 0
    assert set(ended) == {"served"}


@pytest.mark.slow
def test_after_the_clock_has_come_past_the_watermark_again_nothing_is_forgotten(driver):
    """Labels of the hour that came twice lie before the watermark for good."""
    label(driver, EACH)
    turn_until_rest(driver)
    driver.clock.jump(-HOUR)
    label(driver, EACH - 1)
    turn_until_rest(driver)
    driver.clock.jump(HOUR + 60)
    label(driver, 1)
    assert len(turn_until_rest(driver)) == 1
    assert driver.history().violations() == []


@pytest.mark.slow
@BOTH_WAYS
@pytest.mark.fault("F17", "forward", "back")
def test_a_failed_round_is_tried_again_after_a_jump(driver, seconds, monkeypatch, figures):
    """It waits for its pause once more at most; before, it waited until the clock came there."""
    from backend.worker import round as steps

    def fails(*_):
        raise MemoryError

    rounds = Counted(driver)
    label(driver, EACH)
    with monkeypatch.context() as patch:
        patch.setattr(steps, "STEP_FUNCTIONS", {**steps.STEP_FUNCTIONS, "trained": fails})
        rounds.due(1)
    assert driver.project.rounds[0].outcome == "failed"
    rounds.due(0)
    driver.clock.jump(seconds)
    driver.clock.ahead += AFTER_FAILURE_SECONDS  # that time passes
    rounds.due(1)
    figures(jumps=driver.clock.count, lost=rounds.lost, doubled=rounds.doubled)
    assert rounds.lost == rounds.doubled == 0
    assert driver.project.rounds[0].outcome == "served"


@pytest.mark.slow
@BOTH_WAYS
@pytest.mark.fault("F17", "forward", "back")
def test_a_jump_in_the_middle_of_a_round(tmp_path, untrained_model, seconds, figures, full):
    """At random points of rounds, with labels before and after; Start Training is pressed once."""
    dice, violations, jumps, extra = random.Random(17), [], 0, 0
    for _ in range(6 if full else 1):
        with Schedules(tmp_path, untrained_model, drawn=True).driver() as driver:
            label(driver, 2)
            driver.happen(Event("train"))
            jump = Event("jump", int(seconds > 0))
            points = (dice.randrange(1, 100), dice.randrange(100, 140))
            plan = ((points[0], jump), (points[0] + 1, Event("label", 1)), (points[1], jump))
            before = driver.project.rounds[0].number
            driver.happen(Event("turn", 0, plan))
            for _ in range(3):
                driver.happen(Event("turn"))
            extra += driver.project.rounds[0].number - before - 1
            jumps += driver.clock.count
            driver.settle()
            violations += driver.history().violations()
    lost = sum(each.name == "lost annotation" for each in violations)
    figures(jumps=jumps, lost=lost, doubled=extra)
    assert not violations and extra == 0 < jumps


def test_a_request_for_the_worker_has_no_time_limit_by_the_clock(loop, monkeypatch):
    """Start Training before a jump is done after it."""
    project = loop.project(4)
    project.label_some(2)
    project.start_training()
    Jumps(loop.studio, monkeypatch).jump(-HOUR)
    loop.turn()
    assert [round_.kind for round_ in project.rounds] == ["train", "first"]
