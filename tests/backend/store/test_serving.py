"""Which model serves, and which stands in for a damaged one: a real store, real checkpoints."""

import pytest

from backend.errors import RoundError
from backend.label_studio.label_config import parse_label_config
from backend.settings import Settings
from backend.store import serving as models
from backend.store.database import Store
from backend.web.predictor_process import LoadedModels
from backend.worker.context import RoundContext
from backend.worker.serving import any_fits, load_serving
from taudis.detector.checkpoint import save_checkpoint
from taudis.errors import CheckpointError
from taudis.types import LabelMap
from tests.taudis.detector_cases import LABELS, detector

FILES = ("weights.safetensors", "card.json", "SHA256SUMS")
CONFIG = parse_label_config("""<View><Image name="image" value="$image"/>
<BrushLabels name="tag" toName="image"><Label value="square"/><Label value="bar"/></BrushLabels>
</View>""")


@pytest.fixture
def context(tmp_path):
    """A project with three orders, each of a model of its own (v1, v2, v3); v3 serves."""
    settings = Settings(model_dir=tmp_path)
    store = Store(tmp_path)
    lease = store.acquire()
    made = RoundContext(settings, store, lease, 7)
    store.update_project(7, serving="v3", model="v3")
    for number in (1, 2, 3):
        round_ = store.open_round(lease, 7, "refresh", "test", [])
        name = f"v{number}"
        save_checkpoint(made.model_dir(name), detector(seed=number), card={"round": number})
        store.add_version(lease, 7, name, round_id=round_.id, model=name, tasks=5, metrics={})
        store.end_round(lease, round_.id, "served", "")
    yield made
    store.close()


def damage(context, version, name="weights.safetensors"):
    path = context.model_dir(version) / name
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.slow
@pytest.mark.fault("F13", "serving")
@pytest.mark.parametrize("name", FILES)
def test_the_model_before_stands_in_and_the_file_is_named(context, name):
    assert (load_serving(context, LABELS).version, load_serving(context, LABELS).stand_in) == (
        "v3",
        "",
    )
    damage(context, "v3", name)
    serving = load_serving(context, LABELS)
    assert serving.version == "v2"
    assert serving.stand_in.startswith("model v2 stands in for v3: ")
    assert str(context.model_dir("v3")) in serving.stand_in and name in serving.stand_in
    damage(context, "v2")
    assert load_serving(context, LABELS).version == "v1"
    assert any_fits(context, LABELS)
    damage(context, "v1")
    with pytest.raises(CheckpointError, match=f"v3.*{name}"):
        load_serving(context, LABELS)
    assert not any_fits(context, LABELS)


@pytest.mark.slow
def test_a_model_of_other_labels_does_not_stand_in(context):
    other = LabelMap(("bar", "square"))
    save_checkpoint(context.model_dir("v2"), detector(labels=other), card={})
    damage(context, "v3")
    assert load_serving(context, LABELS).version == "v1"
    assert load_serving(context, other).version == "v2"


@pytest.mark.slow
def test_after_a_rollback_newer_models_do_not_stand_in(context):
    context.store.update_project(7, serving="v2", model="v2", pinned="v2")
    assert models.stand_ins(context.store, context.load_project(), "v2") == ["v2", "v1"]
    damage(context, "v2")
    assert load_serving(context, LABELS).version == "v1"


@pytest.mark.slow
def test_a_promoted_model_comes_first(context):
    context.store.update_project(7, promoted="v1")
    assert models.serving_model(context.load_project().state) == "v1"
    assert load_serving(context, LABELS).version == "v1"
    damage(context, "v1")
    assert load_serving(context, LABELS).version == "v3"  # what serves until then


@pytest.mark.slow
def test_a_version_names_its_model(context):
    assert models.kept_models(context.model_dir("")) == ["v3", "v2", "v1"]
    round_ = context.store.open_round(context.lease, 7, "refresh", "test", [])
    context.store.add_version(
        context.lease, 7, "v4", round_id=round_.id, model="v2", tasks=5, metrics={}
    )
    assert [
        models.model_of(context.store, context.project_id, context.model_dir(""), name)
        for name in ("v1", "v3", "v4")
    ] == ["v1", "v3", "v2"]
    for name in ("v5", "", "../7/v1", "."):
        with pytest.raises(RoundError, match="there are v4, v3, v2, v1"):
            models.model_of(context.store, context.project_id, context.model_dir(""), name)


@pytest.mark.slow
def test_on_the_spot_the_first_readable_model_predicts(context, caplog):
    process = LoadedModels(context.settings)
    folders = tuple(context.model_dir(name) for name in ("v3", "v2"))
    damage(context, "v3")
    process._readable(folders, CONFIG)
    assert list(process.models) == [folders[1]]
    assert "v3/weights.safetensors: expected SHA-256" in caplog.text
    process._readable(folders, CONFIG)
    assert list(process.models) == [folders[1]]  # the refused one pushed nothing out
    damage(context, "v2")
    process.models.clear()
    with pytest.raises(CheckpointError, match=r"v3/weights\.safetensors"):
        process._readable(folders, CONFIG)
