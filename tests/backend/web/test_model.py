"""One subclass under both generations of label-studio-ml: the installed one, and 2.x.

2.x is not on the package index, so its contract stands here as a base class that does what
label-studio-ml 2.x (read at d02cedf of 2026-08-20) does with a model. The same tests run on the
real 2.x by tests/contract/label_studio_ml_2.sh, the stand-in's own included.
"""

import inspect
import json
from typing import ClassVar

import pytest
from label_studio_ml.model import LabelStudioMLBase

from backend.settings import load_settings
from backend.store import predictions
from backend.web.model import TaudisModel, TaudisPredictions
from backend.web.predict import Services
from tests.backend.sdk import sdk
from tests.backend.store import prediction_cases

pytestmark = pytest.mark.slow  # the whole SDK
PARSER = "_extensions.label_studio_tools.core.label_config"
BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><View>&b;</View>'
CONFIG = (
    '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">'
    '<Label value="Cell"/></BrushLabels></View>'
)
INSTALLED_2X = "project_id" in inspect.signature(LabelStudioMLBase.__init__).parameters


class Base2x:
    """label-studio-ml 2.x, as far as it calls into a model or a model into it."""

    INITIAL_MODEL_VERSION = "0.0.1"
    TRAIN_EVENTS = (
        "ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATION_DELETED", "START_TRAINING",
    )  # fmt: skip
    kept: ClassVar[dict[tuple[str, str], str]] = {}  # the cache file: text by project and key

    def __init__(self, project_id=None, label_config=None):
        self.project_id = project_id or ""
        if label_config is not None:
            self.use_label_config(label_config)
        if not self.model_version:
            self.set("model_version", self.INITIAL_MODEL_VERSION)
        self.setup()

    def setup(self):
        """For a subclass to fill."""

    def use_label_config(self, label_config):
        self.label_interface = sdk("label_interface").LabelInterface(config=label_config)
        if self.get("label_config") != label_config:
            self.set("label_config", label_config)
            self.set("parsed_label_config", json.dumps(sdk(PARSER).parse_config(label_config)))

    def get(self, key):
        return self.kept.get((self.project_id, key))

    def set(self, key, value):
        if not isinstance(value, str):
            raise ValueError("Value must be a string")
        self.kept[self.project_id, key] = value

    def has(self, key):
        return (self.project_id, key) in self.kept

    @property
    def label_config(self):
        return self.get("label_config")

    @property
    def parsed_label_config(self):
        return json.loads(self.get("parsed_label_config"))

    @property
    def model_version(self):
        """The version as text; the real one turns "1.2.3" into an object that prints the same."""
        return self.get("model_version") or None

    def set_extra_params(self, extra_params):
        self.set("extra_params", extra_params)

    @property
    def extra_params(self):
        found = self.get("extra_params")
        return json.loads(found) if found else {}

    def predict(self, tasks, context=None, **params):
        return None

    def fit(self, event, data, **params):
        return None

    def process_event(self, event, data, job_id, additional_params):
        if event in self.TRAIN_EVENTS:
            return self.fit(event=event, data=data, job_id=job_id, **additional_params)
        return None


class Model2x(TaudisPredictions, Base2x):
    pass


BASES_2X = [Base2x, LabelStudioMLBase] if INSTALLED_2X else [Base2x]


@pytest.fixture(params=BASES_2X)
def base(request, monkeypatch):
    monkeypatch.setattr(Base2x, "kept", {})
    return request.param


def test_the_stand_in_and_the_real_base_keep_a_projects_config_and_version(base, monkeypatch):
    set_up = []
    model = type("M", (base,), {"setup": lambda self: set_up.append(self.project_id)})
    first = model(project_id="71", label_config=CONFIG)
    assert (first.label_config, str(first.model_version)) == (CONFIG, "0.0.1")
    assert first.parsed_label_config["tag"]["labels"] == ["Cell"]
    assert first.label_interface.get_control("tag").name == "tag"
    first.set("model_version", "mine")
    second = model(project_id="71")
    assert (second.label_config, second.model_version) == (CONFIG, "mine")
    assert not hasattr(second, "label_interface")
    assert set_up == ["71", "71"]


def test_the_stand_in_and_the_real_base_refuse_assignment_and_keep_text_alone(base):
    model = base(project_id="72", label_config=CONFIG)
    for name in ("label_config", "parsed_label_config", "model_version", "extra_params"):
        with pytest.raises(AttributeError):
            setattr(model, name, "x")
    with pytest.raises(ValueError, match="must be a string"):
        model.set_extra_params({"a": 1})
    assert model.extra_params == {}
    model.set_extra_params('{"a": 1}')
    assert model.extra_params == {"a": 1} and model.has("extra_params") and not model.has("b")
    assert base(project_id="73").label_config is None


def test_the_stand_in_and_the_real_base_fit_for_four_events_alone(base):
    fitted = []
    fit = {"fit": lambda self, event, data, **params: fitted.append((event, data, params))}
    model = type("M", (base,), fit)(project_id="74", label_config=CONFIG)
    for event in (*base.TRAIN_EVENTS, "ANNOTATIONS_CREATED", "PROJECT_UPDATED"):
        model.process_event(event, {"id": 1}, "job", {"more": 2})
    known = ["ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATION_DELETED", "START_TRAINING"]
    assert fitted == [(event, {"id": 1}, {"job_id": "job", "more": 2}) for event in known]


@pytest.fixture
def services(tmp_path):
    found = Services.create(load_settings(model_dir=tmp_path))
    path = predictions.path_of(tmp_path, 7, "v1")
    prediction_cases.write(path, {task: [{"id": str(task)}] for task in (1, 2, 3, 4)})
    lease = found.store.acquire()
    round_ = found.store.open_round(lease, 7, "first", "test", [])
    found.store.add_version(lease, 7, "v1", round_id=round_.id, model="", tasks=4, metrics={})
    found.store.update_project(7, serving="v1")
    yield found
    found.store.close()


@pytest.fixture(params=[TaudisModel, Model2x], ids=["installed", "2.x"])
def model_class(request, services, monkeypatch):
    monkeypatch.setattr(Base2x, "kept", {})
    return request.param.bound_to(services)


@pytest.fixture(params=[TaudisModel, Model2x] if INSTALLED_2X else [Model2x])
def model_2x(request, services, monkeypatch):
    monkeypatch.setattr(Base2x, "kept", {})
    return request.param.bound_to(services)


def test_it_is_a_label_studio_ml_model():
    assert issubclass(TaudisModel, LabelStudioMLBase)
    assert not getattr(TaudisModel, "__abstractmethods__", ())


def test_predict_one_result_a_task_in_order(model_class):
    model = model_class(project_id="7.170", label_config=BOMB)
    results = model.predict([{"id": 3}, {"id": 9}, {"id": 1}], context=None)
    assert [r["score"] for r in results] == [0.75, 1.25, 0.25]
    assert [len(r["result"]) for r in results] == [1, 0, 1]
    assert {r["model_version"] for r in results} == {"v1"}
    assert model.model_version == "v1"
    assert model.label_config == BOMB


def test_the_way_2x_makes_and_calls_it(model_2x, services):
    model = model_2x(project_id="7", label_config="<View/>")
    assert model.project_id == "7" and model.label_config == "<View/>"
    assert len(model.predict([{"id": 1}], context={"result": []}, login="x", password="y")) == 1
    assert model.fit("ANNOTATION_CREATED", {"project": {"id": 7}}, extra=1) == {
        "status": "recorded"
    }
    assert model.process_event("START_TRAINING", {"project": {"id": 7}}, "job", {}) == {
        "status": "recorded"
    }
    assert services.store.event_counts(7) == {"changed": 1, "train": 1}


def test_2x_finds_version_and_config_in_the_store_not_in_its_cache(model_2x, services):
    """2.x's own /setup answers `get("model_version")`; "0.0.1" would enter Label Studio's menu."""
    fresh = model_2x(project_id="9")
    assert (fresh.model_version, fresh.get("model_version"), fresh.label_config) == ("", "", None)
    fresh.set("model_version", "0.0.2")
    assert model_2x(project_id="9").get("model_version") == ""
    services.store.update_project(7, label_config=CONFIG)
    model = model_2x(project_id="7")
    assert (model.get("model_version"), model.get("label_config")) == ("v1", CONFIG)


def test_2x_passes_extra_params_as_label_studio_sends_them(model_2x):
    """Label Studio sends JSON of any kind; 2.x's cache takes text alone."""
    for sent, found in ({"a": [1]}, {"a": [1]}), ('{"b": 2}', {"b": 2}):
        model_2x(project_id="7").set_extra_params(sent)
        assert model_2x(project_id="7").extra_params == found


@pytest.mark.parametrize(
    ("settings", "known"),
    [({}, False), ({"label_studio_url": "http://studio.example"}, False),
     ({"label_studio_url": "http://studio.example", "label_studio_api_key": "t"}, True)],
)  # fmt: skip
def test_setup_of_2x_records_a_project_where_label_studio_is_configured(
    tmp_path, monkeypatch, settings, known
):
    services = Services.create(load_settings(model_dir=tmp_path / "data", **settings))
    Model2x.bound_to(services)(project_id="11", label_config=CONFIG)
    Model2x.bound_to(services)(project_id="../x", label_config=CONFIG)
    found = services.store.project(11)
    assert (found is not None) is known and len(services.store.projects()) == known
    if found is not None:
        assert found.state.label_config == CONFIG
        assert services.store.event_counts(11) == {"setup": 1}
        monkeypatch.setattr("backend.web.model.MAX_PROJECTS", 1)
        Model2x.bound_to(services)(project_id="12")
        assert services.store.project(12) is None
    services.store.close()


# tests/contract/label_studio_ml_2.sh runs this file on 2.x, where 1.0.9's way is not to be had.
@pytest.mark.skipif(INSTALLED_2X, reason="label-studio-ml 2.x is installed")
def test_the_way_109_makes_and_calls_it(services):
    model = TaudisModel.bound_to(services)(
        label_config=BOMB, train_output={}, hostname="http://x", access_token="t"
    )
    assert (model.label_config, model.parsed_label_config) == (BOMB, {})
    results = model.predict([{"id": 1}, {"id": 2}], login="x", password="y", context=None)
    assert [r["result"] for r in results] == [[], []]  # neither the call nor a task names a project
    results = model.predict([{"id": 1, "project": 7}, {"id": 2, "project": 7}])
    assert [len(r["result"]) for r in results] == [1, 1]
    results = model.predict([{"id": 1, "project": 7}, {"id": 2, "project": 8}])
    assert [r["result"] for r in results] == [[], []]
    data = {"project": {"id": 7}}
    assert model.fit((), event="PROJECT_UPDATED", data=data, job_id="j", workdir="w") == {
        "status": "recorded"
    }
    assert model.process_event("ANNOTATION_UPDATED", data, "j", {"workdir": "w"}) == {
        "status": "recorded"
    }
    assert services.store.event_counts(7) == {"config": 1, "changed": 1}


@pytest.mark.parametrize(
    ("event", "data", "status"),
    [("TASKS_CREATED", {"project": 7}, "ignored"), ("ANNOTATION_CREATED", {"project": 8},
     "unknown project"),
     ("ANNOTATION_CREATED", {}, "ignored"), ("ANNOTATION_CREATED", None, "ignored")],
)  # fmt: skip
def test_events_that_ring_for_nobody(model_class, services, event, data, status):
    assert model_class().fit(event, data)["status"] == status
    assert services.store.pending_events() == []


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
