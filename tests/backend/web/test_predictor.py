"""The prediction process: answers, dies, hangs, grows; and a real model in a real process."""

import base64
import io
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from backend.settings import load_settings
from backend.store.secrets import save_token
from backend.web.messages import Job, PredictedRegions
from backend.web.predict import Services, answer_tasks
from backend.web.predictor import MAX_WAITING, Predictor, PredictorUnavailable

CONFIG = (
    '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">'
    '<Label value="Cell"/></BrushLabels></View>'
)


def obedient(connection, settings):
    """Does what the task's data says."""
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        what = job.data.get("do", "")
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "sleep":
            time.sleep(60)
        if what == "wait":
            time.sleep(0.3)
        connection.send(None if what == "fail" else PredictedRegions([{"id": str(os.getpid())}]))


def job(do=""):
    return Job(7, 1, Path("m"), CONFIG, {"do": do}, "http://studio.example", "geheim")


@pytest.fixture
def predictor(tmp_path):
    predictor = Predictor(load_settings(model_dir=tmp_path), obedient)
    yield predictor
    predictor.close()


@pytest.mark.slow
def test_it_starts_when_needed_stays_and_ends(predictor):
    assert predictor.pid is None
    first = predictor.predict(job(), 20)
    assert first == predictor.predict(job(), 20)
    pid = predictor.pid
    assert first.regions == [{"id": str(pid)}]
    predictor.close()
    assert predictor.pid is None and not psutil.pid_exists(pid)


@pytest.mark.slow
def test_a_process_that_dies_is_replaced(predictor):
    predictor.predict(job(), 20)
    pid = predictor.pid
    with pytest.raises(PredictorUnavailable, match="died"):
        predictor.predict(job("die"), 20)
    assert predictor.predict(job(), 20).regions != [{"id": str(pid)}]
    os.kill(predictor.pid, signal.SIGKILL)  # between two requests
    time.sleep(0.2)
    predictor.predict(job(), 20)


@pytest.mark.slow
def test_a_process_that_hangs_is_ended_in_time(predictor):
    predictor.predict(job(), 20)
    pid, started = predictor.pid, time.monotonic()
    with pytest.raises(PredictorUnavailable, match="too long"):
        predictor.predict(job("sleep"), 0.5)
    assert time.monotonic() - started < 5
    assert not psutil.pid_exists(pid)
    predictor.predict(job(), 20)


@pytest.mark.slow
def test_a_process_that_grew_is_replaced(tmp_path):
    predictor = Predictor(load_settings(model_dir=tmp_path), obedient, max_bytes=1000)
    predictor.predict(job(), 20)
    assert predictor.pid is None
    predictor.predict(job(), 20)
    predictor.close()


@pytest.mark.slow
def test_a_failure_is_no_answer(predictor):
    with pytest.raises(PredictorUnavailable, match="log"):
        predictor.predict(job("fail"), 20)
    predictor.predict(job(), 20)


@pytest.mark.slow
def test_the_line_is_bounded_and_everybody_gets_an_answer_or_a_reason(predictor):
    predictor.predict(job(), 20)
    start, found = threading.Barrier(MAX_WAITING + 4), []

    def ask():
        start.wait()
        try:
            found.append(predictor.predict(job("wait"), 20))
        except PredictorUnavailable as error:
            found.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(MAX_WAITING + 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [text for text in found if isinstance(text, str)]
    assert len(found) == MAX_WAITING + 4
    assert len(refused) == 4 and all("waiting already" in text for text in refused)


@pytest.mark.slow
def test_waiting_in_line_counts_as_time(predictor):
    predictor.predict(job(), 20)
    thread = threading.Thread(target=lambda: predictor.predict(job("wait"), 20))
    thread.start()
    time.sleep(0.1)
    with pytest.raises(PredictorUnavailable, match="used up the time limit"):
        predictor.predict(job(), 0.05)
    thread.join()


def test_a_job_does_not_show_its_token():
    assert "geheim" not in repr(job())


# --- in the answers of /predict -------------------------------------------------------------------


@pytest.fixture
def services(tmp_path):
    settings = load_settings(model_dir=tmp_path, label_studio_url="http://studio.example")
    services = Services.create(settings)
    services.store.update_project(7, serving="v1", model="v1", label_config=CONFIG)
    yield services
    services.predictor.close()
    services.store.close()


class Fake:
    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def predict(self, job, timeout):
        self.asked.append(job)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self):
        pass


def with_predictor(services, *answers):
    return Services(services.settings, services.store, Fake(*answers), services.metrics)


TASKS = [{"id": i, "data": {"image": f"/data/{i}.png"}} for i in (1, 2)]


def test_on_the_spot_goes_behind_the_known_and_names_the_version(services):
    services = with_predictor(
        services,
        PredictedRegions([{"id": "a"}]),
        PredictedRegions([], "it names no image", lasting=True),
    )
    found = answer_tasks(services, 7, TASKS)
    assert found == [
        {"result": [{"id": "a"}], "score": 2.0, "model_version": "v1"},
        {"result": [], "score": 2.0, "model_version": "v1"},
    ]
    asked = services.predictor.asked[0]
    assert asked.checkpoint == services.settings.model_dir / "models" / "7" / "v1"
    assert (asked.studio_url, asked.label_config) == ("http://studio.example", CONFIG)
    assert [job.task for job in services.predictor.asked] == [1, 2]


def test_an_image_that_cannot_be_read_names_no_version_and_the_next_task_is_tried(services):
    services = with_predictor(
        services, PredictedRegions([], "not allowed"), PredictedRegions([{"id": "a"}])
    )
    found = answer_tasks(services, 7, TASKS)
    assert found == [
        {"result": [], "score": 2.0, "model_version": ""},
        {"result": [{"id": "a"}], "score": 2.0, "model_version": "v1"},
    ]


def test_what_was_not_made_names_no_version_and_is_not_tried_on(services):
    services = with_predictor(services, PredictorUnavailable("busy"))
    found = answer_tasks(services, 7, TASKS)
    assert found == [{"result": [], "score": 2.0, "model_version": ""}] * 2
    assert len(services.predictor.asked) == 1


def test_without_a_confirmed_address_no_token_leaves(tmp_path):
    save_token(tmp_path, 7, "geheim")
    services = Services.create(load_settings(model_dir=tmp_path))
    services.store.update_project(
        7, serving="v1", model="v1", label_config=CONFIG, candidate_origin="http://evil.example"
    )
    services = with_predictor(services)
    assert answer_tasks(services, 7, TASKS)[0]["result"] == []
    assert services.predictor.asked == []
    services.store.close()


@pytest.mark.slow
def test_a_cloud_address_goes_through_label_studios_resolver(tmp_path, untrained_model):
    """Label Studio's /predict names images as they were imported, not as its editor gets them."""
    from PIL import Image

    from backend.web.predictor_process import LoadedModels
    from tests.backend.images.servers import send, serve
    from tests.backend.worker.round_cases import CONFIG as TWO_LABELS
    from tests.taudis.detector_cases import picture

    settings = load_settings(model_dir=tmp_path, score_threshold=0.0)
    encoded = io.BytesIO()
    Image.fromarray(picture(1)[0]).save(encoded, "PNG")
    with serve() as studio:
        studio.routes["/tasks/5/resolve/"] = send(encoded.getvalue())
        models, data = LoadedModels(settings), {"image": "s3://bucket/a b.png"}
        job = Job(7, 5, untrained_model, TWO_LABELS, data, studio.url, "t")
        found = models.predict(job)
        assert (found.problem, found.lasting) == ("", False)
        ((path, headers),) = studio.seen
        assert base64.urlsafe_b64decode(path.partition("fileuri=")[2]) == b"s3://bucket/a b.png"
        assert headers["Authorization"] == "Token t"
        studio.routes["/tasks/6/resolve/"] = send(b"", 404)
        gone = models.predict(replace(job, task=6, data={"image": "s3://bucket/gone.png"}))
        assert "404" in gone.problem and not gone.lasting
        assert models.predict(replace(job, data={})).lasting


@pytest.mark.slow
def test_a_real_model_in_a_real_process(tmp_path):
    """A checkpoint, an image on disk, the spawned process: regions as Label Studio takes them."""
    import numpy as np
    from PIL import Image

    from taudis.detector.architecture import ModelConfig, build_model
    from taudis.detector.checkpoint import save_checkpoint
    from taudis.detector.mask_rcnn import Detector
    from taudis.types import LabelMap

    (files := tmp_path / "files").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (64, 80, 3), np.uint8)
    Image.fromarray(pixels).save(files / "a.png")
    settings = load_settings(
        model_dir=tmp_path / "data", label_studio_url="http://127.0.0.1:9", local_files_root=files,
        score_threshold=0.0, label_studio_api_key="t",
    )  # fmt: skip
    services = Services.create(settings)
    config, folder = ModelConfig.small(), settings.model_dir / "models" / "7" / "v1"
    save_checkpoint(
        folder, Detector(build_model(config, 1, seed=0), config, LabelMap(("Cell",))), card={}
    )
    services.store.update_project(7, serving="v1", model="v1", label_config=CONFIG)
    good = {"id": 1, "data": {"image": "/data/local-files/?d=a.png"}}
    missing = {"id": 2, "data": {"image": "/data/local-files/?d=b.png"}}
    try:
        found = answer_tasks(services, 7, [good, missing, {"id": 3, "data": {}}])
        assert [(r["score"], r["model_version"]) for r in found] == [(2, "v1"), (2, ""), (2, "v1")]
        assert found[0]["result"], "a model at threshold 0 shows something"
        assert {r["type"] for r in found[0]["result"]} == {"brushlabels"}
        assert found[0]["result"][0]["original_width"] == 80
        assert found[1]["result"] == found[2]["result"] == []
        (again,) = answer_tasks(services, 7, [good])
        assert [r["value"] for r in again["result"]] == [r["value"] for r in found[0]["result"]]
        (folder / "weights.safetensors").write_bytes(b"damaged")
        other = CONFIG.replace("Cell", "Nut")  # loads anew: damage, or other labels, is refused
        assert answer_tasks(services, 7, [good], other)[0]["result"] == []
    finally:
        services.predictor.close()
        services.store.close()
