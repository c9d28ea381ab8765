"""Every route of the web process: what it answers, what it does, and what it refuses."""

import base64
import json
import logging
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from backend.label_studio.left_out import LeftOut, Summary
from backend.settings import load_settings
from backend.store import predictions
from backend.store.database import Store
from backend.store.secrets import token_for
from backend.web.app import create_app
from tests.backend.store import prediction_cases

ROOT = Path(__file__).resolve().parents[3]
CONFIG = (
    '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">'
    '<Label value="Cell"/></BrushLabels></View>'
)
STUDIO = "http://studio.example:8080"
CANARY = "c0ffee" * 6 + "c0ff"
REGION = {"id": "r1", "type": "brushlabels", "value": {"format": "rle", "rle": [1, 2]}}


@pytest.fixture
def settings(tmp_path):
    return load_settings(model_dir=tmp_path / "data", label_studio_url=STUDIO)


@pytest.fixture
def app(settings):
    app = create_app(settings)
    yield app
    app.extensions["taudis"].predictor.close()
    app.extensions["taudis"].store.close()


@pytest.fixture
def store(app) -> Store:
    return app.extensions["taudis"].store


@pytest.fixture
def client(app):
    return app.test_client()


def setup_body(project="7.1700000000", **changes):
    body = {
        "project": project,
        "schema": CONFIG,
        "hostname": STUDIO,
        "access_token": CANARY,
        "extra_params": None,
    }
    return {**body, **changes}


def publish(settings, store, project=7, version="taudis-0001-a", tasks=(1, 2, 3)):
    """A published version, as the worker leaves it."""
    path = predictions.path_of(settings.model_dir, project, version)
    prediction_cases.write(path, {task: [REGION] for task in tasks})
    lease = store.acquire()
    round_ = store.open_round(lease, project, "first", "test", [])
    store.add_version(
        lease, project, version, round_id=round_.id, model="", tasks=len(tasks), metrics={}
    )
    store.end_round(lease, round_.id, "served", "")
    store.update_project(project, serving=version)
    return version


# --- health, page, ready, metrics -----------------------------------------------------------------


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
    store.update_project(7, trouble="Label Studio does not answer at studio.example")
    answer = client.get("/ready")
    assert answer.status_code == 503
    assert answer.json["reasons"] == ["Project 7: Label Studio does not answer at studio.example"]


def test_ready_says_that_the_store_cannot_be_written(client, store, monkeypatch):
    import sqlite3

    blocker = sqlite3.connect(store.path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    answer = client.get("/ready")
    blocker.execute("ROLLBACK")
    blocker.close()
    assert answer.status_code == 503
    assert "cannot be written" in answer.json["reasons"][0]


def test_metrics_count_requests_rounds_and_bells(client, settings, store):
    client.post("/setup", json=setup_body())
    publish(settings, store)
    client.post("/predict", json={"project": 7, "tasks": [{"id": 1}, {"id": 9}]})
    client.post("/webhook?project=7", json={"action": "ANNOTATION_CREATED"})
    text = client.get("/metrics").text
    assert 'taudis_rounds{outcome="served",project="7"} 1.0' in text
    assert 'taudis_bells_pending{kind="changed",project="7"} 1.0' in text
    assert 'taudis_predictions_total{source="stored"} 1.0' in text
    assert 'taudis_predictions_total{source="empty"} 1.0' in text
    assert 'taudis_request_seconds_count{route="/predict",status="2xx"} 1.0' in text


UNREADABLE = LeftOut(5, "r1", "unreadable_shape", "<b>cut short", "dropped")
SUMMARY = Summary.of([UNREADABLE], train=12, validation=3)


def test_page_shows_a_project_and_escapes_what_came_from_outside(client, settings, store):
    client.post("/setup", json=setup_body())
    publish(settings, store)
    lease = store.acquire()
    store.update_project(
        7, title="<script>alert(1)</script>", note="Give LABEL_STUDIO_API_KEY",
        drift="sampling off", changed=5, model="m2", origin=STUDIO,
        left_out={"labels": {**SUMMARY.to_json(), "round": 3}},
    )  # fmt: skip
    for number, value in enumerate((0.31, 0.52), 2):
        round_ = store.open_round(lease, 7, "train", "16 tasks changed", [])
        store.finish_step(
            lease, round_.id, "synced", {"labelled": 16, "train": 13, "validation": 3}
        )
        metrics = {"map50": value, "interval": [value - 0.1, value + 0.1]}
        store.add_version(
            lease, 7, f"m{number - 1}", round_id=round_.id, model=f"m{number - 1}", tasks=3,
            metrics=metrics,
        )  # fmt: skip
        store.end_round(lease, round_.id, "served", "better than before")
    running = store.open_round(lease, 7, "train", "Start Training", [])
    store.report(lease, running.id, {"step": "trained", "done": 120, "total": 400, "eta_s": 95.0})
    answer = client.get("/")
    page = answer.text
    assert answer.status_code == 200
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    for expected in (
        "mAP50 0.520, 95 % interval 0.420 to 0.620", "5 of 16 changed tasks, 11 to go", "training",
        "120 of 400", "about 2 min left", "better than before", "Give LABEL_STUDIO_API_KEY",
        "sampling off", f"{STUDIO}/projects/7/data", "<polyline", 'http-equiv="refresh"',
        "16 labelled (12 to train on, 3 to judge by, 1 left out)",
        "regions whose shape cannot be read: 1", "Task 5: Region r1: &lt;b&gt;cut short",
    ):  # fmt: skip
        assert expected in page, expected
    assert CANARY not in page
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_page_without_projects_says_how_to_connect(client):
    assert "Connect Model" in client.get("/").text


# --- setup and the origin -------------------------------------------------------------------------


def test_setup_takes_in_the_project_and_rings_until_it_is_armed(client, store, settings):
    for _ in range(3):
        assert client.post("/setup", json=setup_body()).json == {"model_version": ""}
    project = store.project(7)
    assert project.state["label_config"] == CONFIG
    assert project.state["backend_urls"] == ["http://localhost"]
    assert token_for(settings, 7) == CANARY
    assert store.rung(7) == {"setup": 3}
    store.update_project(7, armed={"webhook": 1}, serving="taudis-0001-a")
    for _ in range(3):
        assert client.post("/setup", json=setup_body()).json == {"model_version": "taudis-0001-a"}
    assert store.rung(7) == {"setup": 3}


@pytest.mark.parametrize(
    "change", [{"schema": CONFIG.replace("Cell", "Nut")}, {"access_token": "f" * 40}]
)
def test_setup_rings_again_when_something_changed(client, store, change):
    client.post("/setup", json=setup_body())
    store.update_project(7, armed={"webhook": 1})
    client.post("/setup", json=setup_body(**change))
    assert store.rung(7) == {"setup": 2}


def test_the_token_lies_in_secrets_alone(client, store, settings, caplog):
    caplog.set_level(logging.DEBUG)
    client.post("/setup", json=setup_body())
    client.post("/setup", json=setup_body(hostname="http://elsewhere.example"))
    client.post("/setup", data=json.dumps(setup_body())[:-1], content_type="application/json")
    store.close()
    holders = [
        path.relative_to(settings.model_dir).as_posix()
        for path in settings.model_dir.rglob("*")
        if path.is_file() and CANARY.encode() in path.read_bytes()
    ]
    assert holders == ["secrets/project-7.token"]
    assert (settings.model_dir / holders[0]).stat().st_mode & 0o777 == 0o600
    assert CANARY not in caplog.text


def test_a_configured_token_wins_and_no_other_is_kept(tmp_path):
    settings = load_settings(
        model_dir=tmp_path, label_studio_url=STUDIO, label_studio_api_key="configured"
    )
    app = create_app(settings)
    app.test_client().post("/setup", json=setup_body())
    assert token_for(settings, 7) == "configured"
    assert not (tmp_path / "secrets").exists()
    app.extensions["taudis"].store.close()


@pytest.mark.parametrize(
    ("hostname", "status"),
    [
        (STUDIO, 200),
        (STUDIO + "/", 200),
        (STUDIO.upper().replace("HTTP", "http"), 200),
        ("", 200),
        ("http://localhost:8080", 200),  # Label Studio that does not know its own address
        ("http://127.0.0.1:8080", 200),
        ("https://studio.example:8080", 409),
        ("http://studio.example", 409),
        ("http://studio.example:8080.evil.example", 400),
        ("http://studio.example:8080@evil.example", 400),
        ("http://evil.example/?http://studio.example:8080", 400),
        ("http://studio.example.evil.example:8080", 409),
        ("ftp://studio.example:8080", 400),
        ("//studio.example:8080", 400),
        ("http://", 400),
        ("http://[::1", 400),
        ("http://studio.example:99999", 400),
        ("http://studio.example:8080\r\nX: y", 400),
    ],
)
def test_with_a_configured_address_no_other_is_accepted(client, store, hostname, status):
    answer = client.post("/setup", json=setup_body(hostname=hostname))
    assert answer.status_code == status
    assert (store.project(7) is not None) == (status == 200)
    if status == 200:
        assert "candidate_origin" not in store.project(7).state


def test_without_a_configured_address_the_first_one_counts(tmp_path):
    settings = load_settings(model_dir=tmp_path)
    app = create_app(settings)
    client, store = app.test_client(), app.extensions["taudis"].store
    assert client.post("/setup", json=setup_body(hostname="")).status_code == 400
    assert (
        client.post("/setup", json=setup_body(hostname="http://one.example:80/")).status_code == 200
    )
    assert store.project(7).state["candidate_origin"] == "http://one.example"
    other = setup_body(hostname="http://two.example", access_token="d" * 40)
    answer = client.post("/setup", json=other)
    assert answer.status_code == 409
    assert "LABEL_STUDIO_URL" in answer.json["error"]
    assert store.project(7).state["note"] == answer.json["error"]
    assert store.project(7).state["candidate_origin"] == "http://one.example"
    assert token_for(settings, 7) == CANARY
    store.update_project(7, origin="http://three.example")  # what the worker confirmed counts
    assert client.post("/setup", json=setup_body(hostname="http://one.example")).status_code == 409
    assert (
        client.post("/setup", json=setup_body(hostname="http://three.example")).status_code == 200
    )
    assert client.post("/setup", json=setup_body(hostname="")).status_code == 200
    store.close()


# --- webhook and train ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("ANNOTATION_CREATED", "changed"),
        ("ANNOTATIONS_CREATED", "changed"),
        ("ANNOTATION_UPDATED", "changed"),
        ("ANNOTATION_DELETED", "changed"),
        ("ANNOTATIONS_DELETED", "changed"),
        ("PROJECT_UPDATED", "config"),
        ("START_TRAINING", "train"),
    ],
)
@pytest.mark.parametrize("where", ["query", "object", "uid", "number"])
def test_events_ring(client, store, action, kind, where):
    store.update_project(7)
    project = {"query": None, "object": {"id": 7, "title": "x"}, "uid": "7.170", "number": 7}[where]
    address = "/webhook?project=7" if where == "query" else "/webhook"
    body = {"action": action} | ({} if project is None else {"project": project})
    answer = client.post(address, json=body)
    assert (answer.status_code, answer.json) == (200, {"status": "rung"})
    assert store.rung(7) == {kind: 1}


def test_other_events_are_ignored(client, store):
    store.update_project(7)
    answer = client.post("/webhook?project=7", json={"action": "TASKS_CREATED"})
    assert (answer.status_code, answer.json) == (200, {"status": "ignored"})
    assert store.bells() == []


def test_an_unknown_project_costs_one_log_line_and_no_row(client, store, caplog):
    caplog.set_level(logging.INFO)
    answer = client.post("/webhook?project=99", json={"action": "ANNOTATION_CREATED"})
    assert (answer.status_code, answer.json) == (200, {"status": "unknown project"})
    assert store.bells() == []
    assert len([record for record in caplog.records if "99" in record.message]) == 1


def test_a_store_that_is_busy_is_no_5xx_for_labels_but_one_for_start_training(
    client, store, monkeypatch
):
    from sqlalchemy.exc import OperationalError

    store.update_project(7)

    def busy(*_):
        raise OperationalError("BEGIN", {}, Exception("database is locked"))

    monkeypatch.setattr(store, "ring", busy)
    assert (
        client.post("/webhook?project=7", json={"action": "ANNOTATION_CREATED"}).status_code == 202
    )
    assert client.post("/webhook?project=7", json={"action": "START_TRAINING"}).status_code == 503


def test_bursts_from_many_threads_are_all_recorded(app, store):
    store.update_project(7)
    start, answers = threading.Barrier(8), []

    def burst():
        client = app.test_client()
        start.wait()
        for _ in range(25):
            body = {"action": "ANNOTATION_CREATED"}
            answers.append(client.post("/webhook?project=7", json=body).status_code)

    threads = [threading.Thread(target=burst) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count(200) == 200
    assert store.rung(7) == {"changed": 200}


# --- predict --------------------------------------------------------------------------------------


def test_predict_reads_in_order_and_puts_the_unknown_behind(client, settings, store):
    client.post("/setup", json=setup_body())
    version = publish(settings, store)
    tasks = [{"id": i, "data": {"image": "/data/x.png"}, "project": 7} for i in (3, 44, 1)]
    answer = client.post("/predict", json={"tasks": tasks, "project": "7.170", "params": {}}).json
    assert answer["model_version"] == version
    assert [r["score"] for r in answer["results"]] == [1.0, pytest.approx(1 + 1 / 3), 1 / 3]
    assert [r["result"] for r in answer["results"]] == [[REGION], [], [REGION]]
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


# --- versions, is_training ------------------------------------------------------------------------


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


# --- who may call ---------------------------------------------------------------------------------

ROUTES = [
    ("GET", "/"), ("GET", "/ready"), ("GET", "/metrics"), ("GET", "/versions"),
    ("GET", "/is_training"), ("POST", "/setup"), ("POST", "/predict"), ("POST", "/webhook"),
    ("POST", "/versions"), ("POST", "/train"), ("GET", "/nothing"),
]  # fmt: skip


def basic(user, password):
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    app = create_app(
        load_settings(
            model_dir=tmp_path_factory.mktemp("guarded"),
            basic_auth_user="lödi",
            basic_auth_pass="geheim:ß",
        )
    )
    yield app.test_client()
    app.extensions["taudis"].store.close()


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("lödi", "geheim"),
        basic("lodi", "geheim:ß"),
        basic("", ""),
        basic("lödi", ""),
        basic("lödi" * 1000, "x" * 4000),
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic /////w=="},
        {"Authorization": "Basic"},
        {"Authorization": "Bearer lödi"},
        {"Authorization": "Token " + CANARY},
        {"Authorization": 'Digest username="lödi"'},
    ],
)
def test_401_without_detail(guarded, method, path, headers):
    answer = guarded.open(path, method=method, headers=headers)
    assert answer.status_code == 401
    assert answer.json == {"error": "Credentials are needed."}
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")


def test_with_credentials(guarded):
    assert guarded.get("/", headers=basic("lödi", "geheim:ß")).status_code == 200
    assert guarded.get("/health").status_code == 200
    assert (
        guarded.get("/", headers={"Host": "any.example", **basic("lödi", "geheim:ß")}).status_code
        == 200
    )


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:9090", 200), ("127.0.0.1:9090", 200), ("[::1]:9090", 200), ("ours.example", 200),
     ("evil.example", 421), ("169.254.169.254", 421)],
)  # fmt: skip
def test_without_credentials_only_names_of_this_machine_are_answered(tmp_path, host, status):
    app = create_app(load_settings(model_dir=tmp_path, backend_url="http://ours.example"))
    assert app.test_client().get("/health", headers={"Host": host}).status_code == status
    app.extensions["taudis"].store.close()


# --- malformed requests ---------------------------------------------------------------------------

DEEP = "[" * 2_000 + "]" * 2_000
BODIES = [
    b"", b"{", b"nope", b"null", b"[]", b"7", b'"x"', b"\xff\xfe{}", b'{"project": "\xc3\x28"}',
    b'{"project": NaN}', b'{"project": 1e999}', b'{"project": ' + b"9" * 5000 + b"}",
    DEEP.encode(), b'{"project": ' + DEEP.encode() + b"}",
    b'{"tasks": ' + b'{"a":' * 90 + b"1" + b"}" * 90 + b', "project": 7}',
]  # fmt: skip
VALUES = [
    None, True, -1, 0, 1.5, 2**63, 2**70, "", "x", "../../etc/passwd", "7/../8", "7.x", "٧", "7\n",
    "7\x00", "\ud800", "7" * 400, [], [7], {}, {"id": None}, {"id": "../7"}, {"id": {"id": 7}},
]  # fmt: skip
ODD = [7, 1.5, True, [], {}, "\ud800", "\x00", "x" * 6_000_000]


def malformed():
    for path in ("/setup", "/predict", "/webhook", "/versions"):
        yield from ((path, "application/json", body) for body in BODIES)
        yield path, "text/plain", b"{}"
        yield path, "", b"{}"
        yield path, "application/x-www-form-urlencoded", b"project=7"
        for value in VALUES:
            body = {"project": value, "tasks": [], "action": "START_TRAINING", "schema": "<View/>"}
            yield path, "application/json", json.dumps(body).encode()
    for key in ("schema", "hostname", "access_token"):
        for value in ODD:
            yield "/setup", "application/json", json.dumps(setup_body(**{key: value})).encode()
    yield "/setup", "application/json", json.dumps(setup_body(access_token="a\r\nX: y")).encode()
    for tasks in (None, {}, "x", 7, [7], [None], [[]], [{"id": "7"}], [{"id": True}], [{"id": 1.5}],
                  [{}] * 10_001):  # fmt: skip
        body = {"project": 7, "tasks": tasks}
        yield "/predict", "application/json", json.dumps(body).encode()
    for params in ("x", [1], 7):
        body = {"project": 7, "tasks": [], "params": params}
        yield "/predict", "application/json", json.dumps(body).encode()
    for action in (None, 7, [], {}, "", "x" * 300):
        yield "/webhook?project=7", "application/json", json.dumps({"action": action}).encode()


def test_malformed_requests_get_a_4xx_with_a_reason(client, settings, store, caplog):
    publish_before = set(settings.model_dir.rglob("*"))
    corpus = list(malformed())
    assert len(corpus) > 200
    for path, content_type, body in corpus:
        answer = client.post(path, data=body, content_type=content_type)
        assert 400 <= answer.status_code < 500, (path, content_type, body[:80], answer.text[:300])
        reason = answer.json["error"]
        assert reason and len(reason) < 400, reason
        assert "Traceback" not in answer.text
        assert 'File "' not in answer.text
    assert store.projects() == []
    assert store.bells() == []
    assert set(settings.model_dir.rglob("*")) == publish_before
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("project", ["..", "7/../8", "%2e%2e", "7%00", "", "a" * 5000, "-1", "٧"])
@pytest.mark.parametrize("path", ["/versions", "/is_training"])
def test_odd_projects_in_queries(client, path, project):
    assert client.get(path, query_string={"project": project}).status_code == 400
    event = {"action": "ANNOTATION_CREATED"}
    assert client.post("/webhook", query_string={"project": project}, json=event).status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "//health//x",
        "/static/x",
        "/setup/../x",
        "/%00",
        "/\ud7ff",
        "/delete",
        "/train",
    ],  # Label Studio before 1.4.1 called /train
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "BREW"])
def test_other_routes_and_methods(client, path, method):
    answer = client.open(path, method=method)
    assert 400 <= answer.status_code < 500
    assert "error" in answer.json


def test_wrong_methods_name_the_right_ones(client):
    answer = client.get("/setup")
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]


def test_large_bodies(tmp_path):
    app = create_app(load_settings(model_dir=tmp_path, max_request_bytes=10_000))
    for path in ("/setup", "/predict", "/webhook", "/versions"):
        answer = app.test_client().post(path, json={"project": 7, "x": "y" * 10_000})
        assert answer.status_code == 413
        assert "at most 10000 bytes" in answer.json["error"]
    app.extensions["taudis"].store.close()


def test_extra_numbers_and_odd_tasks_are_taken(client, settings, store):
    client.post("/setup", json=setup_body())
    publish(settings, store)
    tasks = [
        {},
        {"id": 2**80},
        {"id": -5},
        {"id": 1, "data": None},
        {"id": 4, "data": {"image": 7}},
    ]
    answer = client.post("/predict", json={"project": 7, "tasks": tasks})
    assert answer.status_code == 200
    assert [bool(r["result"]) for r in answer.json["results"]] == [False, False, False, True, False]


def test_an_unexpected_error_gives_an_incident_and_no_detail(app, store, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError(f"secret detail {CANARY}")

    monkeypatch.setattr(store, "open_rounds", broken)
    answer = app.test_client().get("/is_training")
    assert answer.status_code == 500
    assert "secret detail" not in answer.text
    incident = answer.json["error"].split()[-1].rstrip(".")
    assert incident in caplog.text


def test_a_public_name_of_the_configured_label_studio_is_accepted(tmp_path):
    settings = load_settings(
        model_dir=tmp_path,
        label_studio_url=STUDIO,
        label_studio_public_url="https://labels.example",
    )
    app = create_app(settings)
    client = app.test_client()
    body = setup_body(hostname="https://labels.example")
    assert client.post("/setup", json=body).status_code == 200
    assert (
        client.post("/setup", json=setup_body(hostname="https://evil.example")).status_code == 409
    )
    app.extensions["taudis"].store.close()


def test_a_disconnected_project_is_not_rung_by_setup(client, store):
    store.update_project(
        7, disconnected=True, label_config=CONFIG, backend_urls=["http://localhost"]
    )
    assert client.post("/setup", json=setup_body()).status_code == 200  # the token is new
    for bell in store.bells():
        store.hear(bell)
    assert client.post("/setup", json=setup_body()).status_code == 200
    assert store.bells() == []
