"""The command `review`: from a project's labels to the marks of its Data Manager."""

import csv
import fcntl

import numpy as np
import pytest

from backend.commands import review
from backend.commands.projects import context_of, labels_of
from backend.label_studio.marks import MARK
from backend.worker.context import RoundContext
from taudis.data.coco import encode
from taudis.errors import TrainingError
from taudis.evaluation.label_errors import HeldOutImage
from taudis.evaluation.matching import EvaluatedImage
from tests.backend.local_loop import number_of, truth
from tests.taudis.detector_cases import LABELS, picture

MODEL = "backend.commands.review.held_out_images"


def seen(number, row, target):
    """What a model sees in a drawn picture that knows the truth and was not told the labels."""
    right = picture(number)[1]
    probs = np.array([[0.05, 0.9, 0.05], [0.05, 0.05, 0.9]])
    evaluated = EvaluatedImage(
        right.masks.shape[1:], target.labels, [encode(mask) for mask in target.masks],
        target.iscrowd, right.labels, np.full(2, 0.9), [encode(mask) for mask in right.masks],
    )  # fmt: skip
    return HeldOutImage(row, evaluated, probs)


def good_model(samples, label_map, recipe, folds, **_):
    """Stands in for the trained models of the folds."""
    assert label_map.names == LABELS.names and len(folds) == 3
    assert sorted(row for fold in folds for row in fold) == list(range(len(samples)))
    for row in range(len(samples)):
        number = number_of(samples.samples.tasks[samples.rows[row]])
        yield seen(number, row, samples[row][1])


@pytest.fixture
def project(loop):
    """Twelve labelled pictures: the label of a square is wrong, and a bar is missing."""
    made = loop.project(13)
    made.all = made.tasks()
    for number, task in enumerate(made.all[:12]):
        regions = truth(task)
        if number == 3:
            regions[0]["value"]["brushlabels"] = ["bar"]
        if number == 7:
            del regions[1]
        made.client.create_annotation(task["id"], regions)
    loop.schedule()
    made.context = RoundContext(loop.settings(), loop.store, loop.lease, made.id)
    return made


def marks(project):
    """Number of the picture -> mark, the most suspicious first."""
    rows = project.client.tabs.marks.marked(project.id)
    rows.sort(key=lambda row: row["data"][MARK], reverse=True)
    return {number_of(row): row["data"][MARK] for row in rows}


def test_planted_errors_are_listed_with_kind_reason_and_place(project, tmp_path, monkeypatch):
    monkeypatch.setattr(MODEL, good_model)
    out = tmp_path / "suspects.csv"
    printed = project.cli("review", "--csv", str(out))
    found = marks(project)
    assert set(found) == {3, 7}
    square, bar = picture(3)[1].masks[0], picture(7)[1].masks[1]
    assert "label: labelled bar, and the model sees square (85 %), " + place(square) in found[3]
    assert "missed: the model sees a bar that is not labelled (" in found[7]
    assert found[7].endswith(place(bar)) and found[7][:5] == f"{float(found[7][:5]):.3f}"
    assert "2 suspects (" in printed and "in 2 of 12 labelled tasks" in printed
    assert "the tab 'TAUDIS review' lists 2 tasks." in printed
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert [number_of({"data": {"image": row["file_name"]}}) for row in rows] == list(found)
    tasks = [project.all[number]["id"] for number in found]
    assert [int(row["image_id"]) for row in rows] == tasks
    link = f"{project.loop.studio.url}/projects/{project.id}/data?task={tasks[0]}"
    assert rows[0]["link"] == link
    annotations = {row["id"]: row["annotations"] for row in tasks_with_labels(project)}
    by_kind = {row["kind"]: row for row in rows}
    assert int(by_kind["label"]["annotation_id"]) == annotations[project.all[3]["id"]][0]["id"]

    right = str(project.all[7]["id"])
    assert "1 tasks confirmed" in project.cli("review", "--confirm", right)
    assert "got [98765]" in project.cli("review", "--confirm", "98765", well=False)
    printed = project.cli("review")
    assert "1 tasks are not listed: their labels were confirmed" in printed
    assert list(marks(project)) == [3] and "less suspicious" not in printed
    printed = project.cli("review", "--remove")
    assert "1 tasks unmarked" in printed and marks(project) == {}


def tasks_with_labels(project):
    return project.client.export_annotated(project.id)


def place(mask):
    y, x = np.nonzero(mask)
    return (
        f"{x.min() + (np.ptp(x) + 1) // 2} px from the left,"
        f" {y.min() + (np.ptp(y) + 1) // 2} px from the top"
    )


def test_what_is_not_listed_is_counted(project, monkeypatch):
    monkeypatch.setattr(MODEL, good_model)
    printed = project.cli("review", "--limit", "1")
    assert len(marks(project)) == 1 and "lists 1 tasks" in printed
    assert "1 less suspicious tasks are not listed: raise --limit" in printed

    def slow_model(samples, *given, **how):
        yield from good_model(samples, *given, **how)
        project.client.create_annotation(project.all[3]["id"], truth(project.all[3]))

    monkeypatch.setattr(MODEL, slow_model)
    printed = project.cli("review")
    assert list(marks(project)) == [7]
    assert "1 tasks are not listed: their labels were changed or confirmed since" in printed

    with project.loop.studio.records.lock:
        name = project.all[5]["data"]["image"]
        del project.loop.studio.records.uploads[name]
    monkeypatch.setattr(MODEL, good_model)
    for cached in (project.loop.data / "cache").rglob("*"):
        cached.unlink() if cached.is_file() else None
    printed = project.cli("review")
    assert "of 11 labelled tasks" in printed and list(marks(project)) == [7]
    assert "Labelled tasks that were not looked at left out: 1 (images that cannot be" in printed


@pytest.mark.slow
def test_a_review_that_was_stopped_goes_on_with_its_models(project, monkeypatch):
    """Real models of one step: an object that was drawn twice is first."""
    task = project.all[9]
    regions = truth(task)
    twice = {**regions[0], "id": "again"}
    project.client.create_annotation(task["id"], [*regions, twice])
    folder, trained = project.loop.data / "reviews" / str(project.id), []
    real = review.held_out_images.__globals__["train"]

    def train(samples, *given, **how):
        trained.append(sorted(samples.samples.task_ids[row] for row in samples.rows))
        return real(samples, *given, **how)

    monkeypatch.setattr("taudis.evaluation.held_out.train", train)
    listing = "/api/projects/.*/summary/?"
    project.loop.studio.fault("GET", listing, status=400, detail="not now")
    arguments = ("review", "--folds", "2")
    assert "not now" in project.cli(*arguments, well=False)
    assert len(trained) == 2 and len(list(folder.iterdir())) == 3  # two models and the lock
    labelled = sorted(task["id"] for task in project.all[:12])
    assert sorted(trained[0] + trained[1]) == labelled and set(trained[0]).isdisjoint(trained[1])
    printed = project.cli(*arguments)
    assert len(trained) == 2 and not folder.exists()
    assert next(iter(marks(project).items()))[0] == 9
    assert "1.000 double: lies on another square (IoU 1.00)" in marks(project)[9]
    assert "1 double" in printed


def test_errors_say_what_to_do(loop, project, monkeypatch):
    monkeypatch.setattr(MODEL, good_model)
    assert "--folds: expected 2 to 12" in project.cli("review", "--folds", "13", well=False)
    assert "--group: expected" in project.cli("review", "--group", "(x", well=False)
    folder = loop.data / "reviews" / str(project.id)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "Expected no other `review`" in project.cli("review", well=False)
    csv_there = str(loop.data / "no folder" / "x" / "s.csv")
    (loop.data / "no folder").write_text("a file")
    printed = project.cli("review", "--csv", csv_there, well=False)
    assert "The review stopped: " in printed and "goes on with the models" in printed

    def fails(*_, **__):
        raise TrainingError("Training diverged.")
        yield

    monkeypatch.setattr(MODEL, fails)
    assert "Training diverged." in project.cli("review", well=False)
    project.cli("disconnect")
    assert "Expected a connected project" in project.cli("review", well=False)


def test_a_project_without_an_object_is_refused(loop):
    project = loop.project(2)
    assert "at least one labelled task" in project.cli("review", well=False)
    project.client.create_annotation(project.tasks()[0]["id"], [])
    assert "at least one labelled object, got none in 1" in project.cli("review", well=False)


def test_other_labels_have_another_identity(project, monkeypatch):
    monkeypatch.setattr("backend.commands.projects.settings_with_logging", project.loop.settings)
    assert context_of(0).project_id == project.id
    labels = lambda: review.Labels(labels_of(project.context)[0], tuple(range(12)))  # noqa: E731
    one, same = labels(), labels()
    assert one.identity() == same.identity() and len(one) == 12
    assert one.subset([3, 1]).identity() == [one.identity()[3], one.identity()[1]]
    assert one.subset([3, 1]).subset([1]).rows == (1,)
    assert one.subset([3]).labels_at(0).tolist() == [2, 2]
    project.client.create_annotation(project.all[3]["id"], truth(project.all[3]))
    changed = labels().identity()
    assert [row for row in range(12) if changed[row] != one.identity()[row]] == [3]
