"""/setup: what it records, which tokens it keeps, and which addresses it accepts."""

import json
import logging

import pytest

from backend.settings import load_settings
from backend.store.secrets import token_for
from backend.web.app import create_app
from tests.backend.web.web_cases import (
    CANARY,
    CONFIG,
    STUDIO,
    setup_body,
)  # fmt: skip


def test_setup_takes_in_the_project_and_rings_until_it_is_armed(client, store, settings):
    for _ in range(3):
        assert client.post("/setup", json=setup_body()).json == {"model_version": ""}
    project = store.project(7)
    assert project.state.label_config == CONFIG
    assert project.state.backend_urls == ["http://localhost"]
    assert token_for(settings, 7) == CANARY
    assert store.event_counts(7) == {"setup": 3}
    store.update_project(7, armed={"webhook": 1}, serving="taudis-0001-a")
    for _ in range(3):
        assert client.post("/setup", json=setup_body()).json == {"model_version": "taudis-0001-a"}
    assert store.event_counts(7) == {"setup": 3}


@pytest.mark.parametrize(
    "change", [{"schema": CONFIG.replace("Cell", "Nut")}, {"access_token": "f" * 40}]
)
def test_setup_rings_again_when_something_changed(client, store, change):
    client.post("/setup", json=setup_body())
    store.update_project(7, armed={"webhook": 1})
    client.post("/setup", json=setup_body(**change))
    assert store.event_counts(7) == {"setup": 2}


def test_a_refusal_is_told_until_a_call_is_accepted(client, store):
    client.post("/setup", json=setup_body())
    refused = client.post("/setup", json=setup_body(hostname="http://elsewhere.example"))
    assert refused.status_code == 409
    assert store.project(7).state.message == refused.json["error"]
    assert client.post("/setup", json=setup_body()).status_code == 200
    assert store.project(7).state.message == ""


def test_the_newest_addresses_at_which_we_are_called_count(client, store):
    names = [f"http://localhost:{port}" for port in range(9001, 9007)]
    for name in names:
        client.post("/setup", json=setup_body(), base_url=name)
    assert store.project(7).state.backend_urls == names[-4:]


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
        assert store.project(7).state.candidate_origin == ""


def test_without_a_configured_address_the_first_one_counts(tmp_path):
    settings = load_settings(model_dir=tmp_path)
    app = create_app(settings)
    client, store = app.test_client(), app.extensions["taudis"].store
    assert client.post("/setup", json=setup_body(hostname="")).status_code == 400
    assert (
        client.post("/setup", json=setup_body(hostname="http://one.example:80/")).status_code == 200
    )
    assert store.project(7).state.candidate_origin == "http://one.example"
    other = setup_body(hostname="http://two.example", access_token="d" * 40)
    answer = client.post("/setup", json=other)
    assert answer.status_code == 409
    assert "LABEL_STUDIO_URL" in answer.json["error"]
    assert store.project(7).state.message == answer.json["error"]
    assert store.project(7).state.candidate_origin == "http://one.example"
    assert token_for(settings, 7) == CANARY
    store.update_project(7, origin="http://three.example")  # what the worker confirmed counts
    assert client.post("/setup", json=setup_body(hostname="http://one.example")).status_code == 409
    assert (
        client.post("/setup", json=setup_body(hostname="http://three.example")).status_code == 200
    )
    assert client.post("/setup", json=setup_body(hostname="")).status_code == 200
    store.close()


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


def test_setup_records_no_event_for_a_disconnected_project(client, store):
    store.update_project(
        7, disconnected=True, label_config=CONFIG, backend_urls=["http://localhost"]
    )
    assert client.post("/setup", json=setup_body()).status_code == 200  # the token is new
    for event in store.pending_events():
        store.acknowledge(event)
    assert client.post("/setup", json=setup_body()).status_code == 200
    assert store.pending_events() == []
