"""A task without a stored prediction is predicted when it is opened, even while a round trains."""

import signal
import time

import psutil
import pytest

from backend.label_studio.label_config import parse_label_config
from backend.label_studio.regions import encode_prediction
from backend.process import PREDICT_BYTES
from taudis.data.coco import read_image
from taudis.detector.checkpoint import load_checkpoint
from tests.studio.loop import Loop, make_pictures, make_project
from tests.studio.processes import wait_for

pytestmark = [pytest.mark.studio, pytest.mark.slow, pytest.mark.timeout(600)]

POOL, LABELLED, LATER = 30, 24, 7  # pictures at the start, labelled of them, imported meanwhile
THRESHOLD = 0.05
WARM_SECONDS = 20.0  # with both cores busy; an idle machine needs a fraction of a second
GROWTH_BYTES = 60_000_000  # from the third picture to the last
WARM_UP_BYTES = 120_000_000  # beyond the first picture


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return make_pictures(tmp_path_factory.mktemp("pictures"), POOL + LATER + 1, size=64)


@pytest.fixture(scope="module")
def work(studio, pictures, tmp_path_factory):
    """A project with a first model of few steps; its next training has all steps."""
    loop = Loop(studio, tmp_path_factory.mktemp("spot"), SCORE_THRESHOLD=str(THRESHOLD))
    try:
        loop.start_web()
        loop.start_worker()
        made = make_project(loop, pictures, "On the spot", part=POOL)
        made.label_some(LABELLED)
        made.train()
        train_on(loop)
        yield made
    finally:
        loop.close()


def train_on(loop, **settings):
    """Start the worker anew, with these settings of its trainings; with all steps by default."""
    loop.worker.end(signal.SIGTERM)
    loop.environment.pop("MAX_STEPS", None)
    loop.environment.update(settings)
    loop.start_worker()


def upload(work, pictures, row):
    """Import one more picture; returns its task."""
    _, samples = pictures
    known = {task["id"] for task in work.tasks()}
    work.loop.studio.upload(work.id, [samples.images_dir / samples.file_names[row]])
    (new,) = [task for task in work.tasks() if task["id"] not in known]
    return new


def open_task(work, task):
    """Send the editor's request for a task; returns the response and its seconds."""
    started = time.monotonic()
    answer = work.loop.studio.api("GET", f"/api/tasks/{task['id']}/", params={"project": work.id})
    return answer, time.monotonic() - started


def training(work):
    """The round that trains now, or None."""
    newest = work.rounds()[0]
    busy = newest.ended is None and newest.progress.get("step") == "trained"
    return newest if busy and newest.progress.get("done", 0) > 0 else None


def expected(work, pictures, row):
    """The regions of a picture, computed here from the served model's checkpoint."""
    label_map, samples = pictures
    config = parse_label_config(work.current()["label_config"])
    model = work.loop.store.project(work.id).state.model
    folder = work.loop.data / "models" / str(work.id) / model
    detector, _ = load_checkpoint(folder, label_map=label_map)
    image = read_image(samples.images_dir / samples.file_names[row])
    return model, encode_prediction(detector.fast().detect([image])[0], config, threshold=THRESHOLD)


def check(work, pictures, row, answer, version):
    """Check that the task came with the served model's regions, under the served version."""
    (prediction,) = answer["predictions"]
    assert prediction["model_version"] == version
    model, wanted = expected(work, pictures, row)
    found = prediction["result"]
    assert wanted and [r["value"]["brushlabels"] for r in found] == [
        r["value"]["brushlabels"] for r in wanted
    ]
    scores = [r["score"] for r in wanted]
    assert [r["score"] for r in found] == pytest.approx(scores, abs=1e-3)
    return model


def predictor_process(work):
    """The prediction process: the web process's child with a spawned interpreter."""
    children = psutil.Process(work.loop.web.popen.pid).children(recursive=True)
    (found,) = [c for c in children if "multiprocessing.spawn" in " ".join(c.cmdline())]
    return found


def test_an_opened_task_is_predicted_by_the_served_model_while_a_round_trains(work, pictures):
    version = work.version()
    number = work.rounds()[0].number + 1
    work.start_training()
    wait_for(lambda: training(work), "a round that trains", pause=0.05)
    seconds, bytes_, pids = [], [], set()
    for row in range(POOL, POOL + LATER):
        task = upload(work, pictures, row)
        assert training(work), "the training ended before the tasks were opened: label more"
        answer, took = open_task(work, task)
        model = check(work, pictures, row, answer, version)
        process = predictor_process(work)
        seconds.append(took)
        bytes_.append(process.memory_info().rss)
        pids.add(process.pid)
    still = training(work)
    print(
        f"opened while round {number} trained ({model} serves): first {seconds[0]:.2f} s, then"
        f" {', '.join(f'{each:.2f}' for each in seconds[1:])} s; process {bytes_[0] >> 20} MiB"
        f" after the first, {bytes_[-1] >> 20} MiB after the last"
    )
    assert still and still.number == number and work.version() == version
    assert len(pids) == 1, "the process stays warm"
    assert max(seconds[1:]) < WARM_SECONDS
    # What the first picture leaves is mostly PyTorch, and how much of that depends on the machine.
    assert max(bytes_) < PREDICT_BYTES and max(bytes_) - bytes_[0] < WARM_UP_BYTES
    assert bytes_[-1] - bytes_[2] < GROWTH_BYTES

    # No more is needed of the long training. The round goes on with a short one.
    train_on(work.loop, MAX_STEPS="8")

    # After the promotion the same process predicts with the new model.
    assert work.wait_for_round(number).outcome == "served"
    wait_for(lambda: work.rounds()[0].kind == "refresh" and work.ended(), "the later pictures")
    with work.loop.frozen_worker():
        task = upload(work, pictures, POOL + LATER)
        answer, took = open_task(work, task)
        newer = check(work, pictures, POOL + LATER, answer, work.version())
        print(f"after the promotion of {newer}: {took:.2f} s, its checkpoint read")
        assert newer != model and predictor_process(work).pid in pids
