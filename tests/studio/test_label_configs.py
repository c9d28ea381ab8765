"""A real Label Studio saves each config and takes its predictions as the table says."""

from dataclasses import replace

import pytest

from backend.label_studio.label_config import parse_label_config
from demo.errors import DemoError
from tests.backend.label_studio.config_cases import CASES
from tests.backend.label_studio.test_config_cases import named, written

pytestmark = pytest.mark.studio

SERVED = [case for case in CASES if case.served]
USABLE = [case for case in SERVED if not case.refused]


@pytest.fixture(scope="module")
def take(studio, new_project):
    """Import one prediction into a project; '' if it is stored as written, else the difference."""

    def take(case, config, label=1):
        project = new_project(case.xml)
        path = f"/api/projects/{project}/import?return_task_ids=true"
        data = {"text": "a word", "html": "<p>a word</p>"} | dict(case.data)
        (task,) = studio.api("POST", path, json=[{"data": data}])["task_ids"]
        body = [
            {"task": task, "result": written(config, label), "score": 0.5, "model_version": "v"}
        ]
        answer = studio.api("POST", f"/api/projects/{project}/import/predictions", json=body)
        if answer["created"] != 1:
            return "dropped without a word"  # 201 with nothing created
        (stored,) = studio.api("GET", f"/api/predictions?task={task}")
        assert stored["result"] == body[0]["result"]
        return ""

    return take


@pytest.mark.parametrize("case", [case for case in CASES if not case.served], ids=named)
def test_label_studio_does_not_save_these(case, new_project):
    with pytest.raises(DemoError):
        new_project(case.xml)


@pytest.mark.parametrize("case", [case for case in SERVED if case.refused], ids=named)
def test_label_studio_saves_some_that_are_refused_here(case, new_project):
    assert new_project(case.xml) > 0


@pytest.mark.parametrize("case", [case for case in USABLE if case.written], ids=named)
def test_label_studio_takes_what_is_written(case, take):
    config = parse_label_config(case.xml)
    for number in range(1, len(case.labels) + 1):
        assert take(case, config, number) == ""


@pytest.mark.parametrize("case", [case for case in USABLE if not case.written], ids=named)
def test_label_studio_refuses_what_is_not_written(case, take):
    config = parse_label_config(case.xml)
    controls = tuple(replace(control, scores_only="") for control in config.controls)
    kinds = {control.kind for control in controls}
    if kinds & {"vector", "rectangle"}:
        pytest.skip("nothing is written to vectors, and no boxes beside a wand, whoever takes them")
    assert take(case, replace(config, controls=controls)) != ""
