"""The whole loop: first order, labels, training, new order, and what people see of it."""

import json

from backend.store.first_useful import first_useful
from backend.store.next_labels import next_labels
from tests.backend.local_loop import truth


def snapshot(project, round_):
    """Annotation id -> split, as a round froze it."""
    folder = project.loop.data / "rounds" / str(project.id) / f"{round_.number:04d}"
    entries = json.loads((folder / "snapshot.json").read_text())["entries"]
    return {entry["annotation_id"]: entry["split"] for entry in entries}


def is_a_point_of_the_curve(project, round_, before):
    """Whether a round has what `next_labels` reads; the model before it is of no round."""
    found = next_labels(project.loop.store, project.id, 16)
    assert found.images == 5 and "got 1: 2 more rounds" in found.expected.reason
    assert f"Next labels: {found.in_words()}." in project.cli("rounds")
    evaluated = round_.steps["evaluated"]
    assert evaluated["compared_with"] == before
    assert evaluated["version"] == project.version()
    assert evaluated["difference"].keys() >= {"map50", "interval"}


def test_a_connected_project_gets_an_order_at_once(loop):
    project = loop.project(6)
    (first,) = project.rounds
    assert (first.kind, first.outcome) == ("first", "served")
    order = project.order()
    assert sorted(order) == [task["id"] for task in project.tasks()]
    assert [project.rows(project.version())[task] for task in order] == [
        ((rank + 1) / 6, []) for rank in range(6)
    ]
    assert project.stored_order(project.version()) == order
    assert project.client.next_task(project.id)["id"] == order[0]


def test_labels_become_a_model_and_its_order_is_served(loop):
    project = loop.project(9)
    before = project.give_model()
    made = project.label_some(5)
    project.label(project.tasks()[5], was_cancelled=True)  # a skip is no label
    round_ = project.train()
    assert (round_.kind, round_.outcome) == ("train", "served"), round_.message
    assert (round_.steps["synced"]["labelled"], round_.steps["synced"]["pool"]) == (5, 4)
    assert set(snapshot(project, round_)) == {each["id"] for each in made}
    assert "mAP50" in round_.message  # judged beside the model before it

    version = project.version()
    assert version == round_.steps["published"]["version"] != before
    rows = project.rows(version)
    assert sorted(rows) == [each["id"] for each in project.tasks()[5:]]
    assert sorted(score for score, _ in rows.values()) == [0.25, 0.5, 0.75, 1.0]
    assert any(regions for _, regions in rows.values())
    assert project.stored_order(version) == project.order()

    page = loop.app.test_client().get("/", auth=("label-studio", "a password")).text
    assert version in page and "A project" in page
    cost = round_.steps["evaluated"]["correction"]
    found = first_useful(loop.store, project.id)
    assert (found.latest.corrected, found.latest.by_hand) == (cost["corrected"], cost["by_hand"])
    assert found.latest.images == 5
    objects = sum(len(truth(task)) for task in project.tasks()[:5])
    assert found.latest.objects == objects and f"5 labelled images ({objects} objects)" in page
    is_a_point_of_the_curve(project, round_, before)
    splits = list(snapshot(project, round_).values())
    card = json.loads(project.cli("versions", version))
    assert card["snapshot"]["train"] == splits.count("train")
    assert card["snapshot"]["validation"] == splits.count("validation")
    table = project.cli("versions")
    assert "order served, model serves" in next(x for x in table.splitlines() if version in x)

    rolled = project.cli("rollback")
    assert before in rolled and project.version() == before


def test_which_annotations_count_and_on_which_side_they_stay(loop):
    """Ground truth before others, the latest of several, never a skip."""
    project = loop.project(12)
    first, second, *others = project.tasks()
    # Annotations without an object: such a training ends before it takes time.
    submit = project.client.create_annotation
    old, new = submit(first["id"], []), submit(first["id"], [])
    best = submit(second["id"], [], ground_truth=True)
    submit(second["id"], [])
    submit(second["id"], [], was_cancelled=True)
    one = project.train()
    assert set(snapshot(project, one)) == {new["id"], best["id"]}
    assert old["id"] not in snapshot(project, one)
    assert one.steps["synced"]["superseded"] == 2
    for task in others:
        submit(task["id"], [])
    two = project.train()
    assert snapshot(project, two).items() >= snapshot(project, one).items()
    assert set(snapshot(project, two).values()) == {"train", "validation"}
    assert project.version() == one.steps.get("published", {}).get("version", project.version())
