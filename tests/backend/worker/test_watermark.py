"""The watermark: what changed is found, although Label Studio's clock went back meanwhile."""

import pytest

from backend.label_studio import clock
from backend.worker import round as rounds
from backend.worker import watermark
from tests.faults.driver import Driver, Event

HOUR = 3600
EACH = 3  # labels that start a round


@pytest.fixture
def driver(make_loop, monkeypatch):
    """A project whose webhooks are lost, with as many labels as start a round."""
    made = Driver(make_loop(TRAIN_AFTER=str(EACH)), monkeypatch, tasks=10, drawn=True)
    made.happen(Event("lost"))
    label(made)
    return made


def label(driver):
    for number in range(EACH):
        driver.happen(Event("label", number))


def turns(driver):
    """Three turns; the kinds of the rounds that they ran, the first one first."""
    before = driver.project.rounds[0].number
    for _ in range(3):
        driver.happen(Event("turn"))
    assert not driver.loop.store.open_rounds()
    ran = [round_ for round_ in driver.project.rounds if round_.number > before]
    assert {round_.outcome for round_ in ran} <= {"served"}
    return [round_.kind for round_ in reversed(ran)]


def look(driver):
    """The scheduler polls, as it does while another thread runs a round."""
    driver.loop.worker.scheduler_turn(driver.loop.lease)


def in_step(driver, monkeypatch, step, happens):
    """Let something happen once, at the start of a step of the next round that has it."""
    real, todo = rounds.STEP_FUNCTIONS[step], [happens]

    def first(context, round_, report):
        if todo:
            todo.pop()()
        return real(context, round_, report)

    monkeypatch.setattr(rounds, "STEP_FUNCTIONS", {**rounds.STEP_FUNCTIONS, step: first})


def clock_back(driver):
    return driver.loop.store.project(driver.project.id).state.clock_back


def context_of(driver):
    return driver.loop.worker._context(driver.loop.lease, driver.project.id)


@pytest.mark.slow
@pytest.mark.fault("F17", "forward", "back")
def test_labels_are_found_if_the_clock_goes_back_and_comes_again_during_a_round(
    driver, monkeypatch, figures
):
    """The scheduler polls in between, so the worker may even be killed afterwards."""

    def there_and_back():
        driver.clock.jump(-HOUR)
        label(driver)
        look(driver)
        assert clock_back(driver) == driver.loop.store.open_rounds()[0].id
        monkeypatch.setattr(clock, "_jumps", {})  # as in a process that has just started
        driver.clock.jump(HOUR + 60)

    in_step(driver, monkeypatch, "trained", there_and_back)
    assert turns(driver) == ["train", "train"]
    assert turns(driver) == []
    figures(jumps=driver.clock.count)


@pytest.mark.slow
@pytest.mark.fault("F17", "back")
def test_labels_are_found_if_a_round_takes_longer_than_the_clock_went_back(
    driver, monkeypatch, figures
):
    """Nobody asks Label Studio meanwhile, and then its clock is past the watermark again."""

    def back():
        driver.clock.jump(-HOUR)
        label(driver)
        driver.clock.wait(HOUR + 60)

    in_step(driver, monkeypatch, "trained", back)
    assert turns(driver) == ["train", "train"]
    assert turns(driver) == []
    figures(jumps=driver.clock.count)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [-HOUR, HOUR])
def test_a_round_that_reads_its_labels_after_a_jump_keeps_its_watermark(driver, seconds):
    assert turns(driver) == ["train"]
    before = driver.project.rounds[0].id
    driver.clock.jump(seconds)
    label(driver)
    assert turns(driver) == ["train"]
    assert clock_back(driver) == (before if seconds < 0 else 0)
    asked = []
    watermark.since(context_of(driver), driver.project.rounds[0], lambda *call: asked.append(call))
    assert len(asked) == 1 and asked[0][1] != watermark.EVER


@pytest.mark.slow
def test_a_jump_while_a_round_reads_its_labels_gives_its_watermark_up(driver, monkeypatch):
    """The watermark is of before the jump; the answers after it show the jump."""
    real = watermark.newest

    def newest(*arguments):
        found = real(*arguments)
        driver.clock.jump(-HOUR)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(watermark, "newest", newest)
        driver.happen(Event("turn"))
    label(driver)
    driver.clock.wait(HOUR + 60)
    assert turns(driver) == ["train"]


@pytest.mark.slow
def test_a_watermark_stays_given_up_when_an_older_round_is_looked_at(driver, monkeypatch):
    """Another thread gives up the newer one while this one waits for its answer."""
    assert turns(driver) == ["train"]
    older = driver.project.rounds[0]
    label(driver)
    assert turns(driver) == ["train"]
    newest = driver.project.rounds[0]
    monkeypatch.setattr(clock, "_jumps", {})
    driver.clock.jump(-HOUR)

    def ask(project, moment):
        context = context_of(driver)
        if moment != watermark.EVER:
            watermark.since(context, newest, context.studio.tasks_changed_since)
        return context.studio.tasks_changed_since(project, moment)

    assert len(watermark.since(context_of(driver), older, ask)) == 2 * EACH
    assert clock_back(driver) == newest.id
