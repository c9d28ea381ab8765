"""The step `published`: what Label Studio gets, and what a killed or refused attempt leaves."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import LeaseLost, RoundError, RoundStopped, StoreError, StudioRejected
from backend.label_studio import queue
from backend.settings import Settings
from backend.store import predictions
from backend.store.database import Store
from backend.store.predictions import Place
from backend.worker import attempts, publish
from backend.worker.context import RoundContext, version_name
from tests.backend.store import prediction_cases

TASKS = (5, 2, 9, 4, 7)  # best first
REGIONS = {task: [{"id": f"{task}-{n}", "value": {"rle": [n] * 9}} for n in range(task % 4)]
           for task in TASKS}  # fmt: skip
GIVEN = {task: prediction_cases.given(regions) for task, regions in REGIONS.items()}


class LabelStudio:
    """Holds predictions as Label Studio does: a post with a task that is gone changes nothing."""

    def __init__(self, tasks):
        self.labelled = dict.fromkeys(tasks, False)
        self.rows, self.posts, self.patched, self.dies, self.listed = [], [], [], "", 0

    def tasks(self, project):
        self.listed += 1
        return self.tasks_touched_since(project, "")

    def tasks_touched_since(self, project, moment):
        return [{"id": task, "is_labeled": done} for task, done in sorted(self.labelled.items())]

    def model_versions(self, project):
        names = [row["model_version"] for row in self.rows]
        return {name: names.count(name) for name in names}

    def import_predictions(self, project, post):
        rows = json.loads(post.body)
        assert len(rows) == len(post)
        self.posts.append(rows)
        if any(row["task"] not in self.labelled for row in rows):
            raise StudioRejected("Invalid task id")
        self.rows += rows[: len(rows) // 2] if self.dies == "half" else rows
        if self.dies:
            raise LeaseLost("killed")

    def predictions_of(self, task):
        if task not in self.labelled:
            raise StudioRejected("400: not one of the available choices")
        return [{**row, "id": n} for n, row in enumerate(self.rows) if row["task"] == task]

    def delete(self, task):
        """A person deletes a task, with its predictions."""
        del self.labelled[task]
        for row in self.rows:
            row["model_version"] += " gone" if row["task"] == task else ""

    def patch_prediction(self, prediction, **fields):
        self.rows[prediction].update(fields)
        self.patched.append((self.rows[prediction]["task"], fields))


@pytest.fixture
def context(tmp_path):
    store = Store(tmp_path)
    lease = store.acquire()
    store.update_project(7, armed=True)
    made = RoundContext(Settings(model_dir=tmp_path), store, lease, 7)
    made.__dict__["studio"] = LabelStudio(TASKS)  # in place of the cached property
    yield made
    store.close()


def selected(context, regions=REGIONS):
    """A round with what `scored` and `selected` leave."""
    round_ = context.store.open_round(context.lease, 7, "refresh", "test", [])
    path = predictions.path_of(context.data, 7, version_name(round_))
    prediction_cases.write(path, regions)
    context.store.finish_step(context.lease, round_.id, "synced", {})
    context.store.finish_step(context.lease, round_.id, "scored", {"model": "m"})
    result = {"version": version_name(round_), "tasks": len(regions)}
    return context.store.finish_step(context.lease, round_.id, "selected", result)


def run(context, round_):
    return publish.publish(context, round_, lambda progress: None)


def rows_of(version, order=TASKS, filled=5):
    """What Label Studio should hold."""
    return [
        {"task": task, "result": GIVEN[task] if rank <= filled else [],
         "score": rank / len(order), "model_version": version}
        for rank, task in enumerate(order, start=1)
    ]  # fmt: skip


# --- what is posted -------------------------------------------------------------------------------


def test_every_task_is_posted_in_its_place_with_its_regions(context):
    round_ = selected(context)
    version = version_name(round_)
    assert run(context, round_) == {"version": version, "tasks": 5, "filled": 5}
    assert context.studio.rows == rows_of(version) and len(context.studio.posts) == 1
    (row,) = context.store.versions(7)
    assert (row.version, row.tasks, row.model, row.round) == (version, 5, "m", round_.id)


def test_a_pool_without_tasks_posts_nothing(context):
    round_ = selected(context, {})
    assert run(context, round_) == {"version": version_name(round_), "tasks": 0, "filled": 0}
    assert context.studio.posts == []


def test_a_project_that_was_disconnected_gets_nothing(context):
    round_ = selected(context)
    context.store.update_project(7, armed=False)
    with pytest.raises(RoundStopped, match="disconnected"):
        run(context, round_)
    assert context.studio.posts == []


@given(st.lists(st.integers(2, 50), max_size=12), st.integers(0, 200))
def test_the_head_is_as_long_as_the_post_allows(sizes, allowed):
    used, filled = 0, 0
    for size in sizes:
        used += size
        if used > allowed:
            break
        filled += 1
    assert publish.head_within(allowed, sizes) == filled


def test_regions_that_do_not_fit_are_filled_in_when_their_tasks_come_near(context, monkeypatch):
    sizes = [len(json.dumps(GIVEN[task])) for task in TASKS]
    monkeypatch.setattr(queue, "POST_BYTES", sum(sizes[:3]) - 1)
    monkeypatch.setattr(publish, "HEAD", 2)
    round_ = selected(context)
    result = run(context, round_)
    version = result["version"]
    assert result["filled"] == 2 and context.studio.rows == rows_of(version, filled=2)

    # As after `unpin` of an order that was held back: no switch has recorded anything.
    context.store.finish_step(context.lease, round_.id, "published", result)
    context.store.update_project(7, serving=version, filled={"taudis-0000-pruned": 2})
    assert publish.extend_head(context) == 0  # two filled tasks are still ahead
    context.studio.labelled[TASKS[0]] = context.studio.labelled[TASKS[2]] = True
    assert publish.extend_head(context) == 1  # ranks 3 and 4; rank 3 is labelled
    assert context.studio.patched == [(TASKS[3], {"result": GIVEN[TASKS[3]]})]
    assert context.load_project().state.filled == {version: 4}
    context.studio.labelled[TASKS[1]] = True
    assert publish.extend_head(context) == 1
    expected = rows_of(version)
    expected[2]["result"] = []  # labelled before it came near
    assert context.studio.rows == expected
    assert publish.extend_head(context) == 0 and len(context.studio.patched) == 2
    assert context.studio.listed == 0  # only tasks that were touched since the round are asked for


def test_deleted_tasks_do_not_keep_regions_from_those_behind(context, monkeypatch):
    """Label Studio answers 400 where it is asked for the predictions of a deleted task."""
    monkeypatch.setattr(queue, "POST_BYTES", 1)
    monkeypatch.setattr(publish, "HEAD", 3)
    round_ = selected(context)
    result = run(context, round_)
    context.store.finish_step(context.lease, round_.id, "published", result)
    context.store.update_project(7, serving=result["version"])
    context.studio.delete(TASKS[1])
    assert publish.extend_head(context) == 2  # ranks 1 to 3
    context.studio.delete(TASKS[0])  # one of them is left, and nothing is labelled
    assert publish.extend_head(context) == 2  # ranks 4 and 5
    assert [task for task, _ in context.studio.patched] == [5, 9, 4, 7]
    assert publish.extend_head(context) == 0


def test_a_head_is_not_extended_before_anything_is_served(context):
    assert publish.extend_head(context) == 0


# --- tasks that are gone --------------------------------------------------------------------------


def test_a_task_that_was_deleted_meanwhile_leaves_the_order(context):
    round_ = selected(context)
    del context.studio.labelled[9]
    result = run(context, round_)
    second = version_name(round_, 2)
    assert result == {"version": second, "tasks": 4, "filled": 4}
    assert context.studio.rows == rows_of(second, (5, 2, 4, 7))
    path = predictions.path_of(context.data, 7, second)
    assert predictions.order(path) == [
        Place(task, rank, rank / 4, "because") for rank, task in enumerate((5, 2, 4, 7), start=1)
    ]
    assert [each.name for each in path.parent.iterdir()] == [f"{version_name(round_)}.sqlite3"]
    found = predictions.read(path, TASKS)
    assert {task: each.result for task, each in found.items()} == {
        task: GIVEN[task] for task in (5, 2, 4, 7)
    }


def test_a_refusal_for_another_reason_is_handed_on(context, monkeypatch):
    def refuse(*_):
        raise StudioRejected("no such tag")

    monkeypatch.setattr(context.studio, "import_predictions", refuse)
    with pytest.raises(StudioRejected, match="no such tag"):
        run(context, selected(context))
    assert context.store.versions(7) == []


def test_a_project_whose_tasks_are_all_gone(context):
    round_ = selected(context)
    context.studio.labelled.clear()
    assert run(context, round_)["tasks"] == 0
    assert context.studio.rows == []


# --- killed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dies", "attempt", "posts"), [("whole", 1, 1), ("half", 2, 2)])
def test_a_worker_killed_in_its_post_goes_on(context, dies, attempt, posts):
    round_ = selected(context)
    context.studio.dies = dies
    with pytest.raises(LeaseLost):
        run(context, round_)
    context.studio.dies = ""
    version = version_name(round_, attempt)
    assert run(context, round_) == {"version": version, "tasks": 5, "filled": 5}
    assert [row for row in context.studio.rows if row["model_version"] == version] == rows_of(
        version
    )
    assert len(context.studio.posts) == posts
    assert set(predictions.ranks(predictions.path_of(context.data, 7, version))) == set(TASKS)
    # Killed again before its row: nothing is posted twice.
    assert run(context, round_)["version"] == version and len(context.studio.posts) == posts


def test_a_label_studio_that_never_takes_the_post_ends_the_round(context):
    round_ = selected(context)
    context.studio.dies = "half"
    for _ in range(attempts.MAX_ATTEMPTS):
        with pytest.raises(LeaseLost):
            run(context, round_)
    with pytest.raises(RoundError, match="in 5 attempts"):
        run(context, round_)


def test_a_missing_file_is_named_before_anything_is_posted(context):
    round_ = selected(context)
    predictions.path_of(context.data, 7, version_name(round_)).unlink()
    with pytest.raises(StoreError, match="No predictions are stored"):
        run(context, round_)
    assert context.studio.posts == []
