"""The order before the first model: images embedded by a real backbone, over a real store."""

import numpy as np
import pytest

from backend.errors import LeaseLost
from backend.web.status import images
from backend.worker import embed
from backend.worker import round as rounds
from backend.worker.context import write_json
from backend.worker.embeddings import FILE
from taudis.detector.image_embedding import ImageEmbedder
from taudis.selection.vote import seeded_hash
from tests.backend.worker.round_cases import LABELLED, POOL, UNREADABLE, open_round, order, run
from tests.taudis.detector_cases import picture

pytestmark = pytest.mark.slow  # the weights are converted for each test

NO_PACKAGE = "no-such-package-of-weights"


def vectors_of(tasks):
    """The embeddings of what `Images` shows for the tasks, in float64."""
    embedder = ImageEmbedder.packaged()
    images = [picture(task, width=64 + 8 * (task % 3))[0] for task in tasks]
    return np.stack([embedder.embed(image) for image in images]).astype(np.float64)


def farthest_first(tasks, known=(), *, seed=0):
    """Task ids in core-set's order, by the plain loop."""
    tasks = [tasks[row] for row in np.argsort(seeded_hash(np.array(tasks), seed))]
    points = vectors_of(tasks)
    if len(known):
        away = np.linalg.norm(points[:, None] - vectors_of(known)[None], axis=2)
        near, picks = away.min(axis=1), []
    else:
        near, picks = np.linalg.norm(points - points[0], axis=1), [0]
    while len(picks) < len(tasks):
        row = max((r for r in range(len(tasks)) if r not in picks), key=lambda r: near[r])
        near = np.minimum(near, np.linalg.norm(points - points[row], axis=1))
        picks.append(row)
    return [tasks[row] for row in picks]


@pytest.fixture
def core_set_context(make_context):
    """Contexts whose first order is core-set's."""
    return lambda **settings: make_context(first_order="core_set", **settings)


def first(context, *, labelled=(), pool=POOL):
    """An open first round; no training is due."""
    context.__dict__["studio"] = Studio()
    return open_round(context, kind="first", labelled=labelled, pool=pool)


class Studio:
    """Answers how many tasks are labelled: none, or those given."""

    def __init__(self, annotated=()):
        self.annotated = annotated

    def export_annotated(self, project):
        return self.annotated


def test_the_first_order_is_core_sets_on_the_images(core_set_context):
    context = core_set_context(seed=3)
    reports = []
    round_ = run(context, first(context), "embedded", "selected", report=reports.append)
    assert order(context, round_) == farthest_first(POOL, seed=3)
    assert round_.steps["selected"]["strategy"] == "core_set"
    assert round_.steps["selected"]["warnings"] == []
    assert sorted(context.images.loads) == list(POOL)
    assert [(r["step"], r["done"], r["total"]) for r in reports] == [
        ("embedded", done, 7) for done in range(8)
    ]
    assert all(report["eta_s"] >= 0 for report in reports[2:])


def test_labelled_images_are_where_it_starts(core_set_context):
    context = core_set_context()
    round_ = run(context, first(context, labelled=LABELLED), "embedded", "selected")
    assert order(context, round_) == farthest_first(POOL, LABELLED)
    assert round_.steps["selected"]["diagnostics"]["labelled"] == 4


def test_a_task_that_is_labelled_and_still_served_is_looked_at_once(core_set_context):
    context = core_set_context()
    reports = []
    round_ = first(context, labelled=(3, 11))
    round_ = run(context, round_, "embedded", "selected", report=reports.append)
    assert sorted(context.images.loads) == [*POOL, 11]
    assert (reports[-1]["done"], reports[-1]["total"]) == (8, 8)
    assert order(context, round_) == farthest_first(POOL, (3, 11))
    assert order(context, round_)[-1] == 3  # it lies on a labelled image: itself


def test_unreadable_images_are_counted_and_last(core_set_context, caplog):
    context = core_set_context(broken=[2, 5, UNREADABLE])
    round_ = first(context, labelled=LABELLED)
    reports = []
    round_ = run(context, round_, "embedded", "selected", report=reports.append)
    readable = [task for task in POOL if task not in (2, 5)]
    known = [task for task in LABELLED if task != UNREADABLE]
    assert order(context, round_) == [*farthest_first(readable, known), 2, 5]
    done = round_.steps["embedded"]
    assert (done["images"], done["unreadable"], done["labelled_seen"]) == (5, 2, 3)
    assert rounds._left_out(round_)[1].startswith("Unlabelled tasks left out: 2 (images")
    people_see = images.left_out(context.load_project().state)
    assert "Unlabelled tasks left out: 2" in people_see[0].counts
    missing = "core_set went without 1 of 4 labelled images, which cannot be read"
    assert round_.steps["selected"]["warnings"] == [missing]
    assert f"Labelled task {UNREADABLE} left out: /{UNREADABLE}: gone" in caplog.text


def test_no_readable_image_still_gives_an_order(core_set_context):
    context = core_set_context(broken=POOL)
    round_ = run(context, first(context), "embedded", "selected")
    assert order(context, round_) == list(POOL)
    assert round_.steps["embedded"]["unreadable"] == 7


def test_missing_weights_give_a_random_order_that_says_why(core_set_context, monkeypatch):
    monkeypatch.setattr("taudis.detector.imagenet.PACKAGE", NO_PACKAGE)
    context = core_set_context()
    round_ = run(context, first(context), "embedded", "selected")
    assert context.images.loads == [] and sorted(order(context, round_)) == list(POOL)
    assert round_.steps["selected"]["strategy"] == "random"
    for step in ("published", "flipped", "pruned"):
        result = {"flipped": True, "why": ""}
        round_ = context.store.finish_step(context.lease, round_.id, step, result)
    ended = rounds._close(context, round_)
    said = "FIRST_ORDER=core_set could not be used: Weights 'imagenet': expected the package"
    assert f"{said} {NO_PACKAGE}, which is not installed" in ended.message


# --- killed, interrupted, and begun again ---------------------------------------------------------


def test_a_killed_look_goes_on_where_it_was_saved(core_set_context, monkeypatch):
    monkeypatch.setattr(embed, "CHUNK", 2)
    monkeypatch.setattr(embed, "SAVE_SECONDS", -1.0)

    def dies(progress):
        if progress["done"] == 5:
            raise LeaseLost("killed")

    context = core_set_context()
    round_ = first(context)
    with pytest.raises(LeaseLost):
        run(context, round_, "embedded", report=dies)
    again = core_set_context()
    again.__dict__["studio"] = Studio()
    reports = []
    round_ = run(again, round_, "embedded", "selected", report=reports.append)
    assert len(again.images.loads) == 3 and reports[0]["done"] == 4  # two chunks were saved
    assert order(again, round_) == farthest_first(POOL)


def test_a_later_first_order_looks_at_new_and_changed_images_alone(core_set_context):
    context = core_set_context(broken=[3])
    round_ = run(context, first(context), "embedded")
    context.store.end_round(context.lease, round_.id, "served", "")
    later = core_set_context()
    round_ = first(later, pool=(*POOL, 8))
    tasks = {str(n): {"image": f"/{n}"} for n in (*POOL, 8)}
    write_json(later.round_dir(round_) / "pool.json", {**tasks, "1": {"image": "/other"}})
    run(later, round_, "embedded")
    assert sorted(later.images.loads) == [1, 3, 8]  # one that was unreadable is tried again


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut"])
def test_damaged_embeddings_are_made_anew(core_set_context, damage):
    context = core_set_context()
    round_ = run(context, first(context), "embedded")
    (context.round_dir(round_).parent / FILE).write_bytes(damage)
    again = core_set_context()
    again.__dict__["studio"] = Studio()
    round_ = run(again, round_, "embedded", "selected")
    assert sorted(again.images.loads) == list(POOL)
    assert order(again, round_) == farthest_first(POOL)


def ended_by(why, context, monkeypatch):
    """A report that lets something end the look after its first chunk."""

    def report(progress):
        if progress["done"] != 2:
            return
        if why == "train":
            context.store.record_event(7, "train")
        elif why == "labels":
            annotated = [{"id": n, "annotations": [{"id": n, "result": []}]} for n in range(20, 24)]
            context.__dict__["studio"] = Studio(annotated)
        else:
            monkeypatch.setattr(embed, "LONGEST_SECONDS", -1.0)

    return report


@pytest.mark.parametrize(
    ("why", "words"),
    [
        ("train", "Start Training was pressed"),
        ("labels", "4 labelled tasks changed"),
        ("time", "the first order was due after"),
    ],
)
def test_a_due_training_or_the_time_ends_the_look(core_set_context, monkeypatch, why, words):
    monkeypatch.setattr(embed, "CHUNK", 2)
    context = core_set_context(train_after=4)
    round_ = first(context)
    report = ended_by(why, context, monkeypatch)
    round_ = run(context, round_, "embedded", "selected", report=report)
    looked = context.images.loads
    assert len(looked) == 2
    found = order(context, round_)
    assert set(found[:2]) == set(looked) and sorted(found) == list(POOL)
    rest = np.array([task for task in POOL if task not in looked])
    assert found[2:] == rest[np.argsort(seeded_hash(rest, 0))].tolist()
    message = round_.steps["embedded"]["why"]
    assert message.startswith("5 of 7 unlabelled images have random places, not looked at")
    assert words in message


def test_no_label_is_counted_while_the_next_training_waits(core_set_context, monkeypatch):
    """After a failed training, to count them meant to read all of them, every 64 images."""
    monkeypatch.setattr(embed, "backing_off", lambda *_: True)
    context = core_set_context(train_after=1)
    round_ = first(context)
    monkeypatch.setattr(embed, "changed_tasks", None)
    round_ = run(context, round_, "embedded")
    assert round_.steps["embedded"]["why"] == "" and len(context.images.loads) == len(POOL)
