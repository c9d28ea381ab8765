"""BLANK_SHARE: the same tasks get their rank without regions in every version."""

import json

from backend.store import predictions
from backend.store.blank import is_blank
from backend.web.predict import Services, answer_tasks
from backend.worker.context import version_name
from tests.backend.store import prediction_cases
from tests.backend.worker.round_cases import CONFIG, POOL, open_round, run

SHARE, SEED = 0.4, 3
BLANK = {task for task in POOL if is_blank(task, SHARE, SEED)}


def test_the_share_is_kept_and_a_larger_one_only_adds():
    for share in (0.0, 0.2, 0.5):
        assert abs(sum(is_blank(n, share, 0) for n in range(20_000)) / 20_000 - share) < 0.01
    assert all(is_blank(n, 0.5, 1) for n in range(500) if is_blank(n, 0.2, 1))
    assert any(is_blank(n, 0.2, 1) != is_blank(n, 0.2, 2) for n in range(500))


def scored(context):
    """A round up to its order; the task ids with and without regions that people are given."""
    round_ = run(context, open_round(context), "scored")
    path = predictions.path_of(context.data, 7, version_name(round_))
    with predictions.writing(path) as add:  # what a model that finds something leaves
        for task in POOL:
            add(task, [{"id": f"region of {task}"}])
    round_ = run(context, round_, "selected")
    with predictions.Stored.opened(path) as stored:
        sizes = {task: size for task, _, size in stored.sizes()}
        given = {task: json.loads(stored.result(task)) for task in POOL}
        found = {task: json.loads(stored.found(task)) for task in POOL}
        assert {task for task in POOL if stored.is_blank(task)} == BLANK
    assert sorted(sizes) == list(POOL) and sorted(predictions.ranks(path)) == list(POOL)
    assert {task for task, size in sizes.items() if size == len(predictions.NO_REGIONS)} >= BLANK
    context.store.end_round(context.lease, round_.id, "served", "")
    return round_, path, given, found


def test_blank_tasks_have_a_rank_and_no_regions_in_every_version(make_context):
    assert 0 < len(BLANK) < len(POOL)
    context = make_context(blank_share=SHARE, seed=SEED)
    for _ in range(2):
        round_, path, given, found = scored(context)
        assert round_.steps["selected"]["blank"] == len(BLANK)
        assert found == {task: [{"id": f"region of {task}"}] for task in POOL}
        with_reasons = {
            place.task: prediction_cases.given(found[place.task], place.reason)
            for place in predictions.order(path)
        }
        assert given == {task: [] if task in BLANK else with_reasons[task] for task in POOL}
        answers = predictions.read(path, POOL)
        assert {task: each.result for task, each in answers.items()} == given


def test_predict_gives_no_regions_for_a_blank_task(make_context):
    context = make_context(blank_share=SHARE, seed=SEED)
    round_, *_ = scored(context)
    version = version_name(round_)
    context.store.update_project(7, serving=version, model="v1", label_config=CONFIG)
    services = Services.create(context.settings, context.store)
    services.predictor.predict = None  # a prediction on the spot would fail
    later = next(n for n in range(100, 200) if is_blank(n, SHARE, SEED))
    tasks = [{"id": task, "data": {"image": f"/{task}"}} for task in (*POOL, later)]
    answers = dict(zip((*POOL, later), answer_tasks(services, 7, tasks), strict=True))
    assert all(answers[task]["model_version"] == version for task in answers)
    assert {task for task in answers if not answers[task]["result"]} == {*BLANK, later}
