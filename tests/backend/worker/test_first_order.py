"""A new project's order, on an in-memory Label Studio: what the worker does, what people see."""

import numpy as np
import pytest

from backend.store.first_order import no_model
from backend.worker import round as rounds
from taudis.detector.image_embedding import ImageEmbedder
from tests.backend.local_loop import number_of
from tests.backend.worker.test_worker import page
from tests.taudis.detector_cases import picture

pytestmark = pytest.mark.slow


@pytest.fixture
def core_set_loop(make_loop):
    """A loop whose first orders look at the images."""
    return make_loop(FIRST_ORDER="core_set", SEED="1")


def spread(project, order):
    """The least distance of each image from those before it, by embeddings made here."""
    embedder = ImageEmbedder.packaged()
    numbers = {task["id"]: number_of(task) for task in project.tasks()}
    points = np.stack([embedder.embed(picture(numbers[task])[0]) for task in order])
    return [
        float(np.linalg.norm(points[:row] - points[row], axis=1).min())
        for row in range(1, len(points))
    ]


def test_a_new_project_gets_an_order_of_images_that_differ(core_set_loop):
    project = core_set_loop.project(6)
    (first,) = project.rounds
    assert (first.kind, first.outcome) == ("first", "served"), first.message
    assert "the first order is by core_set (images that differ come first" in first.message
    assert first.reason == "6 tasks to put in a first order"
    order = project.order()
    assert sorted(order) == [task["id"] for task in project.tasks()]
    away = spread(project, order)
    assert away == sorted(away, reverse=True)  # farthest first: distances never rise
    assert project.client.next_task(project.id)["id"] == order[0]

    project.import_pictures(2)  # before there is a model: a new first order of all
    core_set_loop.schedule()
    assert project.rounds[0].kind == "first" and len(project.order()) == 8
    away = spread(project, project.order())
    assert away == sorted(away, reverse=True)
    project.label_some(4)
    project.train()
    folder = core_set_loop.data / "rounds" / str(project.id)
    assert not (folder / "image_embeddings.npz").exists()


def test_people_see_how_far_it_is_and_what_cannot_be_read(core_set_loop, monkeypatch):
    loop, pages = core_set_loop, []
    project = loop.project(4, connect=False)
    files = [("p004.png", ("p004.png", b"no image"))]
    loop.studio.api("POST", f"/api/projects/{project.id}/import", files=files)
    broken = project.tasks()[-1]["id"]
    report, look = rounds.Reporter.__call__, ImageEmbedder.embed

    def at_once(reporter, progress, *, force=False):
        report(reporter, progress, force=True)

    def seen(embedder, image):
        pages.append(page(loop).text)
        return look(embedder, image)

    monkeypatch.setattr(rounds.Reporter, "__call__", at_once)
    monkeypatch.setattr(ImageEmbedder, "embed", seen)
    project.connect()
    loop.schedule()
    assert all("looking at the images for a first order" in text for text in pages)
    assert ["0 of 5" in pages[0], "3 of 5" in pages[3] or "4 of 5" in pages[3]] == [True, True]
    assert project.order()[-1] == broken
    after = page(loop).text
    assert "Unlabelled tasks left out: 1" in after and f"Task {broken}: " in after
    assert "Unlabelled tasks left out: 1" in project.rounds[0].message


def test_the_first_round_says_what_it_did_and_what_comes_next(make_loop):
    """It read like an error: "6 tasks have no place in the order yet. order by random"."""
    loop = make_loop(TRAIN_AFTER="5")
    project = loop.project(6)
    (first,) = project.rounds
    assert first.reason == "6 tasks to put in a first order"
    assert first.message == (
        "the first order is random, since there is no model yet; next: a model is trained once 5"
        " tasks are labelled, or at Start Training, and draws pre-annotations"
    )
    text = page(loop).text
    assert "none yet: the first order is random; the first training starts from weights" in text
    project.import_pictures(1)
    loop.schedule()
    assert project.rounds[0].reason == "1 task has no place in the order yet"


def test_the_weights_of_the_first_training_are_named_without_a_folder():
    assert no_model("random", "none").endswith("the first training starts from random weights")
    said = no_model("core_set", "/a/folder/mine.safetensors")
    assert "is by core_set (" in said and said.endswith("starts from weights mine.safetensors")
