"""A project whose regions get their class by a choice, on a real Label Studio: in and out."""

import json
from pathlib import Path

import numpy as np
import pytest

from backend.label_studio.label_config import parse_label_config
from backend.label_studio.regions import decode_annotation
from taudis.data.coco import load_coco
from tests.studio.loop import Loop, make_pictures, make_project
from tests.studio.test_doctor import failures
from tests.studio.test_live import live, number, submit

pytestmark = [pytest.mark.studio, pytest.mark.slow]

TASKS, LABELLED = 12, 6
TOOLS = '<Brush name="brush" toName="image"/>'
GENERIC = '<BrushLabels name="brush" toName="image"><Label value="Object"/></BrushLabels>'


def config_of(names, drawing, mark):
    choices = "".join(f'<Choice value="{name}"/>' for name in names)
    return (
        f'<View><Image name="image" value="$image"/>{drawing}'
        f'<Choices name="kind" toName="image" perRegion="true"{mark}>{choices}</Choices></View>'
    )


def as_chosen(regions, drawn):
    """Brush regions with labels, as the editor writes them where the class is a choice."""
    found = []
    for region in regions:
        value = dict(region["value"])
        chosen = value.pop("brushlabels")
        label = {drawn: ["Object"]} if drawn == "brushlabels" else {}
        first = {"from_name": "brush", "type": drawn, "value": value | label}
        second = {"from_name": "kind", "type": "choices", "value": value | {"choices": chosen}}
        found += [region | first, region | second]
    return found


@pytest.fixture(params=["brush", "brushlabels"])
def work(request, studio, tmp_path):
    """A project with six labelled tasks. In one, the first region has no choice."""
    loop = Loop(studio, tmp_path / "backend", SCORE_THRESHOLD="0.0")
    try:
        loop.start_web()
        loop.start_worker()
        pictures = make_pictures(tmp_path / "pictures", TASKS, size=64)
        bare = request.param == "brush"
        xml = config_of(pictures[0].names, *((TOOLS, "") if bare else (GENERIC, ' taudis="class"')))
        made = make_project(loop, pictures, f"Choices {request.param}", xml=xml)
        made.drawn = request.param
        for row, task in enumerate(made.tasks()[:LABELLED]):
            regions = as_chosen(made.truth.regions(task["data"]), made.drawn)
            made.client.create_annotation(
                task["id"], regions[:1] + regions[2:] if not row else regions
            )
        yield made
    finally:
        loop.close()


# long: one project; a round, its files, its predictions, and what comes back of them
def test_choices_are_the_classes_of_training_export_and_predictions(work, tmp_path):
    config = parse_label_config(work.current()["label_config"])
    assert config.label_map.names == work.labels
    round_ = work.train()
    assert len(work.snapshot(round_)) == LABELLED
    found = failures(work.loop.cli("doctor", "--project", str(work.id), well=False))[work.id]
    assert set(found) == {"labels"} and "it has no choice of 'kind'" in found["labels"][0]
    card = json.loads(
        work.loop.cli("versions", round_.steps["trained"]["version"], "-p", str(work.id))
    )
    assert card["labels"] == list(work.labels)
    assert card["result"]["left_out"]["kinds"] == {"no_label": 1}

    # Labels out: masks and classes are those that were drawn; the region without a choice is a
    # crowd of each label.
    work.loop.cli("export", "--project", str(work.id), "--coco", str(tmp_path / "coco"))
    label_map, samples = load_coco(tmp_path / "coco/instances.json", tmp_path / "coco/images")
    compared = 0
    for row, name in enumerate(samples.file_names):
        (task,) = (t for t in work.tasks() if t["id"] == int(Path(name).stem))
        truth, out = work.truth._target(task["data"]), samples.target(row)
        labelled = ~out.iscrowd
        first = task["id"] == work.tasks()[0]["id"]
        assert sorted(out.labels[~labelled]) == first * [*range(1, len(label_map) + 1)]
        drawn = [index for index in range(len(truth)) if truth.masks[index].any()][first:]
        assert [label_map.name(int(n)) for n in out.labels[labelled]] == [
            work.labels[int(n) - 1] for n in truth.labels[drawn]
        ]
        assert np.array_equal(out.masks[labelled], truth.masks[drawn])
        compared += len(drawn)
    assert len(samples.file_names) == LABELLED and compared > LABELLED

    # Predictions: a shape and a choice of one id, and read back as they were found.
    (row, *_) = (row for row in work.rows(work.version()) if row["result"])
    kinds = [region["type"] for region in row["result"]]
    assert kinds == [work.drawn, "choices"] * (len(kinds) // 2)
    ids = [region["id"] for region in row["result"]]
    assert ids[::2] == ids[1::2] and len(set(ids)) == len(ids) // 2
    given = decode_annotation(row["result"], config, size=(64, 64))
    assert given.problems == () and len(given.target) == len(ids) // 2

    # Submitted unchanged, as the editor writes it: with the shape in both results.
    regions = [
        region | {"value": before["value"] | region["value"]}
        for before, region in zip(row["result"][::2], row["result"][1::2], strict=True)
    ]
    kept = submit(work, row, [*row["result"][::2], *regions])
    work.train()
    found, stored = live(work)
    assert number(stored[kept], "unchanged") == found["total"]["regions"] == len(given.target)
    print(f"{compared} objects exported as drawn; {len(given.target)} predicted and kept")
