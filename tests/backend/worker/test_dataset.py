import json
import os
import threading
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import ImageError, StudioUnreachable
from backend.images.fetch import ImageLimits
from backend.images.source import ImageSource
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.regions.brush import encode_rle
from backend.worker.dataset import (
    AnnotatedSamples,
    Snapshot,
    choose_annotation,
    is_validation,
    take_snapshot,
)
from taudis.training.crowds import MEAN_COLOUR
from tests.backend.images.servers import picture, send, serve

CONFIG = parse_label_config(
    '<View><Image name="img" value="$image"/><BrushLabels name="t" toName="img">'
    '<Label value="cat"/><Label value="dog"/></BrushLabels></View>'
)


def region(label="cat", top=2, side=6, size=(30, 40)):
    mask = np.zeros(size, bool)
    mask[top : top + side, 5 : 5 + side] = True
    value = {"format": "rle", "rle": encode_rle(mask), "brushlabels": [label]}
    return {
        "id": f"r{top}", "type": "brushlabels", "from_name": "t", "to_name": "img",
        "original_height": size[0], "original_width": size[1], "value": value,
    }  # fmt: skip


def annotation(identity, *regions, when="2026-11-22T10:00:00Z", **extra):
    return {"id": identity, "result": list(regions), "updated_at": when, **extra}


def task(identity, *annotations):
    return {"id": identity, "data": {"image": f"/data/{identity}"}, "annotations": [*annotations]}


class Images:
    """Stands in for ImageSource: images of 30 x 40, those in `broken` fail."""

    def __init__(self, broken=()):
        self.broken, self.loads = set(broken), 0

    def load(self, value, *, task=None, since=0.0):
        self.loads += 1
        if value in self.broken:
            raise ImageError(f"{value}: gone")
        return np.full((30, 40, 3), task, np.uint8)


# --- which annotation counts ------------------------------------------------------------------


def test_the_latest_that_was_not_cancelled_counts_ground_truth_first():
    early, late = "2026-11-22T10:00:00Z", "2026-11-22T10:00:00.500000Z"
    a, b = annotation(1, when=early), annotation(2, when=late)
    assert choose_annotation(task(1, b, a)) is b
    assert choose_annotation(task(1, a, annotation(3, when=late, was_cancelled=True))) is a
    truth = annotation(4, when="2020-01-01T00:00:00Z", ground_truth=True)
    assert choose_annotation(task(1, b, truth, a)) is truth
    same = annotation(9, when=late)
    assert choose_annotation(task(1, same, b)) is same  # a double: the later id
    zone = annotation(5, when="2026-11-22T09:30:00-02:00")
    assert choose_annotation(task(1, b, zone)) is zone


@pytest.mark.parametrize(
    "what",
    [
        task(1), {"id": 1}, {"id": 1, "annotations": None}, {"id": 1, "annotations": [None, 3]},
        task(1, annotation(1, was_cancelled=True)),
    ],
)  # fmt: skip
def test_nothing_counts_where_nothing_was_submitted(what):
    assert choose_annotation(what) is None


def test_times_that_cannot_be_read_come_first():
    known = annotation(1)
    assert choose_annotation(task(1, annotation(2, when="soon"), known)) is known
    assert choose_annotation(task(1, annotation(2, when=None), known)) is known


# --- the split --------------------------------------------------------------------------------


def test_the_split_is_frozen():
    """These values may never change: a task that changes sides has been trained on."""
    assert [i for i in range(1, 41) if is_validation(1, i, 0.2)] == FROZEN


FROZEN = [5, 8, 10, 18, 21, 33, 35, 38, 39]


@given(st.integers(1, 10**6), st.integers(1, 10**9), st.floats(0, 0.99), st.floats(0, 0.99))
def test_a_larger_fraction_only_adds(project, identity, one, other):
    low, high = sorted((one, other))
    assert is_validation(project, identity, low) <= is_validation(project, identity, high)
    assert not is_validation(project, identity, 0)


def test_the_fraction_is_met_and_projects_differ():
    sides = np.array([[is_validation(p, i, 0.2) for i in range(4000)] for p in (1, 2)])
    assert (abs(sides.mean(axis=1) - 0.2) < 0.03).all()
    assert 0.2 < (sides[0] != sides[1]).mean() < 0.45


# --- snapshots --------------------------------------------------------------------------------


def test_a_snapshot_holds_every_labelled_task_in_exactly_one_split():
    tasks = [task(i, annotation(100 + i, region())) for i in range(60, 0, -1)]
    snapshot = take_snapshot(3, tasks, CONFIG, 0.3)
    assert [entry.task_id for entry in snapshot.entries] == list(range(1, 61))
    train, held = snapshot.of("train"), snapshot.of("validation")
    assert len(train) + len(held) == 60 and train and held
    assert all(is_validation(3, entry.task_id, 0.3) for entry in held)
    assert snapshot.labels == ("cat", "dog") and snapshot.entries[0].annotation_id == 101


def test_a_snapshot_survives_json():
    tasks = [
        task(1, annotation(7, region("fox"))),
        task(2, annotation(8, was_cancelled=True)),
        task(3),
    ]
    snapshot = take_snapshot(3, tasks, CONFIG, 0.2)
    assert snapshot.skipped == (2,) and snapshot.superseded == 0
    assert "'fox' is in 1 tasks" in snapshot.problems[0]
    assert Snapshot.from_json(json.loads(json.dumps(snapshot.to_json()))) == snapshot


def test_a_label_by_its_value_beside_an_alias_is_known():
    config = parse_label_config(
        '<View><Image name="img" value="$image"/><BrushLabels name="t" toName="img">'
        '<Label value="cat" alias="c"/></BrushLabels></View>'
    )
    tasks = [task(1, annotation(1, region("cat"))), task(2, annotation(2, region("c")))]
    assert take_snapshot(3, tasks, config, 0.2).problems == ()
    shouted = region("dog") | {"type": "BrushLabels"}
    (problem,) = take_snapshot(3, [task(1, annotation(1, shouted))], config, 0.2).problems
    assert "'dog' is in 1 tasks" in problem


def test_annotations_that_do_not_count_are_counted():
    second, skip = annotation(8), annotation(9, was_cancelled=True)
    tasks = [task(1, annotation(7), second, skip), task(2, annotation(10)), task(3, skip)]
    snapshot = take_snapshot(3, tasks, CONFIG, 0.2)
    assert len(snapshot.entries) == 2 and snapshot.superseded == 1 and snapshot.skipped == (3,)
    old = {key: value for key, value in snapshot.to_json().items() if key != "superseded"}
    assert Snapshot.from_json(old).superseded == 0


def test_odd_results_do_not_stop_a_snapshot():
    odd = [None, 3, {}, {"type": "brushlabels"}, {"type": "brushlabels", "value": 3}]
    odd.append({"type": "brushlabels", "value": {"brushlabels": [None, {}]}})
    tasks = [task(1, annotation(1, *odd)), task(2, {"id": 2, "result": None})]
    assert len(take_snapshot(1, tasks, CONFIG, 0.2).entries) == 2


# --- samples ----------------------------------------------------------------------------------


def test_samples_are_images_with_targets():
    tasks = [task(1, annotation(1, region(), region("dog", 12))), task(2, annotation(2))]
    samples = AnnotatedSamples(tasks, CONFIG, Images())
    assert len(samples) == 2 and samples.left_out == () and samples.task_ids == (1, 2)
    assert samples.statistics.mean_instances == 1.0
    image, target = samples[0]
    assert image.shape == (30, 40, 3) and image[0, 0, 0] == 1
    assert target.labels.tolist() == [1, 2] and target.masks.shape == (2, 30, 40)
    assert target.masks.sum(axis=(1, 2)).tolist() == [36, 36]
    negative = samples[1][1]
    assert len(negative) == 0 and negative.masks.shape == (0, 30, 40)
    with pytest.raises(IndexError):
        samples[2]


def test_what_cannot_be_used_is_left_out_with_a_reason():
    bad = region() | {"value": {"format": "rle", "rle": [1], "brushlabels": ["cat"]}}
    tasks = [
        task(1, annotation(1, region())),
        task(2, annotation(2, region())),
        {"id": 3, "data": {}, "annotations": [annotation(3, region())]},
        {"id": 4, "data": None, "annotations": [annotation(4, region())]},
        task(5, annotation(5, was_cancelled=True)),
        task(6, annotation(6, bad)),
        task(7, annotation(7, bad, region())),
    ]
    samples = AnnotatedSamples(tasks, CONFIG, Images(broken={"/data/2"}))
    assert samples.task_ids == (1,)  # 7 too: the object that cannot be read would be background
    messages = "\n".join(map(str, samples.left_out))
    for words in ("Task 2: /data/2: gone", "Task 3: ", "Task 4: ", "Task 5: it has no annotation"):
        assert words in messages
    assert "Task 6: Region r2: Brush RLE" in messages and "Task 7: Region r2: Brush RLE" in messages
    assert {(row.task, row.kind, row.effect) for row in samples.left_out} == {
        (2, "unreadable_image", "dropped"), (3, "unreadable_image", "dropped"),
        (4, "unreadable_image", "dropped"), (5, "no_annotation", "dropped"),
        (6, "unreadable_shape", "dropped"), (7, "unreadable_shape", "dropped"),
    }  # fmt: skip
    assert samples.statistics.images == 1


def test_a_region_of_unknown_label_is_painted_over_not_background():
    """Its pixels are neither an object nor background; those of a labelled instance stay."""
    fox, cat = region("fox", top=2, side=10), region("cat", top=8, side=6)
    samples = AnnotatedSamples([task(9, annotation(1, fox, cat))], CONFIG, Images())
    image, target = samples[0]
    assert target.labels.tolist() == [1] and not target.iscrowd.any()
    assert samples.labels_at(0).tolist() == [1]
    seen = np.zeros((30, 40), bool)
    seen[2:12, 5:15] = True
    seen[8:14, 5:11] = False
    assert (image[seen] == MEAN_COLOUR).all() and (image[~seen] == 9).all()
    (row,) = samples.left_out
    assert (row.kind, row.effect) == ("unknown_label", "painted_out")
    assert samples.statistics.densest == 1


@pytest.fixture
def replaced(tmp_path):
    """A Label Studio whose picture /data/1 is in our cache, and the source of its images."""
    with serve() as studio:
        studio.routes["/data/1"] = send(picture(size=(30, 30), color=(9, 9, 9)))
        images = ImageSource(studio.url, dict, tmp_path / "cache", ImageLimits())
        assert images.load("/data/1").shape == (30, 30, 3)
        (cached,) = images.cache.folder.iterdir()
        os.utime(cached, (1_700_000_000, 1_700_000_000))  # 2023-11-14
        yield studio, images


def test_regions_that_do_not_fit_the_cached_picture_are_tried_on_the_one_at_its_address(replaced):
    studio, images = replaced
    early = [task(1, annotation(1, region(), when="2024-01-01T00:00:00Z"))]
    samples = AnnotatedSamples(early, CONFIG, images)
    assert len(samples) == 0 and "the image was exchanged: draw again" in str(samples.left_out[0])
    assert len(studio.seen) == 2
    studio.routes["/data/1"] = send(picture(size=(40, 30), color=(200, 0, 0)))
    assert len(AnnotatedSamples(early, CONFIG, images)) == 0 and len(studio.seen) == 2
    now = datetime.now(UTC).isoformat()
    late = [task(1, annotation(1, region(), when=now))]
    samples = AnnotatedSamples(late, CONFIG, images)
    assert len(samples) == 1 and samples.left_out == ()
    assert samples[0][0][0, 0].tolist() == [200, 0, 0] and len(studio.seen) == 3
    assert len(AnnotatedSamples(late, CONFIG, images)) == 1 and len(studio.seen) == 3


def test_a_picture_that_fits_is_the_one_that_was_drawn_on_and_is_not_asked_for_again(replaced):
    """The file at its address was replaced after the drawing, by one of the same size."""
    studio, images = replaced
    studio.routes["/data/1"] = send(picture(size=(30, 30), color=(200, 0, 0)))
    asked = len(studio.seen)
    for when in ("2023-01-01T00:00:00Z", "2024-01-01T00:00:00Z"):
        drawn = annotation(1, region(size=(30, 30)), when=when)
        samples = AnnotatedSamples([task(1, drawn)], CONFIG, images)
        assert samples[0][0][0, 0].tolist() == [9, 9, 9]
    assert len(studio.seen) == asked


def test_regions_that_fit_neither_picture_are_asked_for_once(replaced):
    studio, images = replaced
    drawn = annotation(1, region(), when="2023-01-01T00:00:00Z")
    asked = len(studio.seen)
    for _ in range(3):  # the cached file is younger than the label
        assert len(AnnotatedSamples([task(1, drawn)], CONFIG, images)) == 0
    assert len(studio.seen) == asked


def test_an_outage_of_label_studio_sets_nothing_aside():
    class Down(Images):
        def load(self, value, *, task=None, since=0.0):
            raise StudioUnreachable("down")

    with pytest.raises(StudioUnreachable):
        AnnotatedSamples([task(1, annotation(1, region()))], CONFIG, Down())


def test_as_many_samples_of_other_tasks_or_annotations_are_others():
    """A training goes on from its saved state only with the same ones."""
    first, later = annotation(1, region()), annotation(1, region(), when="2026-11-23T10:00:00Z")

    def identity(*tasks):
        return json.dumps(AnnotatedSamples(tasks, CONFIG, Images()).identity())

    assert identity(task(1, first)) == identity(task(1, first))
    assert len({identity(task(1, first)), identity(task(2, first)), identity(task(1, later))}) == 3


def test_no_tasks():
    samples = AnnotatedSamples([], CONFIG, Images())
    assert len(samples) == 0 and samples.statistics.mean_instances == 0.0


def test_the_cache_is_bounded_and_changes_nothing():
    tasks = [task(i, annotation(i, region(top=i % 20))) for i in range(30)]
    small = AnnotatedSamples(tasks, CONFIG, Images(), cache_bytes=1000)
    large = AnnotatedSamples(tasks, CONFIG, Images())
    assert len(small._cache) < 5 and len(large._cache) == 30
    assert small._held == sum(each.nbytes for each in small._cache.values()) <= 1000
    for row in (3, 29, 0, 3):
        one, two = small[row][1], large[row][1]
        assert np.array_equal(one.masks, two.masks) and np.array_equal(one.boxes, two.boxes)


def test_samples_serve_several_threads():
    samples = AnnotatedSamples(
        [task(i, annotation(i, region(top=i))) for i in range(8)], CONFIG, Images(), cache_bytes=900
    )
    wrong = []

    def read(seed):
        for row in np.random.default_rng(seed).integers(0, 8, 100).tolist():
            image, target = samples[row]
            if image[0, 0, 0] != row or target.boxes[0, 1] != row:
                wrong.append(row)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
