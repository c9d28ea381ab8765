"""Rounds with MODEL=mask2former: warm starts, a change of the model, what doctor says."""

import dataclasses

import pytest

from backend.commands.machine_checks import examine_machine
from backend.settings import load_settings
from backend.worker.train import beyond_queries
from taudis.data.statistics import LabelStatistics
from taudis.detector.mask2former import build_model
from tests.backend.local_loop import PASSWORD, USER
from tests.taudis.detector_cases import TINY, TINY_QUERIES


def trained(round_):
    return round_.steps["trained"]


@pytest.mark.slow
def test_a_serving_model_without_the_wanted_branch_scores_by_mask(make_loop, caplog):
    loop = make_loop()
    project = loop.project(4)
    project.give_model()
    loop.start_worker(MODEL="mask2former", WEIGHTS="none", EMBEDDING="query")
    project.import_pictures(2)
    loop.turn()
    newest = project.rounds[0]
    assert (newest.kind, newest.outcome) == ("refresh", "served"), newest.message
    assert "EMBEDDING=query: the serving model lacks it" in caplog.text


@pytest.mark.slow
def test_rounds_go_on_from_a_mask2former_and_say_when_the_model_changes(make_loop):
    loop = make_loop(MODEL="mask2former", WEIGHTS="none", MAX_STEPS="2", WARM_START="true")
    project = loop.project(9)
    project.label_some(4)
    first = project.train()
    assert first.outcome == "served", first.message
    assert project.card(trained(first)["version"])["model"]["architecture"] == "mask2former"

    project.label_some(1)
    second = project.train()
    assert trained(second)["start"] == trained(first)["version"], second.message
    served = project.version() if second.outcome == "served" else trained(first)["version"]

    loop.start_worker(MODEL="mask_rcnn")
    project.label_some(1)
    third = project.train()
    assert trained(third)["start"] == "" and served in third.message
    assert "expected a mask_rcnn, got a mask2former" in third.message

    loop.start_worker(MODEL="mask2former", WARM_START="false")
    project.label_some(1)
    fourth = project.train()
    assert project.card(trained(fourth)["version"])["model"]["architecture"] == "mask2former"
    assert third.outcome == "served"
    assert "trained a mask2former, the model before was a mask_rcnn" in fourth.message


def test_images_with_more_objects_than_queries_are_counted():
    found = LabelStatistics(4, 6.0, 13, 0.1, 64.0, counts=(1, 12, 13, 13))
    model = dataclasses.replace(TINY_QUERIES, detections_per_image=50)
    assert beyond_queries(model, found) == {"images": 2, "densest": 13, "queries": 12}
    assert beyond_queries(model.with_queries(13), found) == beyond_queries(TINY, found) == {}


@pytest.mark.slow
def test_a_training_records_images_that_are_denser_than_its_weights(make_loop, tmp_path):
    few = {**TINY_QUERIES.network, "num_queries": 1}
    config = dataclasses.replace(TINY_QUERIES, network=few)
    build_model(config, 2, seed=0).network.save_pretrained(tmp_path / "weights")
    loop = make_loop(MODEL="mask2former", WEIGHTS=str(tmp_path / "weights"), MAX_STEPS="1")
    project = loop.project(4)
    project.label_some(4)
    round_ = project.train()
    found, used = trained(round_)["beyond_queries"], trained(round_)["images"]
    assert found == {"images": used, "densest": 2, "queries": 1}, round_.message
    page = loop.app.test_client().get(f"/projects/{project.id}", auth=(USER, PASSWORD)).text
    assert f"more objects than the model has queries: {used} of those that" in page


@pytest.mark.slow
def test_doctor_says_what_is_wrong_with_the_weights_of_a_mask2former(tmp_path):
    def found(weights):
        settings = load_settings(model="mask2former", weights=weights, model_dir=tmp_path)
        (one,) = [f for f in examine_machine(settings) if f.check == "initial weights"]
        return one

    assert found("none").well and found("none").found == "none, for a mask2former"
    wrong = found(str(tmp_path))
    assert not wrong.well and "expected a folder with config.json" in wrong.found
    assert "save_pretrained" in wrong.remedy and "imagenet" not in wrong.remedy
