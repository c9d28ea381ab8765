"""The commands on versions, on a real project: compare, export, promote, prune, rollback."""

import json
import math
import time

import pytest
import requests

from backend.worker.dataset import is_validation
from tests.studio.loop import PASSWORD, QUICK, USER, Loop, make_pictures, make_project
from tests.studio.processes import wait_for

pytestmark = [pytest.mark.studio, pytest.mark.slow]

POOL, LATER = 20, 2  # pictures at the start, imported at the end


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return make_pictures(tmp_path_factory.mktemp("pictures"), POOL + LATER, size=64)


@pytest.fixture(scope="module")
def loop(studio, tmp_path_factory):
    """A backend that keeps more versions than these tests make; `prune` gets a lower number."""
    made = Loop(studio, tmp_path_factory.mktemp("versions"), KEEP_VERSIONS="9")
    try:
        made.start_web()
        made.start_worker()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def work(loop, pictures):
    """A project with two models, evaluated on the same two validation images."""
    made = make_project(loop, pictures, "Versions", part=POOL)
    fraction = float(QUICK["VALIDATION_FRACTION"])
    tasks = made.tasks()
    apart = [task for task in tasks if is_validation(made.id, task["id"], fraction)]
    others = [task for task in tasks if task not in apart]
    made.evaluated_on = [task["id"] for task in apart[:2]]
    for task in apart[:2] + others[:4]:
        made.label(task)
    made.first, made.second = (made.train().steps["trained"]["version"] for _ in range(2))
    return made


def cli(work, command, *arguments, **more):
    printed = work.loop.cli(command, *arguments, "--project", str(work.id), **more)
    print(f"$ python -m backend {command} {' '.join(map(str, arguments))}\n{printed}")
    return printed


def row_of(work, version):
    """The cells of a version in the table."""
    lines = [line for line in cli(work, "versions").splitlines() if version in line]
    (line,) = [line for line in lines if line.strip("│ ").startswith(version)]
    return [cell.strip() for cell in line.strip("│").split("│")]


def model_of(work, version):
    """The model that made an order."""
    return next(row.model for row in work.loop.store.versions(work.id) if row.version == version)


def state(work):
    return work.loop.store.project(work.id).state


def weights(work, version):
    return work.loop.data / "models" / str(work.id) / version / "weights.safetensors"


def test_the_table_and_the_card_say_what_a_version_is(work):
    name, number, said, by, labels, map50, recipe, size = row_of(work, work.second)
    assert (name, number, by, labels) == (work.second, "3", "the same", "4 + 2")
    assert said == "order served, model serves"
    assert map50.endswith("]") and "4 steps" in recipe and float(size) > 1
    assert row_of(work, work.first)[2] == ""  # kept

    card = json.loads(cli(work, "versions", work.second))
    round_ = work.rounds()[0]
    assert card["snapshot"]["train"] == 4 and card["snapshot"]["validation"] == 2
    assert card["parent"] == work.first and card["evaluated"]["compared_with"] == work.first
    assert card["metrics"] == round_.steps["evaluated"]["metrics"]
    assert card["recipe"]["steps"] == 4 and card["recipe"]["model"] == card["model"]
    assert {"code_version", "torch_version", "seed", "initial_weights", "trained_at"} <= set(card)
    whole = json.loads(weights(work, work.second).with_name("card.json").read_text())
    kept = {e["annotation_id"]: e["split"] for e in whole["snapshot"]["entries"]}
    assert kept == work.snapshot(round_)


def test_two_versions_are_compared_on_the_same_images(work):
    printed = cli(work, "compare", work.first, work.second)
    evaluated = work.rounds()[0].steps["evaluated"]
    for metrics in (evaluated["metrics"], evaluated["before"]):
        assert f"{metrics['map50']:.3f}" in printed and f"{metrics['map']:.3f}" in printed
    assert "2 validation images" in printed
    assert all(f"mAP50 of {label}" in printed for label in work.labels)
    assert "no difference" in cli(work, "compare", work.first, work.first)
    assert "taudis-0009" in cli(work, "compare", work.first, "taudis-0009", well=False)


def test_export_for_others(work, tmp_path):
    out = tmp_path / "out"
    cli(work, "export", work.second, out)
    names = ["README.md", "card.json", "coco_images.json", "coco_predictions.json"]
    assert sorted(path.name for path in out.iterdir()) == [
        *names, "model.pt", "model.py", "weights.safetensors"
    ]  # fmt: skip
    images = json.loads((out / "coco_images.json").read_text())
    assert [image["id"] for image in images["images"]] == sorted(work.evaluated_on)
    assert [c["name"] for c in images["categories"]] == list(work.labels)
    assert (
        out.joinpath("weights.safetensors").read_bytes() == weights(work, work.second).read_bytes()
    )
    map50 = coco_map50(out)
    wanted = work.rounds()[0].steps["evaluated"]["metrics"]["map50"]
    print(f"mAP50 of the exported files {map50:.6f}, of the round {wanted:.6f}")
    assert math.isclose(map50, wanted, abs_tol=1e-9)

    assert "is not empty" in cli(work, "export", work.second, out, well=False)
    every = tmp_path / "every"
    cli(work, "export", work.first, every, "--every-image", "--segmentation", "polygon")
    images = json.loads((every / "coco_images.json").read_text())
    assert {image["id"] for image in images["images"]} == {task["id"] for task in work.tasks()}
    assert images["annotations"] == []
    predicted = json.loads((every / "coco_predictions.json").read_text())
    assert predicted and all(isinstance(row["segmentation"], list) for row in predicted)


def coco_map50(folder):
    """mAP50 by pycocotools from the exported files alone."""
    import contextlib
    import io

    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "coco_images.json"))
        run = COCOeval(truth, truth.loadRes(str(folder / "coco_predictions.json")), "segm")
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"][0, :, :, 0, -1]
    return float(precision[precision > -1].mean())


@pytest.mark.fault("F13", "serving")  # the test of a damaged model goes on from here
def test_a_promoted_model_serves_and_holds_its_place(work):
    before = work.version()
    assert "is promoted" in cli(work, "promote", work.first)
    wait_for(lambda: work.version() != before, "the order of the promoted model")
    refreshed = work.wait_for_round(4)
    assert refreshed.kind == "refresh" and work.first in refreshed.reason
    assert model_of(work, work.check_whole()) == work.first == state(work).model
    work.label_next()

    work.third = work.train().steps["trained"]["version"]
    kept = work.rounds()[0]
    assert kept.outcome == "kept" and f"{work.first} was promoted" in kept.message
    assert work.version() == kept.steps["published"]["version"]  # the order is fresh all the same
    assert model_of(work, work.version()) == work.first == state(work).model
    assert "evaluated, not served" in row_of(work, work.third)[2]
    assert "model serves, promoted" in row_of(work, work.first)[2]


@pytest.mark.fault("F13", "serving")  # the test of a damaged model goes on from here
def test_a_model_that_was_not_served_can_be_promoted(work):
    cli(work, "promote", work.third)
    wait_for(lambda: state(work).model == work.third, "the promoted model")
    assert model_of(work, work.check_whole()) == work.third
    work.label_next()
    assert "taudis-0009" in cli(work, "promote", "taudis-0009", well=False)


@pytest.mark.fault("F13", "serving")
def test_a_damaged_model_is_named_and_an_earlier_one_goes_on_serving(work, pictures, figures):
    file = weights(work, work.third)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)
    before, named = work.version(), f"{work.third}/weights.safetensors: expected SHA-256"

    assert named in cli(work, "doctor", well=False)
    assert "DAMAGED" in row_of(work, work.third)[2]
    for command in ("promote", "export", "compare"):
        more = {"promote": (), "export": (file.parent / "no",), "compare": (work.first,)}[command]
        assert named in cli(work, command, work.third, *more, well=False)

    _, samples = pictures
    new = [samples.images_dir / name for name in samples.file_names[POOL:]]
    with work.loop.frozen_worker():
        was = computed(work)
        work.loop.studio.upload(work.id, new)
        task = max(work.tasks(), key=lambda task: task["id"])
        work.loop.studio.api("GET", f"/api/tasks/{task['id']}/", params={"project": work.id})
        assert computed(work) == was + 1  # on the spot, by the model before
        assert named in (work.loop.data / "web.log").read_text()
        assert work.version() == before
        work.label_next()  # from the order that stands
    refreshed = work.wait_for_round(7)
    assert refreshed.outcome == "served" and named in refreshed.message
    assert f"model {work.first} stands in for {work.third}" in refreshed.message
    assert model_of(work, work.check_whole()) == work.first == state(work).model

    content[len(content) // 2] ^= 4
    file.write_bytes(content)
    assert "model files: 3 kept, all whole" in cli(work, "doctor")
    figures(flips=1, loaded=0)


def computed(work):
    """The number of predictions on the spot so far."""
    text = requests.get(f"{work.loop.url}/metrics", auth=(USER, PASSWORD), timeout=30).text
    lines = [line for line in text.splitlines() if 'source="computed"' in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if "_total" in line)


def test_prune_spares_what_serves_and_what_a_rollback_would(work):
    data = work.loop.data / "models" / str(work.id)
    was = sorted(path.name for path in data.iterdir())
    would = cli(work, "prune", "--dry-run", KEEP_VERSIONS="2")
    assert "Nothing was deleted" in would and work.second in would
    assert sorted(path.name for path in data.iterdir()) == was
    served = work.check_whole()
    assert "deleted" in cli(work, "prune", KEEP_VERSIONS="2")
    assert sorted(path.name for path in data.iterdir()) == sorted({work.first, work.third})
    assert len(work.loop.store.versions(work.id)) == 2
    assert work.check_whole() == served
    older = work.loop.store.versions(work.id)[1]
    assert older.version in cli(work, "rollback")
    # Not `check_whole`: Label Studio keeps a row of the task predicted on the spot under it.
    assert work.version() == older.version and state(work).model == work.third
    assert not state(work).promoted
    work.label_next()
    assert served in cli(work, "unpin")
    assert work.version() == served
    time.sleep(1.5 * float(QUICK["POLL_SECONDS"]))  # a poll: nothing calls for a round
    assert work.rounds()[0].number == 7
