"""Two people label while the worker is killed, stopped, or gets no answers; a checker judges.

F1: SIGKILL at random instants of whole rounds. F6: people act in every step of a round. F5: a part
of the worker's requests to Label Studio meet faults.
"""

import itertools
import random
import time
from collections import Counter, defaultdict

import psutil
import pytest

from backend.label_studio.client import Studio
from backend.store.rounds import STEPS
from demo.studio import ADMIN
from tests.faults.proxy import FAULTS, RecordingProxy
from tests.studio.loop import Loop, connect_backend, make_pictures, make_project
from tests.studio.processes import Workers, wait_for
from tests.studio.watched import People

pytestmark = [pytest.mark.studio, pytest.mark.slow]

SEED = 1
KILLS = {False: 6, True: 200}
TRAINING_STEPS, CHECKPOINT_EVERY = 8, 2
PICTURES = 28


@pytest.fixture(scope="module")
def work(studio, tmp_path_factory):
    """A project with a first order; its requests and webhooks go through recording proxies."""
    data = tmp_path_factory.mktemp("kills")
    with RecordingProxy(studio.url) as proxy:
        loop = Loop(studio, data, LABEL_STUDIO_URL=proxy.url, LABEL_STUDIO_API_KEY=ADMIN.token,
            MAX_STEPS=str(TRAINING_STEPS), KEEP_VERSIONS="2",
            TRAINING_STEPS=str(data / "steps.txt"),
            CHECKPOINT_EVERY=str(CHECKPOINT_EVERY),
        )  # fmt: skip
        loop.start_web()
        loop.workers = Workers(loop.environment, data / "worker.log")
        try:
            pictures = make_pictures(tmp_path_factory.mktemp("pictures"), PICTURES, size=64)
            made = make_project(loop, pictures, "Random kills", connect=False)
            with RecordingProxy(loop.url) as before_backend:
                made.people = People(made, proxy, before_backend)
                connect_backend(made, url=before_backend.url)
                loop.workers.start("random", "-")
                made.wait_for_round(1)
                loop.workers.stop()
                yield made
        finally:
            loop.workers.close()
            loop.close()


def last_round(work):
    return work.rounds()[0]


def trained_steps(work):
    """Round -> (process, step) of every training step that was done, in their order."""
    path = work.loop.data / "steps.txt"
    found = defaultdict(list)
    for line in path.read_text().splitlines() if path.exists() else ():
        number, process, step = map(int, line.split())
        found[number].append((process, step))
    return found


def repetitions(work):
    """Of each training that another process went on with: how many steps it did again."""
    return [
        before[1] - after[1] + 1
        for steps in trained_steps(work).values()
        for before, after in itertools.pairwise(steps)
        if before[0] != after[0]
    ]


def whole_round(work, dice):
    """Train without a kill; the seconds that it takes from the worker's start on."""
    for _ in range(6):
        work.people.label(dice)
    work.start_training()
    began = time.monotonic()
    number = last_round(work).number + 1
    work.loop.workers.start("random", "-")
    work.wait_for_round(number)
    took = time.monotonic() - began
    work.loop.workers.stop()
    return took


def kill(work, dice, wait):
    """Start a worker, let people act, and kill it after `wait`; the step it was in, "" if none."""
    work.loop.workers.start("random", "-")
    wait(lambda: work.people.act(dice))
    work.loop.workers.kill()
    work.people.proxy.wait_until_quiet()
    open_ = work.loop.store.open_rounds()
    return open_[0].next_step or "end" if open_ else ""


def check_order(work, before):
    """Exactly the order of before or that of the killed round is served, whole; its version."""
    served = work.check_whole(complete=False)
    published = last_round(work).steps.get("published", {}).get("version", "")
    assert served in {before, published}
    return served


@pytest.mark.timeout(3000)
@pytest.mark.fault("F1", "lost", "order", "random", "training")
def test_kills_at_random_instants(work, figures, full):
    dice, kills, steps = random.Random(SEED), 0, Counter()
    span, served = whole_round(work, dice), work.check_whole()

    def in_training(act):
        """Until the training has done three steps."""
        act()
        steps = lambda: trained_steps(work)[last_round(work).number]  # noqa: E731
        wait_for(lambda: last_round(work).ended is None and len(steps()) >= 3, "three steps",
                 pause=0.02)  # fmt: skip

    def at_random(act):
        seconds = dice.uniform(0.0, 0.7 * span)  # the end of a round is reached by many kills
        time.sleep(seconds / 2)  # both halves: the instant of the kill, drawn from the seed
        act()
        time.sleep(seconds / 2)

    while kills < KILLS[full]:
        if last_round(work).ended is not None:
            work.people.read_snapshots()
            work.start_training()
        step = kill(work, dice, at_random if kills else in_training)
        served = check_order(work, served)
        kills, steps = kills + bool(step), steps + Counter([step])
    end(work)
    assert not {round_.outcome for round_ in work.rounds()} & {None, "failed"}
    found = work.people.history().violations()
    lost = sum("annotation" in each.name for each in found)
    again = repetitions(work)
    print(f"seed {SEED}, a round takes {span:.1f} s; killed in {dict(steps)}, repeated {again}")
    webhooks = sum(each.acknowledged for each in work.people.records.webhooks)
    figures(kills=kills, lost=lost, mixed=len(found) - lost, steps_repeated=max(again),
            webhooks=webhooks)  # fmt: skip
    assert found == []
    assert webhooks >= kills
    assert 0 < max(again) <= CHECKPOINT_EVERY


@pytest.mark.timeout(1500)
@pytest.mark.fault("F6", "once", "queue")
def test_people_act_in_every_step_of_a_round(work, figures, full):
    """The worker stops at the begin and at the end of each step; meanwhile people act."""
    dice, people, steps, acts = random.Random(6), work.people, Counter(), 0
    deeds = itertools.cycle((people.edit, people.delete, people.again, people.skip, people.label))
    for _ in range(4):
        people.label(dice)
    work.start_training()
    number = last_round(work).number + 1
    work.loop.workers.start("every", "stop")
    worker = psutil.Process(work.loop.workers.pid)
    while not work.ended(number):
        if worker.status() == psutil.STATUS_STOPPED:
            for _ in range(5 if full else 2):
                next(deeds)(dice)
                acts += 1
            steps[last_round(work).next_step] += 1
            worker.resume()
        time.sleep(0.02)  # between two looks at the round's step
    work.loop.workers.kill()  # it may be stopped in the next round
    assert steps.keys() == {*STEPS["train"]} and min(steps.values()) == 2
    end(work)
    found = Counter(each.name for each in people.history().violations())
    figures(acts=acts, lost=found["lost annotation"], served_again=found["served again"],
            doubled=found["doubled annotation"] + found["wrong annotation"])  # fmt: skip
    assert not found, people.history().violations()


@pytest.mark.timeout(1500)
@pytest.mark.fault("F5", "calls", "recovers")
def test_a_round_whose_requests_meet_faults_at_random(work, figures, full):
    """A fifth of the worker's requests go wrong in one of all the ways; then none."""
    dice, proxy = random.Random(5), work.people.proxy
    proxy.silent_s = 5.0  # the worker waits for 30 s, Label Studio would answer after them
    worker = Studio(proxy.url, ADMIN.token).auth_headers()["Authorization"]

    def fault_of(_method, _path, token):
        return dice.choice(FAULTS) if token == worker and dice.random() < 0.2 else ""

    before, log = work.version(), work.loop.data / "worker.log"
    errors = log.read_text().count("Traceback")
    for _ in range(3 if full else 1):
        work.people.label(dice)
        work.start_training()
        work.loop.workers.start()
        proxy.fault_of = fault_of
        time.sleep(30)  # of faults at the worker's calls; then Label Studio is well again
        served = work.check_whole(complete=False)
        assert served in {before, *(row.version for row in work.loop.store.versions(work.id))}
        proxy.fault_of = lambda *_: ""
        wait_for(lambda: not waiting(work) and not work.loop.store.open_rounds(), "the round")
        work.loop.workers.stop()
    errors = log.read_text().count("Traceback") - errors
    end(work)
    found = work.people.history().violations()
    figures(faults=len(proxy.faults), partial=len(found), crashes=errors)
    assert not found and not errors
    assert len(proxy.faults) > 3


def end(work):
    """Train once more, so that a snapshot has all that was done before."""
    work.start_training()
    work.loop.workers.start("random", "-")
    wait_for(lambda: not waiting(work) and not work.loop.store.open_rounds(), "the last round")
    work.loop.workers.stop()
    work.check_whole()


def waiting(work):
    """Events that are to start a round."""
    return [event for event in work.loop.store.pending_events() if event.kind == "train"]
