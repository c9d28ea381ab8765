"""The commands on versions: list, card, rollback, promote, unpin, compare."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from backend.commands.versions import VersionRow
from backend.errors import RoundError
from backend.store.version_names import resolve
from taudis.detector.card import amend_card


@pytest.fixture
def project(make_loop):
    """Six pictures, and a model whose order is served. Half of the tasks are for validation."""
    made = make_loop(VALIDATION_FRACTION="0.5").project(6)
    made.first = made.version()
    made.model = made.give_model()
    return made


def line(project, version):
    """A version's line in the table."""
    rows = project.cli("versions").splitlines()
    return next(row for row in rows if row.removeprefix("│ ").startswith(version))


@pytest.mark.slow
def test_the_table_and_the_card(project):
    assert "order served, model serves" in line(project, project.model)
    assert "none yet" in line(project, project.first)
    stray = project.add_model("taudis-0009-alone")
    assert "no order" in line(project, stray)
    assert json.loads(project.cli("versions", project.model))["labels"] == ["square", "bar"]
    refused = project.cli("versions", "taudis-1234-none", well=False)
    assert "taudis-1234-none" in refused and project.model in refused


def test_a_narrow_terminal_gets_lines_in_place_of_a_table():
    row = VersionRow("taudis-0002-a", "2", "model serves", "taudis-0002-a", "3+1", "", "step", 0)
    assert row.in_lines().splitlines() == [
        "taudis-0002-a", "    round: 2", "    state: model serves", "    order by model: the same",
        "    labels: 3+1", "    recipe: step",
    ]  # fmt: skip


@pytest.mark.slow
def test_rollback_by_name_by_default_and_to_nothing(project):
    assert project.first in project.cli("rollback")
    assert project.version() == project.first
    assert "pinned" in line(project, project.first)
    refused = project.cli("rollback", well=False)  # nothing is older
    assert "no earlier version to go back to" in refused and "is the oldest" in refused
    assert f"Later versions are {project.model}" in refused
    assert project.version() == project.first
    project.cli("rollback", project.model)
    assert project.version() == project.model
    project.client.delete_version(project.id, project.first)
    assert "Expected a published version" in project.cli("rollback", project.first, well=False)
    assert project.version() == project.model
    assert project.model in project.cli("unpin")
    assert "pinned" not in line(project, project.model)


@pytest.mark.slow
def test_a_rollback_that_label_studio_refuses_leaves_no_pin(project):
    path = f"/api/projects/{project.id}/"
    project.loop.studio.fault("PATCH", path, status=400, detail="not today")
    assert "not today" in project.cli("rollback", well=False)
    assert project.version() == project.model
    assert "pinned" not in project.cli("versions")
    project.import_pictures(1)
    project.loop.turn()
    assert project.rounds[0].outcome == "served"


@pytest.mark.slow
def test_promote_holds_a_model_until_unpin(project):
    loop, best = project.loop, project.add_model("taudis-0000-best")
    assert best in project.cli("promote", best)
    loop.turn()
    assert project.rounds[0].steps["scored"]["model"] == best
    served = project.version()
    assert served == project.rounds[0].steps["published"]["version"]
    assert "promoted" in line(project, best)
    assert best in line(project, served)  # the model that made the order
    project.cli("unpin")
    assert "promoted" not in project.cli("versions")


def test_promote_refuses_what_does_not_fit(project):
    assert "kept model" in project.cli("promote", "taudis-1234-none", well=False)
    config = project.current()["label_config"].replace("bar", "rod")
    project.client.patch_project(project.id, label_config=config)
    assert "rod" in project.cli("promote", project.model, well=False)
    loop = project.loop
    assert not loop.store.project(project.id).state.promoted


@pytest.mark.slow
def test_compare_leaves_out_what_a_model_was_trained_on(project):
    """It comes into the validation split when VALIDATION_FRACTION is raised."""
    other = project.add_model("taudis-0000-other")
    project.label_some(6)
    entries = [
        {"task_id": task["id"], "annotation_id": 1, "updated_at": "", "split": "train"}
        for task in project.tasks()
    ]
    folder = project.loop.data / "models" / str(project.id) / other
    amend_card(folder, snapshot={"entries": entries})
    assert "validation image" in project.cli("compare", project.model, other, well=False)


@pytest.mark.slow
def test_compare_needs_labels_of_the_validation_split(project):
    other = project.add_model("taudis-0000-other")
    assert "validation image" in project.cli("compare", project.model, other, well=False)
    project.label_some(6)
    printed = project.cli("compare", project.model, other)
    assert "mAP50 of square" in printed and "+0.000" in printed
    refused = project.cli("compare", project.model, "taudis-1234-none", well=False)
    assert "taudis-1234-none" in refused


def test_a_rollback_where_there_is_only_one_version_says_so(loop):
    project = loop.project(2)
    refused = project.cli("rollback", well=False)
    only = f"{project.version()} serves and is the only one. The next round publishes another."
    assert f"no earlier version to go back to: {only}" in refused


def test_every_command_takes_the_beginning_of_a_version_s_name(project):
    beginning = project.first[: len("taudis-0001")]
    assert f"serves {project.first}" in project.cli("rollback", beginning)
    kept = project.model[:-2]
    assert json.loads(project.cli("versions", kept))["labels"] == ["square", "bar"]
    assert f"model {project.model} is promoted" in project.cli("promote", kept)
    second = project.add_model("taudis-0000-kind")
    refused = project.cli("versions", "taudis-0000-k", well=False)
    assert f"with which {project.model}, {second} begin" in refused
    assert f"is {second} meant?" in project.cli(
        "compare", project.model, "taudis-000-kind", well=False
    )


def test_a_name_in_full_wins_over_longer_ones_and_nothing_names_nothing():
    names = ["taudis-0007-65a1", "taudis-0007-65a1-2", "taudis-0008-65b2"]
    assert resolve("taudis-0007-65a1", names) == "taudis-0007-65a1"
    assert resolve("taudis-0008", names) == "taudis-0008-65b2"
    for wrong, says in (
        ("taudis-0007", "taudis-0007-65a1, taudis-0007-65a1-2 begin"),
        ("taudis-0009-65b2", "is taudis-0008-65b2 meant?"),
        ("", "there are taudis-0008-65b2"),
        ("../../etc", "there are taudis-0008-65b2"),
    ):
        with pytest.raises(RoundError, match=re.escape(says)):
            resolve(wrong, names)
    with pytest.raises(RoundError, match="there are none yet"):
        resolve("taudis-0001", [])


def test_a_python_without_the_packages_is_named_with_the_right_one():
    done = subprocess.run(
        [sys.executable, "-S", "-m", "backend", "doctor"],
        cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert sys.executable in done.stderr and ".venv/bin/python -m backend" in done.stderr
