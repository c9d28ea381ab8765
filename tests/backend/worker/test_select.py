"""scored and selected under every query strategy: a real store, a real (untrained) detector."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from backend.errors import ImageError, LeaseLost
from backend.label_studio.label_config import parse_label_config
from backend.settings import load_settings
from backend.store import predictions
from backend.store.database import Store
from backend.web import status
from backend.worker import round as rounds
from backend.worker import select as choose
from backend.worker.context import Desk, version_name, write_json
from backend.worker.dataset import take_snapshot
from taudis.data.pool_reader import load_pool, read_header
from taudis.detector.checkpoint import load_checkpoint, save_checkpoint
from taudis.selection.params import Labelled, SelectionParams
from taudis.selection.strategies import STRATEGIES, query
from tests.taudis.detector_cases import LABELS, detector, picture

CONFIG = """<View><Image name="image" value="$image"/>
<BrushLabels name="tag" toName="image"><Label value="square"/><Label value="bar"/></BrushLabels>
</View>"""
POOL = (1, 2, 3, 4, 5, 6, 7)
LABELLED = (11, 12, 13, 14)
UNREADABLE = 12
BUDGET = 4


class Images:
    """Stands in for ImageSource: a picture of its own for each task; `loads` are the tasks."""

    def __init__(self, broken=()):
        self.broken, self.loads = set(broken), []

    def load(self, value, *, task=None):
        self.loads.append(task)
        if task in self.broken:
            raise ImageError(f"{value}: gone")
        return picture(task, width=64 + 8 * (task % 3))[0]


@pytest.fixture
def make_desk(tmp_path):
    """Desks with other settings over one store: a worker that was started again."""
    store = Store(tmp_path)
    lease = store.acquire()
    store.update_project(7, serving="v1", model="v1", seed_mean_instances=2.0, title="Seven")

    def make(*, broken=(), **settings):
        settings = {"strategy": "core_set", "budget": BUDGET, **settings}
        desk = Desk(load_settings(model_dir=tmp_path, **settings), store, lease, 7)
        desk.__dict__["images"] = Images(broken)  # in place of the cached property
        return desk

    save_checkpoint(make().model_dir("v1"), detector(), card={})
    round_ = store.open_round(lease, 7, "refresh", "test", [])
    store.add_version(lease, 7, "v1", round_id=round_.id, model="v1", tasks=7, metrics={})
    store.end_round(lease, round_.id, "served", "")
    yield make
    store.close()


def open_round(desk, *, pool=POOL, labelled=LABELLED, kind="refresh"):
    """A round with what `synced` leaves."""
    round_ = desk.store.open_round(desk.lease, 7, kind, "test", [])
    folder = desk.round_dir(round_)
    annotated = [
        {"id": n, "data": {"image": f"/{n}"}, "annotations": [{"id": n, "result": []}]}
        for n in labelled
    ]
    write_json(folder / "config.json", CONFIG)
    write_json(folder / "annotated.json", annotated)
    write_json(folder / "pool.json", {str(n): {"image": f"/{n}"} for n in pool})
    snapshot = take_snapshot(7, annotated, parse_label_config(CONFIG), 0.2)
    write_json(folder / "snapshot.json", snapshot.to_json())
    return desk.store.finish_step(desk.lease, round_.id, "synced", {})


def run(desk, round_, *names, report=lambda progress: None):
    """The round after the named steps."""
    for name in names:
        result = getattr(choose, name)(desk, round_, report)
        round_ = desk.store.finish_step(desk.lease, round_.id, name, result)
    return round_


def order(desk, round_):
    """The published order: task ids, first-ranked first."""
    path = predictions.path_of(desk.data, 7, version_name(round_))
    return [found.task for found in predictions.in_order(path)]


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


def test_core_set_starts_from_the_labelled_images_that_can_be_read(make_desk, caplog):
    desk = make_desk(broken=[UNREADABLE, 5])
    told = []
    round_ = run(desk, open_round(desk), "scored", "selected", report=told.append)
    folder = desk.round_dir(round_)
    pool, seen = load_pool(folder / choose.POOL_FILE), load_pool(folder / choose.LABELLED_FILE)

    assert seen.image_ids.tolist() == [11, 13, 14] and len(seen.instances) == 0
    assert read_header(folder / choose.LABELLED_FILE).model == "v1"
    served, _ = load_checkpoint(desk.model_dir("v1"), label_map=LABELS)
    for row, task in enumerate(seen.image_ids.tolist()):
        (alone,) = served.fast().detect([desk.images.load("", task=task)])
        assert seen.sizes[row].tolist() == list(alone.size)
        close = np.abs(alone.image_embedding).max() / 20
        np.testing.assert_allclose(seen.image_embeddings[row], alone.image_embedding, atol=close)

    points, known = (np.asarray(each.image_embeddings, np.float64) for each in (pool, seen))
    expected = [int(pool.image_ids[row]) for row in farthest_first(points, known, BUDGET)]
    assert order(desk, round_) == [*expected, 5]  # what cannot be read is last
    chosen = round_.steps["selected"]
    missing = "core_set went without 1 of 4 labelled images, which cannot be read"
    assert chosen["diagnostics"]["labelled"] == 3 and chosen["warnings"] == [missing]
    assert chosen["diagnostics"]["labelled_missing"] == missing

    row = round_.steps["scored"]
    assert (row["images"], row["labelled"], row["labelled_seen"]) == (6, 4, 3)
    assert "labelled task 12 left out: /12: gone" in caplog.text
    assert [each["done"] for each in told] == sorted(each["done"] for each in told)
    assert told[-1] == {"step": "scored", "done": 11, "total": 11}


@pytest.mark.parametrize("strategy", sorted(set(STRATEGIES) - choose.STARTS_FROM_LABELLED))
def test_no_other_strategy_pays_for_looking_at_labelled_images(make_desk, strategy):
    desk = make_desk(strategy=strategy)
    round_ = run(desk, open_round(desk), "scored", "selected")
    assert sorted(desk.images.loads) == list(POOL)
    assert not (desk.round_dir(round_) / choose.LABELLED_FILE).exists()
    assert sorted(order(desk, round_)) == list(POOL)
    assert round_.steps["selected"]["strategy"] == strategy
    assert "labelled_missing" not in round_.steps["selected"]["diagnostics"]


def test_the_strategies_that_start_from_labelled_images_are_those_that_look_at_them(make_desk):
    desk = make_desk()
    folder = desk.round_dir(run(desk, open_round(desk), "scored"))
    pool, seen = load_pool(folder / choose.POOL_FILE), load_pool(folder / choose.LABELLED_FILE)

    def utilities(name, labelled):
        found = query(
            name, pool, budget=BUDGET, labelled=labelled, params=SelectionParams(), seed=0
        )
        return found.utilities.tolist()

    bare, full = Labelled(2.0), Labelled(2.0, seen.image_embeddings, seen.image_ids)
    look = {name for name in STRATEGIES if utilities(name, bare) != utilities(name, full)}
    assert look == choose.STARTS_FROM_LABELLED


def test_an_empty_pool_needs_no_look_at_labelled_images(make_desk):
    desk = make_desk()
    round_ = run(desk, open_round(desk, pool=()), "scored", "selected")
    assert desk.images.loads == [] and order(desk, round_) == []
    assert round_.steps["selected"]["warnings"] == []


def test_before_the_first_model_the_order_is_random_without_complaint(make_desk):
    desk = make_desk()
    round_ = run(desk, open_round(desk, kind="first"), "selected")
    chosen = round_.steps["selected"]
    assert (chosen["strategy"], chosen["warnings"]) == ("random", [])
    assert desk.images.loads == [] and sorted(order(desk, round_)) == list(POOL)


# --- killed, and going on -------------------------------------------------------------------------


def dies_at(image):
    """A report that ends the worker when so many images are done."""

    def report(progress):
        if progress["done"] == image:
            raise LeaseLost("killed")

    return report


@pytest.mark.slow
@pytest.mark.parametrize("image", [1, len(POOL), len(POOL) + 1, len(POOL) + len(LABELLED)])
def test_a_worker_killed_while_it_scores_goes_on_to_the_same_order(make_desk, image):
    desk = make_desk()
    whole = run(desk, open_round(desk), "scored", "selected")
    desk.store.end_round(desk.lease, whole.id, "served", "")

    round_ = open_round(desk)
    with pytest.raises(LeaseLost):
        run(desk, round_, "scored", report=dies_at(image))
    assert not (desk.round_dir(round_) / choose.LABELLED_FILE).exists()
    again = run(make_desk(), round_, "scored", "selected")
    assert order(desk, again) == order(desk, whole)
    assert again.steps == {**whole.steps, "selected": {
        **whole.steps["selected"], "version": version_name(again)}}  # fmt: skip


def test_what_a_killed_attempt_saw_does_not_outlive_a_change_of_strategy(make_desk):
    desk = make_desk()
    round_ = open_round(desk)
    choose.scored(desk, round_, lambda progress: None)  # killed before its row
    run(make_desk(strategy="random"), round_, "scored")
    assert not (desk.round_dir(round_) / choose.LABELLED_FILE).exists()


def without_labelled(desk, round_):
    """Core-set's order of the round's pool when nothing is known of labelled images."""
    pool = load_pool(desk.round_dir(round_) / choose.POOL_FILE)
    found = query(
        "core_set", pool, budget=BUDGET, labelled=Labelled(2.0), params=SelectionParams(), seed=0
    )
    return pool.image_ids[found.order].tolist()


def check_fallback(desk, round_, caplog, reason):
    """The round went on without labelled images, and says so wherever a person looks."""
    chosen = round_.steps["selected"]
    assert order(desk, round_) == without_labelled(desk, round_)
    missing = chosen["diagnostics"]["labelled_missing"]
    assert missing.startswith("core_set went without the labelled images: ") and reason in missing
    assert chosen["warnings"] == [missing]
    assert missing in caplog.text
    written = json.loads((desk.round_dir(round_) / "selection.json").read_text())
    assert written["diagnostics"]["labelled_missing"] == missing
    assert missing in written["warnings"]


def test_a_round_scored_by_an_earlier_version_or_for_another_strategy_goes_on(make_desk, caplog):
    round_ = run(make_desk(strategy="taudis"), open_round(make_desk()), "scored")
    desk = make_desk()
    reason = "scored by an earlier version or under another STRATEGY; the next round looks at them"
    check_fallback(desk, run(desk, round_, "selected"), caplog, reason)


def test_a_damaged_file_of_labelled_images_does_not_fail_the_round(make_desk, caplog):
    desk = make_desk()
    round_ = run(desk, open_round(desk), "scored")
    path = desk.round_dir(round_) / choose.LABELLED_FILE
    path.write_bytes(path.read_bytes()[:-1])
    check_fallback(desk, run(desk, round_, "selected"), caplog, "the file is cut")


def test_labelled_images_that_cannot_be_read_at_all_are_told(make_desk, caplog):
    desk = make_desk(broken=LABELLED)
    round_ = run(desk, open_round(desk), "scored", "selected")
    check_fallback(desk, round_, caplog, "none of the 4 can be read")


def test_a_project_without_labels_has_nothing_to_complain_of(make_desk):
    desk = make_desk()
    round_ = run(desk, open_round(desk, labelled=()), "scored", "selected")
    assert round_.steps["selected"]["warnings"] == []
    assert order(desk, round_) == without_labelled(desk, round_)


# --- settings, and what people see ----------------------------------------------------------------


def test_every_parameter_of_a_selection_has_a_setting_that_reaches_it():
    given = {
        "uncertainty": "cm", "alpha": 9.0, "beta": 4.0, "sigma": 0.7, "sigma_rule": "flat",
        "remainder": "none", "centre": True, "standardise": True, "alpha_img": 5.0,
        "sketch": "always",
    }  # fmt: skip
    desk = SimpleNamespace(settings=load_settings(**given, edge_mb=3))
    made = choose.selection_params(desk)
    assert dataclasses.asdict(made) == {**given, "edge_bytes": 3_000_000, "epsilon": 0.1}
    usual = SelectionParams()
    same = {
        name for name in dataclasses.asdict(made) if getattr(made, name) == getattr(usual, name)
    }
    assert same == {"epsilon"}  # the proof's, no setting


def test_the_settings_without_an_environment_are_the_defaults_of_the_library(monkeypatch):
    for field in dataclasses.fields(SelectionParams):
        monkeypatch.delenv(field.name.upper(), raising=False)
    monkeypatch.delenv("EDGE_MB", raising=False)
    assert choose.selection_params(SimpleNamespace(settings=load_settings())) == SelectionParams()


def test_the_warning_of_a_sketch_is_in_the_rounds_message_and_on_the_status_page(make_desk):
    desk = make_desk(strategy="taudis", sketch="always", alpha=1.5, beta=1.2)
    round_ = run(desk, open_round(desk), "scored", "selected")
    warnings = round_.steps["selected"]["warnings"]
    assert any("random sample" in text and "sketch=always" in text for text in warnings)
    rest = {"published": {}, "flipped": {"flipped": True, "why": ""}, "pruned": {}}
    for step, result in rest.items():
        round_ = desk.store.finish_step(desk.lease, round_.id, step, result)
    round_ = rounds.run_round(desk, round_)
    assert all(text in round_.message for text in warnings)
    page = status.render(SimpleNamespace(store=desk.store, settings=desk.settings))
    assert "The cover is of a random sample of" in page
