"""The forms of the status page: what they record, and who is refused."""

import re
from types import SimpleNamespace

import pytest

from backend.settings import load_settings
from backend.web import forms
from tests.backend.web.status_cases import Filled

HERE = {"Origin": "http://localhost"}


@pytest.fixture
def filled(store, settings):
    made = Filled(store, settings)
    made.ready(7, 3)
    made.ready(8, 1)
    return made


@pytest.fixture
def token(client, filled):
    return re.search(r'name="token" value="(\w+)"', client.get("/projects/7").text)[1]


def post(client, action, token, headers=HERE, project=7, **fields):
    data = {"token": token, **fields}
    return client.post(f"/projects/{project}/{action}", data=data, headers=headers)


def recorded(store):
    return store.event_counts(7).get("train", 0), store.project(7).state.asked


def test_start_training_is_an_event_and_leads_back_to_the_page(client, store, token):
    answer = post(client, "train", token)
    assert (answer.status_code, answer.location) == (303, "/projects/7?done=train")
    assert recorded(store) == (1, None)
    assert "Start Training was recorded" in client.get(answer.location).text


@pytest.mark.parametrize("action", ["rollback", "promote", "unpin"])
def test_a_request_for_the_worker_is_kept_until_it_is_done(client, store, token, action):
    fields = {} if action == "unpin" else {"version": "taudis-0002-65a1"}
    assert post(client, action, token, **fields).status_code == 303
    asked = store.project(7).state.asked
    assert asked["action"] == action and asked["version"] == fields.get("version", "")
    page = client.get("/projects/7").text
    assert "The worker was asked to" in page and "Roll back to" not in page
    again = post(client, action, token, **fields)
    assert again.status_code == 409 and "has not done the last request" in again.text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "http://localhost:81"},
        {"Origin": "http://["},
        {"Referer": "http://localhost/"},
        {**HERE, "Sec-Fetch-Site": "cross-site"},
        {**HERE, "Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_foreign_page_is_refused(client, store, token, headers):
    answer = post(client, "train", token, headers)
    assert answer.status_code == 403 and "expected" in answer.text
    assert recorded(store) == (0, None)


def test_a_wrong_token_is_refused(client, store, settings, token, monkeypatch):
    other = forms.token(settings, 8)
    elsewhere = forms.token(load_settings(model_dir=settings.model_dir / "other"), 7)
    for wrong in ("", token[:-1], token + "0", other, elsewhere, "é", "x" * 10_000):
        assert post(client, "train", wrong).status_code == 403
    hour = forms._hour()
    for later, status in ((forms.HOURS - 1, 303), (forms.HOURS, 403), (-1, 403)):
        monkeypatch.setattr(forms, "_hour", lambda later=later: hour + later)
        assert post(client, "train", token).status_code == status
    assert recorded(store) == (1, None)


def test_what_cannot_be_done_is_refused_with_the_reason(client, store, token):
    for action, fields, status in (
        ("rollback", {"version": "taudis-0099-65a1"}, 409),
        ("rollback", {"version": "../../etc"}, 409),
        ("promote", {}, 409),
        ("delete", {}, 404),
    ):
        assert post(client, action, token, **fields).status_code == status
    assert post(client, "train", token, project=99).status_code == 404
    store.update_project(7, armed=None)
    answer = post(client, "train", token)
    assert answer.status_code == 409 and "connect it in its Settings" in answer.text
    assert recorded(store) == (0, None)


def test_backend_url_is_our_own_page_behind_a_proxy(tmp_path):
    settings = load_settings(model_dir=tmp_path, backend_url="https://taudis.example")

    request = SimpleNamespace(
        headers={"Origin": "https://taudis.example", "Sec-Fetch-Site": "same-origin"},
        host="10.0.0.5:9090",
        form={"token": forms.token(settings, 7)},
    )
    forms.check(settings, request, 7)
    assert (tmp_path / "secrets" / "forms.key").stat().st_mode & 0o777 == 0o600
