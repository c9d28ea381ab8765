"""The record of what a round left out: counts, first reasons, and where people see them."""

import json
from types import SimpleNamespace

import pytest

from backend.commands.doctor import _images, _labels
from backend.commands.studio_checks import check_pages
from backend.errors import RoundError
from backend.label_studio.left_out import FILE, LeftOut, Summary, latest_summary, of_task
from backend.settings import Settings
from backend.store.database import Store
from backend.web.metrics import Metrics
from backend.web.predict import Services
from backend.web.status.images import counted, left_out
from backend.web.status.project import view
from backend.web.status.quality import quality
from backend.worker.common import record
from backend.worker.context import RoundContext
from backend.worker.train import _check_usable
from taudis.data.statistics import LabelStatistics

ROWS = [
    LeftOut(4, "r1", "several_labels", "it has several labels", "used"),
    LeftOut(4, "r2", "unknown_label", "expected a label of 't'", "painted_out"),
    LeftOut(7, "r3", "unreadable_shape", "Brush RLE: cut short.", "dropped"),
    LeftOut(7, "r4", "unreadable_shape", "Brush RLE: cut short.", "dropped"),
    of_task(9, "/data/9: gone"),
]


@pytest.fixture()
def context(tmp_path):
    settings = Settings(model_dir=tmp_path)
    store = Store(tmp_path)
    lease = store.acquire()
    store.update_project(3, title="Three")
    yield RoundContext(settings, store, lease, 3)
    store.close()


@pytest.fixture()
def round_(context):
    made = context.store.open_round(context.lease, 3, "train", "Start Training", [])
    counts = {"labelled": 8, "train": 5, "validation": 3, "pool": 20}
    return context.store.finish_step(context.lease, made.id, "synced", counts)


def test_a_summary_counts_tasks_and_kinds_the_costly_first():
    found = Summary.of(ROWS, train=3, validation=1)
    assert (
        found and found.lost == 4 and found.tasks == 2
    )  # 7 once, though two of its regions are unreadable
    assert found.kinds == {
        "several_labels": 1, "unknown_label": 1, "unreadable_shape": 2, "unreadable_image": 1
    }  # fmt: skip
    assert found.first[0] == "Task 7: Region r3: Brush RLE: cut short."
    assert found.first[2] == "Task 9: /data/9: gone" and len(found.first) == 5
    assert "regions whose shape cannot be read: 2" in found.counted()
    assert found.in_words().startswith("Labelled tasks left out: 2 (")
    assert found.in_words().endswith("First: Task 7: Region r3: Brush RLE: cut short.")
    assert Summary.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_the_headline_says_what_became_of_the_worst_of_it():
    painted = Summary.of(ROWS[:2])
    assert painted.in_words().startswith("Regions painted over, neither object nor background: 1 (")
    used = Summary.of(ROWS[:1])
    assert used.in_words().startswith("Regions used, though not as they stand: 1 (")


def test_a_summary_of_another_version_of_this_program_is_read():
    stored = Summary.of(ROWS, train=3).to_json()
    stored["of a later version"] = 1
    del stored["lost"]
    assert Summary.from_json(stored).train == 3 and Summary.from_json({}) == Summary()


@pytest.mark.parametrize(
    ("images", "objects", "says"),
    [
        (0, 0, "at least 1 labelled image to train on, got 0 of 5 labelled tasks"),
        (2, 0, "at least one labelled object to train on, got none in 2 images"),
    ],
)
def test_a_training_set_without_images_or_objects_is_refused_with_the_reasons(
    images, objects, says
):
    round_ = SimpleNamespace(steps={"synced": {"train": 5}})
    samples = type("Samples", (), {"__len__": lambda _: images})()
    samples.statistics = LabelStatistics(images, 0.0, objects, 0.0, 64.0)
    with pytest.raises(RoundError, match=says) as error:
        _check_usable(round_, samples, Summary.of(ROWS))
    assert "Labelled tasks left out: 2" in str(error.value) and "cut short" in str(error.value)
    samples.statistics = LabelStatistics(1, 1.0, 1, 0.1, 64.0)
    if images:
        _check_usable(round_, samples, Summary.of(ROWS))


def test_nothing_left_out_says_nothing():
    found = Summary.of([], train=3)
    assert not found and found.in_words() == "" and found.counted() == ""


def test_the_record_is_written_with_the_snapshot_and_shown_everywhere(context, round_):
    record(context, round_, "labels", ROWS[::-1], train=3, validation=1)
    record(context, round_, "unlabelled", [of_task(11, "/data/11: gone")])
    record(context, round_, "unlabelled", [of_task(12, "/data/12: gone")])  # the step was repeated
    written = json.loads((context.round_dir(round_) / FILE).read_text())
    assert [row["task"] for row in written["labels"]] == [4, 4, 7, 7, 9]
    assert [row["task"] for row in written["unlabelled"]] == [12]

    state = context.load_project().state
    assert (
        latest_summary(state.left_out, "labels").tasks == 2 and latest_summary({}, "labels") is None
    )
    assert counted([context.store.round(round_.id)], state) == (
        "when round 1 began: 8 labelled (3 to train on, 1 to judge by, 2 left out), 20 unlabelled"
    )
    labels, unlabelled = left_out(state)
    assert "Labelled tasks left out: 2" in labels.counts and labels.more == 0
    assert unlabelled.first == ("Task 12: /data/12: gone",)

    figures = Metrics(context.store, context.settings.budget).render().decode()
    for line in (
        'taudis_left_out{kind="unreadable_shape",part="labels",project="3"} 2.0',
        'taudis_left_out{kind="unreadable_image",part="unlabelled",project="3"} 1.0',
        'taudis_labelled_tasks{project="3",use="train"} 3.0',
        'taudis_labelled_tasks{project="3",use="left_out"} 2.0',
    ):
        assert line in figures

    for finding, words in ((_labels(context), "Region r3"), (_images(context), "Task 12")):
        assert not finding.well and words in finding.found and finding.remedy


def test_before_the_first_training_and_where_all_was_used(context, round_):
    rounds = [context.store.round(round_.id)]
    assert counted(rounds, context.load_project().state) == (
        "when round 1 began: 8 labelled, 20 unlabelled"
    )
    assert _images(context).found.startswith("no round has read them yet")
    assert (
        _labels(context).well
        and _images(context).well
        and left_out(context.load_project().state) == []
    )
    record(context, round_, "labels", [], train=5, validation=3)
    assert (
        _labels(context).well
        and "5 to train on, 3 to judge by, 0 left out" in _labels(context).found
    )
    record(context, round_, "labels", ROWS[:1], train=5, validation=3)  # used, by its first label
    assert (
        _labels(context).well
        and "with several labels, of which one is used" in _labels(context).found
    )
    context.store.end_round(context.lease, round_.id, "served", "")
    later = context.store.open_round(context.lease, 3, "refresh", "new tasks", [])
    counts = {"labelled": 9, "pool": 22, "skipped": 2, "superseded": 1}
    later = context.store.finish_step(context.lease, later.id, "synced", counts)
    assert counted([later, *rounds], context.load_project().state) == (
        "when round 2 began: 9 labelled (in round 1 5 to train on, 3 to judge by, 0 left out), 22"
        " unlabelled, "
        "2 skipped, annotations not used, their task has a newer one: 1"
    )


def test_listings_that_had_to_shrink_are_told(context):
    (well,) = check_pages([context])
    assert well.well
    said = "Label Studio could not answer a page of 500 tasks (it answered 500), so 250 are read"
    context.store.update_project(3, pages=said)
    (found,) = check_pages([context])
    assert not found.well and said in found.found and found.remedy
    services = Services.create(context.settings, context.store)
    alerts = view(services, context.load_project()).now.alerts
    assert ("Label Studio", said) in alerts


def test_why_a_model_has_no_figure_is_told_as_it_is():
    assert quality({}) == "not measured yet: no validation image is labelled"
    empty = {"map50": None, "images": 1, "instances": 0}
    assert quality(empty) == "not measured yet: the labelled validation images hold no object"
    assert quality({"map50": 0.5, "images": 1}) == "mAP50 0.500, on 1 validation image"
