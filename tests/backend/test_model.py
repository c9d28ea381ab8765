"""One subclass under both generations of label-studio-ml: the installed 1.0.9, and 2.x.

2.x is not on the package index, so its contract stands here as a base class that does what
label-studio-ml 2.x does with a model.
"""

import pytest
from label_studio_ml.model import LabelStudioMLBase

from backend import predictions
from backend.answers import Services
from backend.model import TaudisModel, TaudisPredictions
from backend.settings import load_settings

BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><View>&b;</View>'


class Base2x:
    """label-studio-ml 2.x, as far as it calls into a model."""

    def __init__(self, project_id: str | None = None, label_config: str | None = None) -> None:
        self.project_id = project_id or ""
        if label_config is not None:
            self.use_label_config(label_config)
        self.was_set_up = False
        self.setup()
        self.was_set_up = True

    def setup(self):
        raise NotImplementedError

    def use_label_config(self, label_config):
        raise AssertionError("2.x parses the config here")

    def predict(self, tasks, context=None, **params):
        raise NotImplementedError

    def fit(self, event, data, **params):
        raise NotImplementedError

    def process_event(self, event, data, job_id, additional_params):
        return self.fit(event, data, job_id=job_id, **additional_params)


class Model2x(TaudisPredictions, Base2x):
    pass


@pytest.fixture
def services(tmp_path):
    found = Services.create(load_settings(model_dir=tmp_path))
    path = predictions.path_of(tmp_path, 7, "v1")
    rows = [predictions.Prediction(t, t, t / 4, "", [{"id": str(t)}]) for t in (1, 2, 3, 4)]
    predictions.write(path, rows)
    lease = found.store.acquire()
    round_ = found.store.open_round(lease, 7, "first", "test", [])
    found.store.add_version(lease, 7, "v1", round_id=round_.id, model="", tasks=4, metrics={})
    found.store.update_project(7, serving="v1")
    yield found
    found.store.close()


@pytest.fixture(params=["1.0.9", "2.x"])
def model_class(request, services):
    return {"1.0.9": TaudisModel, "2.x": Model2x}[request.param].bound_to(services)


def test_it_is_a_label_studio_ml_model():
    assert issubclass(TaudisModel, LabelStudioMLBase)
    assert not TaudisModel.__abstractmethods__


def test_predict_one_result_a_task_in_order(model_class):
    model = model_class(project_id="7.170", label_config=BOMB)
    results = model.predict([{"id": 3}, {"id": 9}, {"id": 1}], context=None)
    assert [r["score"] for r in results] == [0.75, 1.25, 0.25]
    assert [len(r["result"]) for r in results] == [1, 0, 1]
    assert {r["model_version"] for r in results} == {"v1"}
    assert model.model_version == "v1"
    assert model.label_config == BOMB


def test_the_way_2x_makes_and_calls_it(services):
    model = Model2x.bound_to(services)(project_id="7", label_config="<View/>")
    assert model.was_set_up and model.project_id == "7"
    assert len(model.predict([{"id": 1}], context={"result": []}, login="x", password="y")) == 1
    assert model.fit("ANNOTATION_CREATED", {"project": {"id": 7}}, extra=1) == {"status": "rung"}
    assert model.process_event("START_TRAINING", {"project": {"id": 7}}, "job", {}) == {
        "status": "rung"
    }
    assert services.store.rung(7) == {"changed": 1, "train": 1}


def test_the_way_109_makes_and_calls_it(services):
    model = TaudisModel.bound_to(services)(
        label_config=BOMB, train_output={}, hostname="http://x", access_token="t"
    )
    results = model.predict([{"id": 1}, {"id": 2}], login="x", password="y", context=None)
    assert [r["result"] for r in results] == [[], []]  # 1.0.9 does not say which project
    data = {"project": {"id": 7}}
    assert model.fit((), event="PROJECT_UPDATED", data=data, job_id="j", workdir="w") == {
        "status": "rung"
    }
    assert model.process_event("ANNOTATION_UPDATED", data, "j", {"workdir": "w"}) == {
        "status": "rung"
    }
    assert services.store.rung(7) == {"config": 1, "changed": 1}


@pytest.mark.parametrize(
    ("event", "data", "status"),
    [("TASKS_CREATED", {"project": 7}, "ignored"), ("ANNOTATION_CREATED", {"project": 8},
     "unknown project"),
     ("ANNOTATION_CREATED", {}, "ignored"), ("ANNOTATION_CREATED", None, "ignored")],
)  # fmt: skip
def test_events_that_ring_for_nobody(model_class, services, event, data, status):
    assert model_class().fit(event, data)["status"] == status
    assert services.store.bells() == []


def test_bound_classes_do_not_share_services(services, tmp_path):
    other = Services.create(load_settings(model_dir=tmp_path / "other"))
    assert TaudisModel.bound_to(other)(project_id=7).model_version == ""
    assert TaudisModel.bound_to(services)(project_id=7).model_version == "v1"
    assert TaudisModel.services is None
    other.store.close()


def test_services_come_from_the_environment_when_label_studio_ml_makes_the_model(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "own"))
    model = type("Model", (TaudisModel,), {})
    assert model(project_id=7).model_version == ""
    assert (tmp_path / "own" / "store.sqlite3").exists()
    model.services.store.close()
