"""The status page, health, figures, predictions and versions, as the web process answers them."""

import json
import re
import subprocess
import sys

import pytest

from backend.label_studio.left_out import LeftOut, Summary
from backend.settings import load_settings
from backend.store import predictions
from backend.store.next_labels import next_labels
from backend.web.app import create_app
from tests.backend.store.prediction_cases import given
from tests.backend.web.web_cases import (
    CANARY,
    REGION,
    ROOT,
    STUDIO,
    publish,
    setup_body,
)  # fmt: skip


def test_health(client):
    answer = client.get("/health")
    assert answer.status_code == 200
    assert answer.json == {"status": "UP", "model_class": "TaudisModel"}


def test_two_apps_in_one_process_do_not_share_anything(tmp_path):
    apps = [create_app(load_settings(model_dir=tmp_path / n)) for n in "ab"]
    body = setup_body(hostname="http://localhost:8080")
    assert apps[0].test_client().post("/setup", json=body).status_code == 200
    stores = [app.extensions["taudis"].store for app in apps]
    assert [len(store.projects()) for store in stores] == [1, 0]
    assert (
        apps[1].test_client().post("/predict", json={"project": 7, "tasks": []}).status_code == 404
    )
    for store in stores:
        store.close()


def test_the_web_process_imports_neither_label_studio_ml_nor_torch():
    code = "import backend.web.app, sys; print({'torch', 'label_studio_ml'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (found.stdout.strip(), found.returncode) == ("set()", 0), found.stderr


def test_nothing_of_label_studio_ml_answers(app):
    for name, view in app.view_functions.items():
        assert view.__module__ == "backend.web.app", name
    hooks = [*app.before_request_funcs[None], *app.after_request_funcs[None]]
    assert {hook.__module__ for hook in hooks} == {"backend.web.app"}
    handlers = app.error_handler_spec[None][None].values()
    assert {handler.__module__ for handler in handlers} == {"backend.web.app"}


def test_ready_names_the_missing_worker_and_a_project_that_waits(client, store):
    answer = client.get("/ready")
    assert answer.status_code == 503
    assert "No worker runs" in answer.json["reasons"][0]
    store.acquire()
    assert client.get("/ready").json == {"ready": True, "reasons": []}
    store.update_project(7, waiting_reason="Label Studio does not answer at studio.example")
    answer = client.get("/ready")
    assert answer.status_code == 503
    assert answer.json["reasons"] == ["Project 7: Label Studio does not answer at studio.example"]


@pytest.mark.slow
def test_ready_says_that_the_store_cannot_be_written(client, store, monkeypatch):
    import sqlite3

    blocker = sqlite3.connect(store.path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    answer = client.get("/ready")
    blocker.execute("ROLLBACK")
    blocker.close()
    assert answer.status_code == 503
    assert "cannot be written" in answer.json["reasons"][0]


def test_metrics_count_requests_rounds_and_events(client, settings, store):
    client.post("/setup", json=setup_body())
    publish(settings, store)
    client.post("/predict", json={"project": 7, "tasks": [{"id": 1}, {"id": 9}]})
    client.post("/webhook?project=7", json={"action": "ANNOTATION_CREATED"})
    lease = store.acquire()
    made = store.open_round(lease, 7, "refresh", "a test", [])
    store.finish_step(lease, made.id, "synced", {"seconds": 2.5})
    store.end_round(lease, made.id, "failed", "")
    store.open_round(lease, 7, "refresh", "a test", [])
    text = client.get("/metrics").text
    assert 'taudis_rounds{outcome="served",project="7"} 1.0' in text
    assert 'taudis_rounds{outcome="failed",project="7"} 1.0' in text
    assert 'taudis_step_seconds{project="7",step="synced"} 2.5' in text
    assert 'taudis_open_round_seconds{project="7"}' in text
    assert "taudis_worker_up 1.0" in text
    assert float(re.search(r"^taudis_events_oldest_seconds (\S+)", text, re.M)[1]) < 60
    assert 'taudis_events_pending{kind="changed",project="7"} 1.0' in text
    assert 'taudis_predictions_total{source="stored"} 1.0' in text
    assert 'taudis_predictions_total{source="empty"} 1.0' in text
    assert 'taudis_request_seconds_count{route="/predict",status="2xx"} 1.0' in text


def test_a_scrape_reads_the_steps_of_the_newest_rounds_alone(client, store, monkeypatch):
    """A round's steps have 12 kB of results, and 24 projects with 200 rounds took 5 s to parse."""
    client.post("/setup", json=setup_body())
    lease = store.acquire()
    for number in range(5):
        made = store.open_round(lease, 7, "refresh", "a test", [])
        store.finish_step(lease, made.id, "synced", {"seconds": float(number)})
        store.end_round(lease, made.id, "served", "")
    read, real = [], json.loads
    monkeypatch.setattr(
        "backend.store.rounds.json.loads", lambda text: (read.append(text), real(text))[1]
    )
    text = client.get("/metrics").text
    assert 'taudis_step_seconds{project="7",step="synced"} 4.0' in text
    assert 'taudis_rounds{outcome="served",project="7"} 5.0' in text
    assert sum("seconds" in each for each in read) == 1


UNREADABLE = LeftOut(5, "r1", "unreadable_shape", "<b>cut short", "dropped")
SUMMARY = Summary.of([UNREADABLE], train=12, validation=3)


def train_two_models(store, lease):
    """Two rounds of project 7, each with a model."""
    for number, value in enumerate((0.31, 0.52), 2):
        round_ = store.open_round(lease, 7, "train", "16 tasks changed", [])
        store.finish_step(
            lease, round_.id, "synced", {"labelled": 16, "train": 13, "validation": 3}
        )
        metrics = {"map50": value, "interval": [value - 0.1, value + 0.1], "images": 3}
        evaluated = {"version": f"m{number - 1}", "metrics": metrics}
        store.finish_step(lease, round_.id, "trained", {"images": 8 * number})
        store.finish_step(lease, round_.id, "evaluated", evaluated)
        store.add_version(
            lease, 7, f"m{number - 1}", round_id=round_.id, model=f"m{number - 1}", tasks=3,
            metrics=metrics,
        )  # fmt: skip
        store.end_round(lease, round_.id, "served", "better than before")


def test_page_shows_a_project_and_escapes_what_came_from_outside(client, settings, store):
    client.post("/setup", json=setup_body())
    publish(settings, store)
    lease = store.acquire()
    store.update_project(
        7, title="<script>alert(1)</script>", message="Give LABEL_STUDIO_API_KEY",
        changed_by_person="sampling off", changed=5, model="m2", origin=STUDIO,
        left_out={"labels": {**SUMMARY.to_json(), "round": 3}},
    )  # fmt: skip
    train_two_models(store, lease)
    running = store.open_round(lease, 7, "train", "Start Training", [])
    store.report(lease, running.id, {"step": "trained", "done": 120, "total": 400, "eta_s": 95.0})
    answer = client.get("/")
    page = answer.text
    assert answer.status_code == 200
    assert page.count("<script") == 1 and '<script src="/assets/page.js?' in page
    assert "&lt;script&gt;alert(1)" in page
    for expected in (
        "mAP50 0.520, 95 % interval 0.420 to 0.620", "5 of 16 changed tasks, 11 to go", "training",
        "120 of 400", "about 2 min left", "better than before", "Give LABEL_STUDIO_API_KEY",
        "sampling off", f"{STUDIO}/projects/7/data", "<polyline",
        "with 19 labelled images: mAP50 0.310",
        "16 labelled (12 to train on, 3 to judge by, 1 left out)",
        "regions whose shape cannot be read: 1", "Task 5: Region r1: &lt;b&gt;cut short",
    ):  # fmt: skip
        assert expected in page, expected
    assert CANARY not in page
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_page_says_when_the_validation_images_do_not_decide(client, settings, store):
    client.post("/setup", json=setup_body())
    publish(settings, store)
    lease, few = store.acquire(), "too few validation images to decide: got 20"
    for undecided, expected in (
        ({}, False),
        ({"undecided": few}, True),
        ({"undecided": ""}, False),
    ):
        round_ = store.open_round(lease, 7, "train", "test", [])
        evaluated = {"version": "m", "metrics": {}, "serve": True, "reason": "", **undecided}
        store.finish_step(lease, round_.id, "evaluated", evaluated)  # {}: an earlier build's row
        store.end_round(lease, round_.id, "served", "")
        page = client.get("/").text
        assert ("<dt>Validation</dt>" in page, few in page) == (expected, expected)


def test_page_and_figures_say_when_pre_annotations_became_useful(client, settings, store):
    client.post("/setup", json=setup_body())
    publish(settings, store)
    assert "not yet: no model was judged and served" in client.get("/").text
    assert "taudis_first_useful{" not in client.get("/metrics").text
    lease = store.acquire()
    for corrected in (3.5, 2.25, 1.75):
        round_ = store.open_round(lease, 7, "train", "test", [])
        store.finish_step(lease, round_.id, "trained", {"images": 10, "mean_instances": 3.5})
        metrics = {"images": 3, "instances": 9}
        correction = {"corrected": corrected, "by_hand": 3.5}
        evaluated = {"version": "m", "metrics": metrics, "correction": correction}
        store.finish_step(lease, round_.id, "evaluated", evaluated)
        store.end_round(lease, round_.id, "served", "")
    page, figures = client.get("/").text, client.get("/metrics").text
    assert "round 3, with 13 labelled images (44 objects), 0 s after the project" in page
    assert (
        "as drawing 2.25 objects, 36 % less than drawing all 3.50 (measured on 3 images). Round 4"
        in page
    )
    for expected in (
        'taudis_correction_drawings{project="7",way="corrected"} 1.75',
        'taudis_correction_drawings{project="7",way="by_hand"} 3.5',
        'taudis_first_useful{figure="round",project="7"} 3.0',
        'taudis_first_useful{figure="images",project="7"} 13.0',
        'taudis_first_useful{figure="objects",project="7"} 44.0',
        'taudis_first_useful{figure="seconds",project="7"} 0.',
    ):
        assert expected in figures, expected


def test_page_without_projects_says_how_to_connect(client):
    assert "Connect Model" in client.get("/").text


def test_predict_reads_in_order_and_puts_the_unknown_behind(client, settings, store):
    client.post("/setup", json=setup_body())
    version = publish(settings, store)
    tasks = [{"id": i, "data": {"image": "/data/x.png"}, "project": 7} for i in (3, 44, 1)]
    answer = client.post("/predict", json={"tasks": tasks, "project": "7.170", "params": {}}).json
    assert answer["model_version"] == version
    assert [r["score"] for r in answer["results"]] == [1.0, pytest.approx(1 + 1 / 3), 1 / 3]
    assert [r["result"] for r in answer["results"]] == [given([REGION]), [], given([REGION])]
    assert {r["model_version"] for r in answer["results"]} == {version}


def test_predict_before_any_order_gives_one_empty_result_a_task(client):
    client.post("/setup", json=setup_body())
    answer = client.post("/predict", json={"tasks": [{"id": 1}, {"id": 2}], "project": "7"}).json
    empty = {"result": [], "score": 2.0, "model_version": ""}
    assert answer == {"results": [empty, empty], "model_version": ""}


def test_predict_of_a_version_whose_file_is_gone(client, settings, store):
    client.post("/setup", json=setup_body())
    version = publish(settings, store)
    predictions.path_of(settings.model_dir, 7, version).unlink()
    answer = client.post("/predict", json={"tasks": [{"id": 1}], "project": "7"}).json
    assert answer["results"] == [
        {"result": [], "score": pytest.approx(1 + 1 / 3), "model_version": version}
    ]


def test_two_projects_do_not_mix(client, settings, store):
    for project in (7, 8):
        client.post("/setup", json=setup_body(project=f"{project}.1"))
    seven = publish(settings, store, 7, "taudis-0001-a", (1, 2))
    eight = publish(settings, store, 8, "taudis-0001-b", (3, 4))
    for project, version, task in ((7, seven, 1), (8, eight, 3)):
        body = {"tasks": [{"id": 1}, {"id": 3}], "project": project}
        results = client.post("/predict", json=body).json["results"]
        assert {r["model_version"] for r in results} == {version}
        assert [bool(r["result"]) for r in results] == [task == 1, task == 3]


def test_versions(client, settings, store):
    client.post("/setup", json=setup_body())
    publish(settings, store)
    for answer in (
        client.get("/versions"),  # as Label Studio 1.23 asks: without a project
        client.get("/versions?project=7.170"),
        client.post("/versions", json={"project": "7.170"}),
    ):
        assert answer.json == {"versions": ["taudis-0001-a"]}
    client.post("/setup", json=setup_body(project="8"))
    assert client.get("/versions").json["versions"] == []


def test_is_training(client, store):
    store.update_project(7)
    assert client.get("/is_training?project=7").json == {"is_training": False}
    store.open_round(store.acquire(), 7, "train", "test", [])
    assert client.get("/is_training?project=7").json == {"is_training": True}
    assert client.get("/is_training?project=8").json == {"is_training": False}
    assert client.get("/is_training").json == {"is_training": True}


def test_page_and_figures_say_what_the_next_labels_are_expected_to_bring(client, settings, store):
    client.post("/setup", json=setup_body())
    assert "<dt>Next labels</dt><dd>cannot be told: no round has trained" in client.get("/").text
    lease = store.acquire()
    for row in range(8):
        round_ = store.open_round(lease, 7, "train", "test", [])
        store.finish_step(lease, round_.id, "trained", {"images": 12 * (row + 1)})
        evaluated = {
            "version": f"m{row}", "metrics": {"map50": 0.1 + 0.02 * row, "images": 4},
            "compared_with": f"m{row - 1}" if row else "",
            "difference": {"map50": 0.02, "interval": [0.01, 0.03]},
        }  # fmt: skip
        store.finish_step(lease, round_.id, "evaluated", evaluated)
        store.end_round(lease, round_.id, "served", "")
        if row == 1:
            assert "got 2: 1 more round that trains will do" in client.get("/").text
            assert "taudis_next_labels{" not in client.get("/metrics").text
    expected = next_labels(store, 7, settings.budget)
    assert expected.in_words() in client.get("/").text
    assert expected.images == 100 and "by 8 trainings with up to 100" in expected.in_words()
    assert client.get("/next_labels").json == {"projects": {"7": expected.to_json()}}
    far = client.get("/next_labels?project=7&more=101").json["projects"]["7"]
    assert "ask for 100 at most" in far["reason"] and far["gain"] is None
    for wrong, status in (("more=0", 400), ("more=x", 400), ("more=", 400), ("project=8", 404)):
        assert client.get(f"/next_labels?{wrong}").status_code == status
    figures = client.get("/metrics").text
    assert 'taudis_next_labels{figure="images",project="7"} 16.0' in figures
    for figure, value in zip(("low", "high"), expected.expected.interval, strict=True):
        assert f'taudis_next_labels{{figure="{figure}",project="7"}} {value}' in figures
