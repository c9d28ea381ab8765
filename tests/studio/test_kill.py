"""SIGKILL in every step of a round: a new worker ends the round, and nothing is lost or mixed."""

import os
import signal
import sys

import psutil
import pytest
import sqlalchemy as sa

from backend.store.rounds import STEPS
from backend.worker.arms import Draw
from tests.studio.loop import Loop, connect_backend, make_pictures, make_project
from tests.studio.processes import Process, Workers, wait_for

pytestmark = [pytest.mark.studio, pytest.mark.slow]

IN_STEPS = (
    ("synced", "after"),
    ("trained", "middle"),
    ("evaluated", "after"),
    ("scored", "middle"),
    ("selected", "after"),
    ("published", "sent"),
    ("flipped", "patched"),
    ("pruned", "after"),
    ("compared", "after"),
)
"""One moment in each step: after part of its effects, or after all of them but before its row."""
AGAIN = (
    ("trained", "after"),
    ("scored", "after"),
    ("published", "half"),
    ("published", "after"),
    ("flipped", "before"),
    ("flipped", "after"),
    ("pruned", "middle"),
)
SHARE = 0.5


@pytest.fixture(scope="module")
def loop(studio, tmp_path_factory):
    made = Loop(studio, tmp_path_factory.mktemp("kill"), KEEP_VERSIONS="2", SCORE_THRESHOLD="0.3",
        FIRST_ORDER="core_set", CONTROL_SHARE=str(SHARE),
    )  # fmt: skip
    made.start_web()
    made.workers = Workers(made.environment, made.data / "worker.log")
    yield made
    made.workers.close()
    made.close()


@pytest.fixture(scope="module")
def work(loop, tmp_path_factory):
    """A project with a first order. One worker was killed after it had looked at the images,
    another in mid-post.
    """
    pictures = make_pictures(tmp_path_factory.mktemp("pictures"), 40, size=64)
    loop.workers.start("embedded", "after")
    made = make_project(loop, pictures, "Killed", connect=False)
    connect_backend(made)
    loop.workers.killed()
    loop.workers.start("published", "half")
    loop.workers.killed()
    assert not made.version().startswith("taudis-")
    loop.workers.start()
    made.wait_for_round(1)
    first = made.rounds()[0]
    assert made.check_whole() == first.steps["published"]["version"]
    assert first.steps["embedded"]["images"] == 40 and "by core_set" in first.message
    loop.workers.stop()
    made.acknowledged = [row["id"] for row in made.label_some(14)]
    return made


def last_round(work):
    return work.rounds()[0]


def killed_in(work, step, moment):
    """Run a worker that is killed there; then check that one whole order is served, old or new."""
    loop = work.loop
    old = work.version()
    loop.workers.start(step, moment)
    loop.workers.killed()
    round_ = last_round(work)
    assert round_.ended is None
    assert round_.next_step == step
    served = work.check_whole()
    published = round_.steps.get("published", {}).get("version", "")
    assert served in {old, published}
    if step not in ("flipped", "pruned", "compared"):
        assert served == old
    return served


def finish(work, number):
    """Run a worker to the end of the round; check that the new order is served whole."""
    work.loop.workers.start()
    round_ = work.wait_for_round(number)
    work.loop.workers.stop()
    assert tuple(sorted(round_.steps)) == tuple(sorted(STEPS[round_.kind]))
    assert round_.outcome == "served", round_.message
    assert work.check_whole() == round_.steps["published"]["version"]
    return round_


def check_snapshot(work, round_, annotations, figures):
    """Check that the snapshot holds exactly these annotations, each in one split."""
    found = work.snapshot(round_)
    figures(lost=len(set(annotations) - set(found)))
    assert set(found) == set(annotations)
    assert set(found.values()) == {"train", "validation"}


@pytest.mark.parametrize("doom", [IN_STEPS, AGAIN], ids=["in each step", "again"])
@pytest.mark.fault("F1", "lost", "order", "steps")
def test_killed_in_each_step_and_no_annotation_lost(work, doom, figures):
    before = [*work.acknowledged]
    work.start_training()
    number = last_round(work).number + 1
    for step, moment in doom:
        killed_in(work, step, moment)
        if step in ("trained", "published", "flipped"):  # people go on labelling meanwhile
            work.acknowledged.append(work.label_next()["id"])
    round_ = finish(work, number)
    check_snapshot(work, round_, before, figures)

    assert len(work.loop.store.versions(work.id)) <= 2
    # Those that lost their place stay for a day, since an editor may be open on them.
    known = {row.version for row in work.loop.store.versions(work.id, pruned=True)}
    work.loop.workers.start()  # its cleaner deletes little by little what nobody is served

    def in_studio():
        return {v for v, rows in work.client.model_versions(work.id).items() if rows}

    wait_for(lambda: in_studio() <= known, "what a cut publish left behind to be gone")
    work.loop.workers.stop()
    figures(step_kills=len(doom))


@pytest.mark.fault("F1", "lost")
def test_the_next_snapshot_holds_what_was_labelled_between(work, figures):
    work.start_training()
    round_ = finish(work, last_round(work).number + 1)
    check_snapshot(work, round_, work.acknowledged, figures)
    check_arms(work)


def check_arms(work):
    """The queue takes from both arms; labels of an order with arms count for their own."""
    draw = Draw(work.id, SHARE, 0)
    served = work.order(work.version())
    order = [draw.arm(task) for task in served]
    random = draw.in_random_order(served)
    assert [task for task in served if draw.arm(task) == "random"] == random
    both = min(order.count("random"), order.count("strategy"))
    assert abs(order[:both].count("random") - both * SHARE) <= 1 < both
    arms = work.loop.store.arms(work.id, draw.name)
    labelled = {task["id"] for task in work.client.tasks(work.id) if task["is_labeled"]}
    assert arms.keys() == labelled
    own = {task: arm for task, arm in arms.items() if arm != "both"}
    assert 0 < len(own) < len(arms)
    assert own == {task: draw.arm(task) for task in own}


def test_serve_starts_a_killed_worker_again(work):
    """With `python -m backend serve`, the worker is killed from outside while it trains."""
    loop = work.loop
    loop.web.end(signal.SIGTERM)
    loop.web = Process(
        [sys.executable, "-m", "backend", "serve"], loop.environment, loop.data / "serve.log"
    )

    def worker():
        with loop.store.reading() as db:
            row = db.execute(sa.text("select owner, until from lease")).first()
        pid = int(row.owner.split("/")[1])
        return pid if loop.store.worker_alive() and psutil.pid_exists(pid) else None

    pid = wait_for(worker, "the worker of serve")
    number = last_round(work).number + 1
    work.start_training()
    wait_for(lambda: last_round(work).progress.get("step") == "scored"
             and last_round(work).number == number, "scoring", pause=0.02)  # fmt: skip
    os.kill(pid, signal.SIGKILL)
    round_ = work.wait_for_round(number)
    assert round_.outcome == "served"
    assert worker() != pid
    work.check_whole()
