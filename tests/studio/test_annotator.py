"""Two simulated annotators label at the same time on a real Label Studio."""

import json
import threading

import pytest

from backend.label_studio.client import Studio
from backend.label_studio.label_config import parse_label_config
from demo.annotator import Annotator, Truth
from demo.annotators import Annotators
from demo.order_check import OrderCheck
from demo.pictures import KINDS, generate
from demo.studio import ADMIN
from taudis.data.coco import load_coco

pytestmark = pytest.mark.studio


def config_of(tag):
    labels = "".join(f'<Label value="{kind.name}"/>' for kind in KINDS)
    return (
        f'<View><Image name="image" value="$image"/><{tag} name="t" toName="image">{labels}</{tag}>'
        "</View>"
    )


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    return load_coco(generate(folder, 12, seed=2), folder / "images")


def publish_order(admin, project, truth):
    """Give the tasks an order other than that of their ids, and the truth as pre-annotations.

    Task id -> score.
    """
    drawn = {task["id"]: truth.regions(task["data"]) for task in admin.tasks(project)}
    order = {task: (7 * i % 12) / 12 for i, task in enumerate(drawn)}
    rows = [
        {"task": task, "result": drawn[task], "score": score, "model_version": "v1"}
        for task, score in order.items()
    ]
    admin.import_predictions(project, rows)
    admin.patch_project(project, sampling="Uncertainty sampling", model_version="v1")
    return order


def label_everything(people):
    """Run the annotators until no task is left for any of them."""
    everyone = Annotators(people)
    everyone.start()
    finished = threading.Event()
    for _ in range(120):
        if everyone.idle:
            break
        finished.wait(0.5)
    for person in people:
        person.stop()
        person.stop()
        assert not person.working
        assert person.failure == ""


def test_two_annotators_label_everything_in_order(studio, new_project, samples, tmp_path):
    label_map, pictures = samples
    project = new_project(config_of("BrushLabels"))
    studio.upload(project, [pictures.images_dir / name for name in pictures.file_names])
    admin = Studio(studio.url, ADMIN.token)
    truth = Truth(pictures, label_map, parse_label_config(config_of("BrushLabels")))
    order = publish_order(admin, project, truth)
    log = tmp_path / "answers.jsonl"
    people = []
    for name in ("ann", "ben"):
        login = studio.create_user(f"{name}@annotator.example")
        skip = 0.25 if name == "ben" else 0.0
        people.append(
            Annotator(
                studio.url, login.token, project, truth, name, pause=0.2, skip_part=skip, log=log
            )
        )
    label_everything(people)
    served = [s for person in people for s in person.served]
    done = [d for person in people for d in person.done]
    assert {d.task for d in done if not d.skipped} == set(order)
    assert all(task["is_labeled"] for task in admin.tasks(project))
    assert {len({d.task for d in person.done}) > 0 for person in people} == {True}
    verdicts = {one.verdict for one in OrderCheck(served, done, {"v1": order}).checked()}
    assert verdicts <= {"in_order", "double", "changed_meanwhile"}
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    first = next(line for line in lines if line["event"] == "served")
    assert first["predictions"][0]["model_version"] == "v1"
    assert len([line for line in lines if line["event"] == "done"]) == len(done)
    seen = [one for person in people for one in person.seen]
    logged = [line["seen"] for line in lines if line["event"] == "served"]
    assert sorted(map(str, logged)) == sorted(str(vars(one)) for one in seen)
    assert sorted(one.task for one in seen) == sorted(one.task for one in served)
    assert {one.version for one in seen} == {"v1"}
    assert all(one.regions == one.matched == one.objects for one in seen)
    objects = sum(len(pictures.target(row)) for row in range(len(pictures)))
    assert sum({one.task: one.objects for one in seen}.values()) == objects


def test_an_annotator_without_truth_or_rights_gives_up_and_says_why(studio, new_project, samples):
    label_map, pictures = samples
    truth = Truth(pictures, label_map, parse_label_config(config_of("BrushLabels")))
    project = new_project(config_of("BrushLabels"))
    rows = [{"data": {"image": "/data/upload/1/strange.jpg"}}]
    studio.api("POST", f"/api/projects/{project}/import", json=rows)
    person = Annotator(studio.url, ADMIN.token, project, truth, "lost", pause=0)
    person.start()
    person._thread.join(30)
    assert "No truth is known for strange.jpg" in person.failure
