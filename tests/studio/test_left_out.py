"""Labels that cannot be used are counted with their reason in every place that reports labels."""

import copy
import json
import re

import pytest
import requests

from backend.worker.dataset import is_validation
from tests.studio.loop import PASSWORD, USER, make_pictures, make_project
from tests.studio.processes import wait_for
from tests.studio.test_doctor import failures

pytestmark = [pytest.mark.studio, pytest.mark.slow]

TASKS, BROKEN = 16, 4


@pytest.fixture(scope="module")
def work(loop, tmp_path_factory):
    """A project with eight labelled tasks; four of them have a region with too few run lengths."""
    found = make_project(
        loop, make_pictures(tmp_path_factory.mktemp("pictures"), TASKS, size=64), "Left out"
    )
    tasks = found.tasks()
    sides = {t["id"]: is_validation(found.id, t["id"], 0.3) for t in tasks}  # as QUICK sets it
    train = [t for t in tasks if not sides[t["id"]]]
    held = [t for t in tasks if sides[t["id"]]]
    assert len(train) >= 5 and len(held) >= 3, "the split of these ids changed"
    chosen = [*train[:5], *held[:3]]
    found.broken = [*train[:2], *held[:2]]
    for task in chosen:
        regions = copy.deepcopy(found.truth.regions(task["data"]))
        if task in found.broken:
            regions[0]["value"]["rle"] = regions[0]["value"]["rle"][:20]
        found.client.create_annotation(task["id"], regions)
    return found


def test_four_of_eight_labelled_tasks_that_cannot_be_read_are_counted_everywhere(loop, work):
    round_ = work.train()
    kind, reason = "regions whose shape cannot be read: 4", "Brush RLE: cut short"
    split = "3 to train on, 1 to judge by, 4 left out"

    assert f"Labelled tasks left out: 4 ({kind})" in round_.message and reason in round_.message
    page = requests.get(f"{loop.url}/projects/{work.id}", auth=(USER, PASSWORD), timeout=10).text
    assert f"8 labelled ({split})" in page
    assert f"Labelled tasks left out: 4 ({kind})" in page
    first = min(task["id"] for task in work.broken)
    assert re.search(rf"Task {first}: Region \w+: {reason}", page)

    found = failures(loop.cli("doctor", "--project", str(work.id), well=False))[work.id]
    assert set(found) == {"labels"}
    assert (
        split in found["labels"][0] and kind in found["labels"][0] and reason in found["labels"][0]
    )
    assert re.search(r"8 \(4 left\s+out\)", loop.cli("rounds", "--project", str(work.id)))
    assert "3 + 1, 4 left out" in loop.cli("versions", "--project", str(work.id))
    card = json.loads(loop.cli("versions", round_.steps["trained"]["version"], "-p", str(work.id)))
    assert card["result"]["left_out"]["kinds"] == {"unreadable_shape": 4}
    figures = requests.get(f"{loop.url}/metrics", auth=(USER, PASSWORD), timeout=10).text
    assert (
        f'taudis_left_out{{kind="unreadable_shape",part="labels",project="{work.id}"}} 4.0'
        in figures
    )
    assert f'taudis_labelled_tasks{{project="{work.id}",use="train"}} 3.0' in figures

    folder = loop.data / "rounds" / str(work.id) / f"{round_.number:04d}"
    rows = json.loads((folder / "left_out.json").read_text())["labels"]
    assert {row["task"] for row in rows} == {task["id"] for task in work.broken}


@pytest.mark.fault("F18", "order")
def test_a_training_without_a_usable_object_ends_with_the_reasons(loop, tmp_path_factory, figures):
    """A model without a training label is never served; the order before it stays."""
    work = make_project(
        loop, make_pictures(tmp_path_factory.mktemp("none"), 8, size=64), "Nothing usable"
    )
    before = work.version()
    for task in work.tasks()[:4]:
        regions = copy.deepcopy(work.truth.regions(task["data"]))
        for region in regions:
            region["value"]["rle"] = region["value"]["rle"][:20]
        work.client.create_annotation(task["id"], regions)
    number = work.rounds()[0].number + 1
    work.start_training()
    ended = wait_for(lambda: work.ended(number), "the failed round")
    assert ended.outcome == "failed"
    assert "Expected at least 1 labelled image to train on, got 0 of" in ended.message
    assert "left out: 4" in ended.message and "Brush RLE" in ended.message

    for task in work.tasks()[4:6]:
        work.client.create_annotation(task["id"], [])
    work.start_training()
    ended = wait_for(lambda: work.ended(number + 1), "the second failed round")
    assert ended.outcome == "failed" and work.version() == before
    # both empty tasks may be of one split: then there is no image, else no object
    assert "Expected at least" in ended.message and "left out: 4" in ended.message
    figures(served=0)
