"""Two projects with different labels and controls share one backend: nothing mixes."""

import contextlib
import threading

import pytest

from tests.studio.loop import make_pictures, make_project

pytestmark = [pytest.mark.studio, pytest.mark.slow]

GREEK = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")


@pytest.fixture(scope="module")
def works(loop, tmp_path_factory):
    """A project with brush labels, and one with polygons and Greek names; both with five labels."""
    ours = make_pictures(tmp_path_factory.mktemp("brush"), 14, size=64)
    theirs = make_pictures(tmp_path_factory.mktemp("polygon"), 12, size=64, names=GREEK, seed=8)
    pair = (
        make_project(loop, ours, "Shapes"),
        make_project(loop, theirs, "Greek", control="polygon"),
    )
    for work in pair:
        work.label_some(5)
    return pair


def regions_of(rows):
    return [region for row in rows for region in row["result"]]


def check_own(work, rows, kind):
    """Check that there are regions, all with the project's own control and labels."""
    found = regions_of(rows)
    assert found
    assert {region["type"] for region in found} == {kind}
    used = {label for region in found for label in region["value"][kind]}
    assert used <= set(work.labels)


@contextlib.contextmanager
def predicting(works):
    """Ask both projects' /predict in turn within the block; yields the answers."""
    answers = {work.id: [] for work in works}
    over = threading.Event()

    def ask():
        tasks = {work.id: work.tasks()[:4] for work in works}
        while not over.is_set():
            for work in works:
                body = {"project": f"{work.id}.1", "tasks": tasks[work.id]}
                body["label_config"] = work.current()["label_config"]
                answers[work.id].append(work.loop.post("/predict", body))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        over.set()
        thread.join()


@pytest.mark.fault("F19", "apart")
def test_rounds_and_predictions_interleave_without_mixing(works, figures):
    shapes, greek = works
    numbers = [work.rounds()[0].number + 1 for work in works]
    for work in works:
        work.start_training()

    with predicting(works) as answers:
        for work, number in zip(works, numbers, strict=True):
            work.wait_for_round(number)

    for work, kind in ((shapes, "brushlabels"), (greek, "polygonlabels")):
        version = work.check_whole()
        check_own(work, work.rows(version), kind)
        own = {row.version for row in work.loop.store.versions(work.id)}
        in_studio = set(work.client.model_versions(work.id))
        assert own == in_studio
        tasks = {task["id"] for task in work.tasks()}
        assert set(work.order(version)) <= tasks
        assert answers[work.id]
        assert {answer["model_version"] for answer in answers[work.id]} <= own
        last = work.loop.post("/predict", {"project": str(work.id), "tasks": work.tasks()})
        assert len(last["results"]) == len(tasks)
        assert {row["model_version"] for row in last["results"]} == {version}
        check_own(work, last["results"], kind)
    assert not set(shapes.order(shapes.version())) & set(greek.order(greek.version()))
    figures(crossed=0)


def test_a_rollback_of_one_leaves_the_other_alone(works):
    shapes, greek = works
    before = greek.version(), greek.order(greek.version())
    shapes.loop.cli("rollback", "--project", str(shapes.id))
    assert (greek.version(), greek.order(greek.version())) == before
    assert shapes.version() == shapes.rounds()[-1].steps["published"]["version"]
    shapes.loop.cli("unpin", "--project", str(shapes.id))
    for work in works:
        work.label_next()
