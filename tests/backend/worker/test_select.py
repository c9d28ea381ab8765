"""scored and selected under every query strategy: a real store, a real (untrained) detector."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from backend.errors import LeaseLost
from backend.web.status import page
from backend.worker import round as rounds
from backend.worker import score, select
from backend.worker.context import version_name
from taudis.data.pool_reader import load_pool, read_header
from taudis.detector.checkpoint import load_checkpoint
from taudis.selection import variants
from taudis.selection.params import Labelled, SelectionParams
from taudis.selection.strategies import STRATEGIES, query
from tests.backend.worker.round_cases import (
    BUDGET,
    LABELLED,
    POOL,
    UNREADABLE,
    open_round,
    order,
    run,
)
from tests.taudis.detector_cases import LABELS


def farthest_first(points, known, count):
    """Rows in core-set's order, by the plain loop in float64."""
    near = np.linalg.norm(points[:, None] - known[None], axis=2).min(axis=1)
    left, picks = set(range(len(points))), []
    while left:
        row = max(left, key=lambda each: near[each])
        left.remove(row)
        if len(picks) < count:
            near = np.minimum(near, np.linalg.norm(points - points[row], axis=1))
        picks.append(row)
    return picks


# --- the labelled images, for the strategy that starts from them ----------------------------------


@pytest.mark.slow
def test_core_set_starts_from_the_labelled_images_that_can_be_read(make_context, caplog):
    context = make_context(broken=[UNREADABLE, 5])
    reports = []
    round_ = run(context, open_round(context), "scored", "selected", report=reports.append)
    folder = context.round_dir(round_)
    pool, seen = load_pool(folder / score.POOL_FILE), load_pool(folder / score.LABELLED_FILE)

    assert seen.image_ids.tolist() == [11, 13, 14] and len(seen.instances) == 0
    assert read_header(folder / score.LABELLED_FILE).model == "v1"
    served, _ = load_checkpoint(context.model_dir("v1"), label_map=LABELS)
    for row, task in enumerate(seen.image_ids.tolist()):
        (alone,) = served.fast().detect([context.images.load("", task=task)])
        assert seen.sizes[row].tolist() == list(alone.size)
        close = np.abs(alone.image_embedding).max() / 20
        np.testing.assert_allclose(seen.image_embeddings[row], alone.image_embedding, atol=close)

    points, known = (np.asarray(each.image_embeddings, np.float64) for each in (pool, seen))
    expected = [int(pool.image_ids[row]) for row in farthest_first(points, known, BUDGET)]
    assert order(context, round_) == [*expected, 5]  # what cannot be read is last
    chosen = round_.steps["selected"]
    missing = "core_set went without 1 of 4 labelled images, which cannot be read"
    assert chosen["diagnostics"]["labelled"] == 3 and chosen["warnings"] == [missing]
    assert chosen["diagnostics"]["labelled_missing"] == missing

    row = round_.steps["scored"]
    assert (row["images"], row["labelled"], row["labelled_seen"]) == (6, 4, 3)
    assert "labelled task 12 left out: /12: gone" in caplog.text
    assert [each["done"] for each in reports] == sorted(each["done"] for each in reports)
    assert reports[-1] == {"step": "scored", "done": 11, "total": 11, "eta_s": 0.0}


@pytest.mark.slow
@pytest.mark.parametrize(
    "strategy", [name for name in STRATEGIES if not STRATEGIES[name].reads_labelled]
)
def test_no_other_strategy_pays_for_looking_at_labelled_images(make_context, strategy):
    context = make_context(strategy=strategy)
    round_ = run(context, open_round(context), "scored", "selected")
    assert sorted(context.images.loads) == list(POOL)
    assert not (context.round_dir(round_) / score.LABELLED_FILE).exists()
    assert sorted(order(context, round_)) == list(POOL)
    assert round_.steps["selected"]["strategy"] == strategy
    assert "labelled_missing" not in round_.steps["selected"]["diagnostics"]


@pytest.mark.slow
@pytest.mark.parametrize("least", [0.0, 1.0])
def test_objects_of_labelled_images_reach_the_strategy_that_counts_them_as_covered(
    make_context, monkeypatch, least
):
    monkeypatch.setattr(score, "OBJECT_SCORE", least)  # the untrained model is never sure
    monkeypatch.setattr(variants, "OBJECT_SCORE", least)
    asked = []
    monkeypatch.setattr(
        select, "query", lambda name, pool, **more: asked.append(more) or query(name, pool, **more)
    )
    context = make_context(strategy="taudis_uncovered")
    round_ = run(context, open_round(context), "scored", "selected")
    seen = load_pool(context.round_dir(round_) / score.LABELLED_FILE)
    pool = load_pool(context.round_dir(round_) / score.POOL_FILE)
    given = asked[-1]["labelled"].instance_embeddings
    warnings = round_.steps["selected"]["warnings"]
    assert np.array_equal(given, seen.instances.embeddings) and len(seen) == 4
    assert (len(given) > 0) == (least == 0.0)
    assert any("No labelled instance is known" in each for each in warnings) == (least == 1.0)
    assert not len(given) or given.shape[1] == pool.instances.embeddings.shape[1]


@pytest.mark.slow
def test_a_strategy_that_counts_labelled_images_is_told_their_number(make_context, monkeypatch):
    asked = []
    monkeypatch.setattr(
        select, "query", lambda name, pool, **more: asked.append(more) or query(name, pool, **more)
    )
    context = make_context(strategy="clasp_se")
    round_ = run(context, open_round(context), "scored", "selected")
    assert asked[-1]["labelled"].images == len(LABELLED)
    assert round_.steps["selected"]["diagnostics"]["power"] == len(LABELLED) / BUDGET


@pytest.mark.slow
def test_an_empty_pool_needs_no_look_at_labelled_images(make_context):
    context = make_context()
    round_ = run(context, open_round(context, pool=()), "scored", "selected")
    assert context.images.loads == [] and order(context, round_) == []
    assert round_.steps["selected"]["warnings"] == []


def test_before_the_first_model_the_order_is_random_without_complaint(make_context):
    context = make_context()
    round_ = run(context, open_round(context, kind="first"), "embedded", "selected")
    chosen = round_.steps["selected"]
    assert (chosen["strategy"], chosen["warnings"]) == ("random", [])
    assert context.images.loads == [] and sorted(order(context, round_)) == list(POOL)


# --- killed, and going on -------------------------------------------------------------------------


def dies_at(image):
    """A report that ends the worker when so many images are done."""

    def report(progress):
        if progress["done"] == image:
            raise LeaseLost("killed")

    return report


@pytest.mark.slow
@pytest.mark.parametrize("image", [1, len(POOL), len(POOL) + 1, len(POOL) + len(LABELLED)])
def test_a_worker_killed_while_it_scores_goes_on_to_the_same_order(make_context, image):
    context = make_context()
    whole = run(context, open_round(context), "scored", "selected")
    context.store.end_round(context.lease, whole.id, "served", "")

    round_ = open_round(context)
    with pytest.raises(LeaseLost):
        run(context, round_, "scored", report=dies_at(image))
    assert not (context.round_dir(round_) / score.LABELLED_FILE).exists()
    again = run(make_context(), round_, "scored", "selected")
    assert order(context, again) == order(context, whole)
    assert again.steps == {**whole.steps, "selected": {
        **whole.steps["selected"], "version": version_name(again)}}  # fmt: skip


def without_labelled(context, round_):
    """Core-set's order of the round's pool when nothing is known of labelled images."""
    pool = load_pool(context.round_dir(round_) / score.POOL_FILE)
    found = query(
        "core_set", pool, budget=BUDGET, labelled=Labelled(2.0), params=SelectionParams(), seed=0
    )
    return pool.image_ids[found.order].tolist()


def check_fallback(context, round_, caplog, reason):
    """The round went on without labelled images, and says so wherever a person looks."""
    chosen = round_.steps["selected"]
    assert order(context, round_) == without_labelled(context, round_)
    missing = chosen["diagnostics"]["labelled_missing"]
    assert missing.startswith("core_set went without the labelled images: ") and reason in missing
    assert chosen["warnings"] == [missing]
    assert missing in caplog.text
    written = json.loads((context.round_dir(round_) / "selection.json").read_text())
    assert written["diagnostics"]["labelled_missing"] == missing
    assert missing in written["warnings"]


@pytest.mark.slow
def test_a_round_scored_by_an_earlier_version_or_for_another_strategy_goes_on(make_context, caplog):
    round_ = run(make_context(strategy="taudis"), open_round(make_context()), "scored")
    context = make_context()
    reason = "scored under another STRATEGY; the next round looks at them"
    check_fallback(context, run(context, round_, "selected"), caplog, reason)


@pytest.mark.slow
def test_a_damaged_file_of_labelled_images_does_not_fail_the_round(make_context, caplog):
    context = make_context()
    round_ = run(context, open_round(context), "scored")
    path = context.round_dir(round_) / score.LABELLED_FILE
    path.write_bytes(path.read_bytes()[:-1])
    check_fallback(context, run(context, round_, "selected"), caplog, "the file is cut")


@pytest.mark.slow
def test_labelled_images_that_cannot_be_read_at_all_are_told(make_context, caplog):
    context = make_context(broken=LABELLED)
    round_ = run(context, open_round(context), "scored", "selected")
    check_fallback(context, round_, caplog, "none of the 4 can be read")


@pytest.mark.slow
def test_a_project_without_labels_has_nothing_to_complain_of(make_context):
    context = make_context()
    round_ = run(context, open_round(context, labelled=()), "scored", "selected")
    assert round_.steps["selected"]["warnings"] == []
    assert order(context, round_) == without_labelled(context, round_)


# --- settings, and what people see ----------------------------------------------------------------


@pytest.mark.slow
def test_the_hyper_parameters_of_the_settings_reach_the_strategy(
    make_context, tmp_path, monkeypatch
):
    seen = []

    def remember(name, pool, **asked):
        seen.append((name, asked["params"]))
        return query(name, pool, **asked)

    monkeypatch.setattr(select, "query", remember)
    path = tmp_path / "selection.json"
    path.write_text('{"uncertainty": "cm", "alpha": 9, "remainder": "none", "edge_bytes": 3000000}')
    expected = SelectionParams(uncertainty="cm", alpha=9, remainder="none", edge_bytes=3_000_000)
    context = make_context(strategy="taudis", selection=str(path))
    run(context, open_round(context), "scored", "selected")
    assert seen == [("taudis", expected)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("selection", "sentence"),
    [
        ('{"sketch": "always", "alpha": 1.5, "beta": 1.2}', "The cover is of a random sample of"),
        ('{"alpha": 1.5, "beta": 1.2}', "expected 7 or more (all that have detections)"),
    ],
)
def test_warnings_of_the_strategy_are_in_the_rounds_message_and_on_the_status_page(
    make_context, tmp_path, selection, sentence
):
    path = tmp_path / "selection.json"
    path.write_text(selection)
    context = make_context(strategy="taudis", selection=str(path))
    round_ = run(context, open_round(context), "scored", "selected")
    chosen = round_.steps["selected"]
    curve, warnings = chosen["coverage_curve"], chosen["warnings"]
    assert curve[-1][1] == pytest.approx(chosen["diagnostics"]["coverage"], abs=1e-4)
    assert any(sentence in text for text in warnings)
    rest = {"published": {}, "flipped": {"flipped": True, "why": ""}, "pruned": {}}
    for step, result in rest.items():
        round_ = context.store.finish_step(context.lease, round_.id, step, result)
    round_ = rounds.run_round(context, round_)
    assert all(text.rstrip(".") in round_.message for text in warnings)
    assert (
        "; such settings stand in a file that SELECTION names (docs/settings.md)" in round_.message
    )
    services = SimpleNamespace(store=context.store, settings=context.settings)
    assert sentence in page.overview_page(services)
