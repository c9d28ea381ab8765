"""Rounds with MODEL=mask2former: warm starts, a change of the model, what doctor says."""

import pytest

from backend.commands.machine_checks import examine_machine
from backend.settings import load_settings


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
    assert "EMBEDDING=query: the serving model has it not" in caplog.text


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
