"""Who may call: credentials, and the Host header where there are none."""

import base64

import pytest

from backend.settings import load_settings
from backend.store.secrets import WEBHOOK_USER, webhook_password
from backend.web.app import create_app
from tests.backend.web.web_cases import (
    CANARY,
)  # fmt: skip

ROUTES = [
    ("GET", "/"), ("GET", "/ready"), ("GET", "/metrics"), ("GET", "/next_labels"),
    ("GET", "/versions"), ("GET", "/is_training"), ("POST", "/setup"), ("POST", "/predict"),
    ("POST", "/webhook"), ("POST", "/versions"), ("POST", "/train"), ("GET", "/nothing"),
    ("GET", "/parts"), ("GET", "/projects/7"), ("GET", "/projects/7/parts"),
    ("POST", "/projects/7/train"), ("POST", "/projects/7/rollback"), ("GET", "/assets/page.css"),
    ("GET", "/projects/7/queue/3"),
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
        {"Authorization": "Basic \xe4="},
        {"Authorization": "Bearer lödi"},
        {"Authorization": "Token " + CANARY},
        {"Authorization": 'Digest username="lödi"'},
    ],
)
@pytest.mark.fault("F12", "401")
def test_401_without_detail(guarded, method, path, headers, figures):
    answer = guarded.open(path, method=method, headers=headers)
    assert answer.status_code == 401
    assert answer.json == {"error": "Credentials are needed."}
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    figures(requests=1, let_in=0)


def test_with_credentials(guarded):
    assert guarded.get("/", headers=basic("lödi", "geheim:ß")).status_code == 200
    assert guarded.get("/health").status_code == 200
    assert (
        guarded.get("/", headers={"Host": "any.example", **basic("lödi", "geheim:ß")}).status_code
        == 200
    )


@pytest.mark.fault("F12", "start")
@pytest.mark.parametrize(
    ("caller", "status"),
    [("127.0.0.1", 200), ("127.8.9.1", 200), ("::1", 200), ("::ffff:127.0.0.1", 200), ("", 200),
     ("192.0.2.7", 403), ("10.0.0.7", 403), ("fe80::7", 403), ("::ffff:192.0.2.7", 403)],
)  # fmt: skip
def test_without_credentials_only_this_machine_is_answered(tmp_path, caller, status, figures):
    """Also where another server than ours was started on a public address."""
    app = create_app(load_settings(model_dir=tmp_path))
    answer = app.test_client().get("/metrics", environ_overrides={"REMOTE_ADDR": caller})
    assert answer.status_code == status
    if status == 403:
        assert "BASIC_AUTH_USER" in answer.json["error"]
    figures(let_in=int(status == 403 and answer.status_code == 200))
    app.extensions["taudis"].store.close()


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:9090", 200), ("127.0.0.1:9090", 200), ("[::1]:9090", 200), ("ours.example", 200),
     ("evil.example", 421), ("169.254.169.254", 421)],
)  # fmt: skip
def test_without_credentials_only_names_of_this_machine_are_answered(tmp_path, host, status):
    app = create_app(load_settings(model_dir=tmp_path, backend_url="http://ours.example"))
    assert app.test_client().get("/health", headers={"Host": host}).status_code == status
    app.extensions["taudis"].store.close()


def test_the_webhook_s_password_opens_the_webhook_alone(guarded):
    folder = guarded.application.extensions["taudis"].settings.model_dir
    assert (
        guarded.post("/webhook?project=7", json={}, headers=basic("webhook", "")).status_code == 401
    )
    given = basic(WEBHOOK_USER, webhook_password(folder, make=True))
    body = {"action": "ANNOTATION_CREATED"}
    assert guarded.post("/webhook?project=7", json=body, headers=given).status_code == 200
    for method, path in ROUTES:
        if path != "/webhook":
            assert guarded.open(path, method=method, headers=given).status_code == 401, path
    wrong = basic(WEBHOOK_USER, "x")
    assert guarded.post("/webhook?project=7", json=body, headers=wrong).status_code == 401
