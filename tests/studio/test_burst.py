"""Two clicks and 500 webhooks at once lead to one round, and at most one follow-up."""

import statistics
import threading
import time

import pytest
import requests

from tests.studio.loop import Loop, make_pictures, make_project
from tests.studio.processes import wait_for

pytestmark = [pytest.mark.studio, pytest.mark.slow]

WEBHOOKS, CALLERS, LABELS = 500, 8, 6


@pytest.fixture(scope="module")
def work(studio, tmp_path_factory):
    """A backend in which labels start rounds, too."""
    loop = Loop(studio, tmp_path_factory.mktemp("burst"), TRAIN_AFTER="3")
    loop.start_web()
    loop.start_worker()
    try:
        pictures = make_pictures(tmp_path_factory.mktemp("pictures"), 12, size=64)
        yield make_project(loop, pictures, "Burst")
    finally:
        loop.close()


def burst(work):
    """Send 500 webhooks from eight callers and two clicks at once; the seconds of each webhook."""
    seconds, clicks = [], []
    gate = threading.Barrier(CALLERS + 2)

    def call():
        with requests.Session() as session:
            gate.wait()
            for _ in range(WEBHOOKS // CALLERS + 1):
                began = time.perf_counter()
                body = {"action": "ANNOTATION_CREATED"}
                work.loop.post(f"/webhook?project={work.id}", body, session)
                seconds.append(time.perf_counter() - began)

    def click():
        gate.wait()
        work.start_training()
        clicks.append(1)

    threads = [threading.Thread(target=call) for _ in range(CALLERS)]
    work.loop.studio.api("GET", "/api/version")  # logged in, before two threads do
    threads += [threading.Thread(target=click) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(clicks) == 2
    assert len(seconds) >= WEBHOOKS  # none failed
    return seconds


def quiet(work, for_seconds=5.0):
    """Whether no round runs or waits, now and a moment later."""
    limit = time.monotonic() + for_seconds
    while time.monotonic() < limit:
        waiting = [
            event
            for event in work.loop.store.pending_events()
            if event.kind in ("train", "changed")
        ]
        if waiting or work.loop.store.open_rounds():
            return False
        time.sleep(0.2)
    return True


def print_times(name, seconds):
    cuts = statistics.quantiles(seconds, n=100)
    print(
        f"{name}: {len(seconds)} webhooks, p50 {cuts[49] * 1e3:.1f} ms, p99 {cuts[98] * 1e3:.1f} ms"
    )


@pytest.mark.fault("F3", "rounds")
def test_two_clicks_and_a_burst_of_webhooks(work, figures):
    loop = work.loop
    with loop.frozen_worker():
        made = work.label_some(LABELS)
        # Label Studio itself rang for each of them, through the webhook that arming left.
        assert loop.store.event_counts(work.id)["changed"] >= LABELS
    seconds = burst(work)
    wait_for(lambda: quiet(work), "the end of all rounds", pause=0.5)

    rounds = [round_ for round_ in work.rounds() if round_.kind != "first"]
    assert [round_.kind for round_ in rounds] in (["train"], ["train", "train"])
    assert all(round_.outcome == "served" for round_ in rounds)
    assert set(work.snapshot(rounds[0])) == {annotation["id"] for annotation in made}
    work.check_whole()
    print_times("burst", seconds)
    figures(webhooks=len(seconds), rounds=len(rounds))


def test_the_webhook_answers_while_a_round_trains(work):
    number = work.rounds()[0].number + 1
    work.start_training()
    wait_for(lambda: work.rounds()[0].number == number, "the round", pause=0.05)
    seconds = []
    with requests.Session() as session:
        while work.rounds()[0].ended is None:
            body = {"action": "ANNOTATION_UPDATED"}
            began = time.perf_counter()
            work.loop.post(f"/webhook?project={work.id}", body, session)
            seconds.append(time.perf_counter() - began)
            time.sleep(0.02)
    print_times("while a round ran", seconds)
    assert max(seconds) < 1.0  # Label Studio gives up after a second
    assert wait_for(lambda: quiet(work), "quiet", pause=0.5)
    assert work.rounds()[0].number == number  # nothing had changed: the events called for nothing
