"""A proxy ends the answer to a post while Label Studio goes on importing."""

import pytest

from backend.errors import StudioUnreachable
from backend.label_studio.client import Studio
from backend.worker.attempts import AWAIT_SECONDS, MAX_ATTEMPTS
from backend.worker.worker import RETRY_SECONDS

PROXY_SECONDS = 60.0


class SlowImport:
    """A Label Studio whose rows are there some time after the post, behind such a proxy."""

    def __init__(self, monkeypatch, clock, seconds):
        self.clock, self.seconds = clock, seconds
        self.posts, self._arriving = 0, []
        self._post, versions = Studio.import_predictions, Studio.model_versions
        monkeypatch.setattr(Studio, "import_predictions", lambda *given: self.post(*given))
        monkeypatch.setattr(Studio, "model_versions", lambda *given: self.arrived(versions, *given))

    def post(self, studio, project, rows):
        self.posts += 1
        self._arriving.append((self.clock.now + self.seconds, studio, project, rows))
        self.clock.now += PROXY_SECONDS
        raise StudioUnreachable("it answered 504 Gateway Time-out")

    def arrived(self, versions, studio, project):
        for when, *given in [each for each in self._arriving if each[0] <= self.clock.now]:
            self._post(*given)
            self._arriving = [each for each in self._arriving if each[0] != when]
        return versions(studio, project)


class Clock:
    now = 1_900_000_000.0


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr("backend.worker.attempts.time.time", lambda: Clock.now)
    return Clock


def turns(project, clock):
    """Turns of the worker with its growing pauses, until the round ends; it and the seconds."""
    began, pause = clock.now, RETRY_SECONDS[0]
    for _ in range(60):
        project.loop.worker._pauses.clear()
        project.loop.schedule()
        if project.rounds[0].ended is not None:
            break
        clock.now += pause
        pause = min(2 * pause, RETRY_SECONDS[1])
    return project.rounds[0], clock.now - began


def unserved(loop, number=4):
    project = loop.project(number, connect=False)
    project.connect()
    return project


def copies(project):
    """Versions of ours with their rows."""
    return {name: n for name, n in project.versions().items() if n}


@pytest.mark.parametrize("seconds", [75.0, 200.0, 350.0])
def test_an_import_that_outlives_its_answer_is_served_and_posted_once(
    loop, clock, monkeypatch, seconds
):
    slow, project = SlowImport(monkeypatch, clock, seconds), unserved(loop)
    round_, took = turns(project, clock)
    assert round_.outcome == "served" and slow.posts == 1
    assert copies(project) == {project.version(): 4}
    assert took < 3 * seconds  # the pauses double


def test_an_import_that_takes_longer_than_the_wait_is_taken_before_another_post(
    loop, clock, monkeypatch
):
    slow, project = SlowImport(monkeypatch, clock, 2 * AWAIT_SECONDS), unserved(loop)
    round_, _ = turns(project, clock)
    assert round_.outcome == "served" and slow.posts == 2
    assert copies(project) == {project.version(): 4}  # the first one


def test_an_import_that_ends_after_the_last_attempt_is_still_taken(loop, clock, monkeypatch):
    slow, project = SlowImport(monkeypatch, clock, 1e9), unserved(loop)
    while slow.posts < MAX_ATTEMPTS:
        loop.worker._pauses.clear()
        loop.schedule()
        clock.now += AWAIT_SECONDS
    slow.clock.now += 2e9
    round_, _ = turns(project, clock)
    assert round_.outcome == "served" and slow.posts == MAX_ATTEMPTS


def test_where_no_import_ends_the_message_names_the_time_limit_of_a_proxy(loop, clock, monkeypatch):
    slow, project = SlowImport(monkeypatch, clock, 1e12), unserved(loop)
    loop.schedule()
    waiting = loop.store.project(project.id).state.waiting_reason
    assert "504 Gateway Time-out" in waiting and "proxy_read_timeout" in waiting
    loop.worker._pauses.clear()
    loop.schedule()
    assert "posted again in" in loop.store.project(project.id).state.waiting_reason
    round_, _ = turns(project, clock)
    assert (round_.outcome, slow.posts) == ("failed", MAX_ATTEMPTS)
    assert "in 5 attempts" in round_.message and "proxy_read_timeout" in round_.message


def test_a_clock_that_goes_back_does_not_prolong_the_wait(loop, clock, monkeypatch):
    slow, project = SlowImport(monkeypatch, clock, 1e12), unserved(loop)
    loop.schedule()
    clock.now -= 3600 + PROXY_SECONDS
    loop.worker._pauses.clear()
    loop.schedule()
    assert slow.posts == 2
    assert project.rounds[0].ended is None
