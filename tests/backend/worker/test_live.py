"""The live evaluation, on pre-annotations that differ from the truth in known ways."""

import copy

import pytest

from backend.errors import RegionError
from backend.label_studio.label_config import parse_label_config
from backend.store import predictions
from backend.store.live import LiveRow
from backend.worker import live
from backend.worker.context import RoundContext
from backend.worker.sync import sync
from tests.backend.local_loop import truth
from tests.backend.store import prediction_cases
from tests.backend.worker.round_cases import CONFIG

PARSED = parse_label_config(CONFIG)
VERSION = "taudis-0002-abc"
SQUARE, BAR = {"accepted": 1, "unchanged": 1}, {"accepted": 1, "unchanged": 1}
ALL_KEPT = {"square": SQUARE, "bar": BAR}


class Given:
    """A project whose tasks have the truth as the pre-annotation of one version."""

    def __init__(self, loop, *, pictures=5, blank=()):
        self.loop, self.project = loop, loop.project(pictures)
        self.context = RoundContext(loop.settings(), loop.store, loop.lease, self.project.id)
        self.tasks = self.project.tasks()
        self.path = self.publish(VERSION, blank)

    def publish(self, version, blank=(), model="m"):
        """A version whose regions have ids of their own, served."""
        store, lease, project = self.loop.store, self.loop.lease, self.project.id
        regions = {task["id"]: own(truth(task), version, task["id"]) for task in self.tasks}
        path = predictions.path_of(self.loop.data, project, version)
        places = prediction_cases.write(path, regions)
        withheld = {self.tasks[number]["id"] for number in blank}
        predictions.set_blank(path, withheld)
        self.project.client.import_predictions(project, [
            {"task": each.task, "score": each.score, "model_version": version,
             "result": [] if each.task in withheld else regions[each.task]}
            for each in places
        ])  # fmt: skip
        round_ = store.open_round(lease, project, "refresh", "a test", [])
        store.add_version(
            lease, project, version, round_id=round_.id, model=model, tasks=5, metrics={}
        )
        store.end_round(lease, round_.id, "served", "")
        return path

    def begun(self, number, version=VERSION):
        """A task, the regions that its editor begins with, and the id of their prediction."""
        task = self.tasks[number]["id"]
        rows = self.project.client.predictions_of(task)
        row = next(row for row in rows if row["model_version"] == version)
        return task, copy.deepcopy(row["result"]), row["id"]

    def submit(self, number, change=lambda regions: regions, **fields):
        """Submit a task as the editor does, which begins with the pre-annotation."""
        task, regions, parent = self.begun(number)
        fields = {"lead_time": 9.0, "parent_prediction": parent, **fields}
        made = self.project.client.create_annotation(task, change(regions), **fields)
        return made["id"]

    def edit(self, annotation, **fields):
        self.loop.studio.api("PATCH", f"/api/annotations/{annotation}/", json=fields)

    def read(self):
        """Read all annotations; the rows by annotation."""
        annotated = self.project.client.export_annotated(self.project.id)
        live.read_annotations(self.context, annotated, PARSED)
        return {row.annotation: row for row in self.loop.store.live_rows(self.project.id)}

    def prune(self, version=VERSION):
        """Delete a version here."""
        predictions.path_of(self.loop.data, self.project.id, version).unlink()
        self.loop.store.prune_version(None, self.project.id, version)


def own(regions, version, task):
    return [each | {"id": f"{version}-{task}-{n}"} for n, each in enumerate(regions)]


@pytest.fixture
def given(loop):
    return Given(loop)


def without_one(regions):
    return regions[1:]


# --- what is compared -----------------------------------------------------------------------------


def test_each_annotation_is_compared_with_the_prediction_that_it_began_with(given):
    kept = given.submit(0)
    removed = given.submit(1, lambda regions: regions[:1])
    relabelled = given.submit(2, lambda regions: [labelled(regions[0], "bar"), regions[1]])
    added = given.submit(3, lambda regions: [*regions, *truth(given.tasks[0])[:1]])
    emptied = given.submit(4, lambda regions: [])
    rows = given.read()
    assert {row.kind for row in rows.values()} == {"visible"}
    assert {(row.version, row.lead_time, row.annotator) for row in rows.values()} == {
        (VERSION, 9.0, 1)
    }
    assert {key: row.counts for key, row in rows.items()} == {
        kept: ALL_KEPT,
        removed: {"square": SQUARE, "bar": {"removed": 1}},
        relabelled: {"square": {"relabelled": 1}, "bar": BAR},
        added: {"square": {**SQUARE, "added": 1}, "bar": BAR},
        emptied: {"square": {"removed": 1}, "bar": {"removed": 1}},
    }


def labelled(region, label):
    return region | {"value": {**region["value"], "brushlabels": [label]}}


def test_the_version_is_the_one_that_the_editor_began_with_not_the_one_that_serves(given):
    task, regions, parent = given.begun(0)
    given.publish("taudis-0003-def")
    submit = given.project.client.create_annotation
    by_parent = submit(task, [], parent_prediction=parent, lead_time=1)["id"]
    by_regions = submit(task, without_one(regions), lead_time=1)["id"]
    resumed = submit(task, without_one(given.begun(0, "taudis-0003-def")[1]))["id"]
    found = {key: (row.kind, row.version) for key, row in given.read().items()}
    assert found == {
        by_parent: ("visible", VERSION),
        by_regions: ("visible", VERSION),
        resumed: ("visible", "taudis-0003-def"),
    }


def test_annotations_that_cannot_be_told_are_counted_not_guessed(given, loop):
    client = given.project.client
    by_hand = client.create_annotation(given.tasks[0]["id"], truth(given.tasks[0]))["id"]
    converted = given.submit(1, lead_time=None)
    broken = given.submit(2, lambda regions: [{**regions[0], "value": {"rle": [1, 2, 3]}}])
    other = {"task": given.tasks[3]["id"], "result": [], "score": 0.1, "model_version": "theirs"}
    client.import_predictions(given.project.id, [other])
    theirs = client.create_annotation(
        given.tasks[3]["id"], [], parent_prediction=given.begun(3, "theirs")[2]
    )["id"]
    odd = client.create_annotation(given.tasks[4]["id"], [None, "x", {"id": [], "origin": {}}])[
        "id"
    ]
    rows = given.read()
    assert {key: row.kind for key, row in rows.items()} == {
        by_hand: "unknown", converted: "converted", broken: "unreadable", theirs: "other_model",
        odd: "unknown",
    }  # fmt: skip
    assert all(row.counts is None for row in rows.values())


def test_before_the_first_model_there_is_nothing_to_compare_with(loop):
    project = loop.project(2)
    made = project.label_some(1)[0]["id"]
    context = RoundContext(loop.settings(), loop.store, loop.lease, project.id)
    annotated = project.client.export_annotated(project.id)
    live.read_annotations(context, annotated, PARSED)
    old = {**annotated[0]["annotations"][0], "id": 999, "created_at": "2020-01-01T00:00:00Z"}
    live.read_annotations(context, [{**annotated[0], "annotations": [old]}], PARSED)
    assert [(row.annotation, row.kind) for row in loop.store.live_rows(project.id)] == [
        (999, "before")
    ]
    live.read_annotations(context, annotated, PARSED)
    (row,) = loop.store.live_rows(project.id)
    assert (row.annotation, row.kind, row.counts) == (made, "no_model", None)


def test_withheld_regions_are_compared_with_what_people_drew_without_them(loop):
    given = Given(loop, blank=(1, 2))
    drawn = given.submit(1, lambda regions: regions + truth(given.tasks[1])[:1])
    task = given.tasks[2]
    by_client = given.project.client.create_annotation(task["id"], truth(task), lead_time=3)["id"]
    rows = given.read()
    assert rows[drawn] == LiveRow(
        drawn, given.tasks[1]["id"], rows[drawn].updated_at, "blank", VERSION, 1, 9.0,
        {"square": SQUARE, "bar": {"removed": 1}},
    )  # fmt: skip
    assert (rows[by_client].kind, rows[by_client].counts) == ("blank", ALL_KEPT)


def test_a_prediction_without_regions_has_several_meanings(given):
    """Nothing was found, nothing was looked for, or the regions had not come to Label Studio."""
    version = "taudis-0003-def"
    nothing, not_scored, score_alone = (task["id"] for task in given.tasks[:3])
    path = given.publish(version)
    order = predictions.order(path)
    with predictions.writing(path) as add:
        add(nothing, [])
        add(score_alone, own(truth(given.tasks[2]), version, score_alone))
    predictions.set_order(path, order)
    for number in range(3):
        parent = given.begun(number, version)[2]
        given.project.client.patch_prediction(parent, result=[])
        given.submit(number, lambda _: [], parent_prediction=parent)
    kinds = {row.task: (row.kind, row.counts) for row in given.read().values()}
    assert kinds == {
        nothing: ("visible", {}), not_scored: ("no_model", None), score_alone: ("unknown", None),
    }  # fmt: skip


# --- once, edited, deleted, pruned ----------------------------------------------------------------


def test_reading_again_asks_nothing_and_changes_nothing(given, monkeypatch):
    given.submit(0)
    before = given.read()
    monkeypatch.setattr(live, "compare", None)  # a second comparison would fail
    assert given.read() == before


def test_an_edit_is_compared_again_and_a_deleted_or_skipped_annotation_is_forgotten(given):
    edited, deleted, skipped = given.submit(0), given.submit(1), given.submit(2)
    assert len(given.read()) == 3
    given.edit(edited, result=[])
    given.edit(skipped, was_cancelled=True)
    given.loop.studio.api("DELETE", f"/api/annotations/{deleted}/")
    rows = given.read()
    assert rows.keys() == {edited}
    assert rows[edited].counts == {"square": {"removed": 1}, "bar": {"removed": 1}}


def test_counts_outlive_the_predictions(given):
    regions = given.begun(1)[1]
    stays, edited = given.submit(0), given.submit(1)
    before = given.read()
    given.project.client.delete_version(given.project.id, VERSION)  # in Label Studio alone
    given.edit(edited, result=regions[:1])
    rows = given.read()
    assert rows[stays] == before[stays]
    assert rows[edited].counts == {"square": SQUARE, "bar": {"removed": 1}}
    given.prune()
    given.edit(edited, result=[])
    rows = given.read()
    assert (rows[edited].outdated, rows[stays].outdated) == (True, False)
    assert rows[edited].counts == {"square": SQUARE, "bar": {"removed": 1}}
    assert rows[edited].version == VERSION and rows[stays] == before[stays]


def test_the_step_that_reads_labels_keeps_the_live_evaluation(given):
    made = given.submit(0)
    round_ = given.loop.store.open_round(
        given.loop.lease, given.project.id, "refresh", "a test", []
    )
    sync(given.context, round_, lambda progress: None)
    (row,) = given.loop.store.live_rows(given.project.id)
    assert row.counts == ALL_KEPT
    page = given.loop.app.test_client()
    auth = ("label-studio", "a password")
    found = page.get("/live", auth=auth).json["projects"][str(given.project.id)]
    assert found["total"]["accepted"] == 2 and found["versions"][0]["labels"]["bar"]["regions"] == 1
    assert page.get("/live?project=99", auth=auth).status_code == 404
    assert f"{VERSION}: bar" not in page.get("/", auth=auth).text
    assert f"{VERSION}: bar" in page.get(f"/?labels={given.project.id}", auth=auth).text
    given.edit(made, result=[])
    given.read()
    assert page.get("/live", auth=auth).json["projects"][str(given.project.id)]["total"]["removed"]


# --- single comparisons ---------------------------------------------------------------------------


def polygon(id_, points, meta=None):
    return {
        "id": id_, "type": "polygonlabels", "from_name": "tag", "to_name": "image",
        "original_width": 100, "original_height": 100, "meta": meta or {},
        "value": {"points": points, "closed": True, "polygonlabels": ["square"]},
    }  # fmt: skip


def test_an_object_in_two_parts_is_one_region():
    config = parse_label_config(CONFIG.replace("BrushLabels", "PolygonLabels"))
    first, second = (
        [[10, 10], [30, 10], [30, 30], [10, 30]],
        [[60, 10], [80, 10], [80, 30], [60, 30]],
    )
    parts = [
        polygon("a", first, {"taudis_instance": "x", "taudis_part": 0}),
        polygon("b", second, {"taudis_instance": "x", "taudis_part": 1}),
    ]
    assert live.compare(parts, parts, config) == {"square": {"accepted": 1, "unchanged": 1}}
    assert live.compare(parts, parts[:1], config) == {"square": {"reshaped": 1}}
    assert live.compare([], parts, config) == {"square": {"added": 1}}
    assert live.compare([], [], config) == {}


def test_a_region_without_a_known_label_hides_what_lies_under_it():
    task = {"data": {"image": "p001.png"}}
    regions = truth(task)
    unnamed = labelled(regions[1], "unheard of")
    assert live.compare(regions, [regions[0], unnamed], PARSED) == {"square": SQUARE, "bar": {}}
    with pytest.raises(RegionError):
        live.compare(regions, [{"id": "x", "from_name": "tag", "to_name": "image"}], PARSED)
