"""F23: planted secrets are searched for in everything that the backend writes."""

import io
import logging
import stat

import pytest

from backend.logs import Json, Plain
from demo.studio import ADMIN
from tests.backend import local_loop
from tests.backend.local_loop import USER
from tests.fuzz.malformed import STUDIO

PASSWORD, STORAGE = "canary-password-5d1e", "canary-storage-77ab"
TOKEN = ADMIN.token
SECRETS = {"token": TOKEN, "password": PASSWORD, "storage": STORAGE}
ADDRESSES = [
    f"https://images.example/a.png?X-Amz-Credential={STORAGE}&X-Amz-Signature={STORAGE}",
    f"https://user:{STORAGE}@images.example/a.png",
    f"http://user:{STORAGE}?@images.example/a.png",
    f"s3://key:{STORAGE}@bucket/a.png",
    f"/data/upload/9/none.png?sig={STORAGE}",
    f"https://account.blob.example/a.png?sv=2026&sig={STORAGE}",
]
TASK_DATA = ("pool.json", "annotated.json")
"""A round's copy of the tasks, as Label Studio gives them: with the addresses that they name."""
ROUTES = (
    "/", "/parts", "/projects/{}", "/projects/{}/parts", "/ready", "/metrics", "/live", "/versions",
    "/next_labels", "/is_training", "/nothing",
)  # fmt: skip


@pytest.fixture
def written():
    """Every log line at the lowest level, in both forms; libraries and SQL included."""
    root, stream = logging.getLogger(), io.StringIO()
    level, handlers = root.level, []
    for form in (Json(), Plain()):
        handler = logging.StreamHandler(stream)
        handler.setFormatter(form)
        handlers.append(handler)
        root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.setLevel(level)
    for handler in handlers:
        root.removeHandler(handler)


def leaks_in(where, text):
    """The secrets that a text holds, with the place."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return [f"{name} in {where}" for name, secret in SECRETS.items() if secret.encode() in data]


def in_files(folder):
    """Leaks in a data directory, and the files of secrets and of task data."""
    leaks, kept = [], []
    for path in (path for path in folder.rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        found = leaks_in(name, path.read_bytes())
        expected = [f"token in {name}"] if name.startswith("secrets/") else []
        if path.name in TASK_DATA:
            expected = [f"storage in {name}"]
        if found:
            kept.append(path)
        leaks += [each for each in found if each not in expected]
    return leaks, kept


def answers(loop, project):
    """Every page, and answers to requests that hold secrets and are wrong."""
    client, auth = loop.app.test_client(), (USER, PASSWORD)
    for route in ROUTES:
        yield route, client.get(route.format(project.id), auth=auth)
        yield route, client.get(route.format(project.id), auth=(USER, PASSWORD + "x"))
    body = {"project": str(project.id), "schema": "", "hostname": STUDIO, "access_token": TOKEN}
    wrong = [
        {**body, "hostname": f"http://user:{STORAGE}@studio.example"},
        {**body, "hostname": f"http://user:{STORAGE}@:x"},
        {**body, "access_token": f"{TOKEN}\n"}, {**body, "project": f"../{TOKEN}"},
        {**body, "extra": TOKEN, "project": None},
    ]  # fmt: skip
    for each in wrong:
        yield "/setup", client.post("/setup", json=each, auth=auth)
        headers = {"Authorization": f"Token {TOKEN}"}
        yield "/setup", client.post("/setup", json=each, headers=headers)
    yield "/setup", client.post("/setup", data=f"token={TOKEN}", auth=auth)
    tasks = [{"id": 10**6 + i, "data": {"image": each}} for i, each in enumerate(ADDRESSES)]
    yield (
        "/predict",
        client.post("/predict", json={"project": project.id, "tasks": tasks}, auth=auth),
    )


@pytest.mark.slow
@pytest.mark.fault("F23")
def test_planted_secrets_are_nowhere(make_loop, written, figures, monkeypatch):
    monkeypatch.setattr(local_loop, "PASSWORD", PASSWORD)
    loop = make_loop(
        BASIC_AUTH_PASS=PASSWORD, LABEL_STUDIO_API_KEY="", LOG_LEVEL="DEBUG", IMAGE_TIMEOUT="0.3"
    )
    project = loop.project(pictures=8)
    rows = [{"data": {"image": each}} for each in ADDRESSES]
    loop.studio.api("POST", f"/api/projects/{project.id}/import", json=rows)
    project.label_some(5)
    outcome = project.train().outcome
    path = f"/api/projects/{project.id}/"
    loop.studio.fault("GET", path, status=400, detail=f"no, {TOKEN}", times=1)
    loop.turn()  # Label Studio repeats our token in an error
    leaks, kept = in_files(loop.data)
    for where, answer in answers(loop, project):
        leaks += leaks_in(f"{where} {answer.status_code}", answer.data)
        leaks += leaks_in(f"{where} header", str(answer.headers))
    for command in ("doctor", "rounds", "versions"):
        leaks += leaks_in(command, project.cli(command, well=command != "doctor"))
    leaks += leaks_in("settings", loop.cli("settings"))
    leaks += leaks_in("the log", written.getvalue())
    leaks += in_files(loop.data)[0]
    figures(leaks=len(leaks), log_bytes=len(written.getvalue()), files_of_secrets=len(kept))
    assert not leaks, leaks
    assert outcome == "served"
    assert "secrets" in {path.parent.name for path in kept}, "the token was never given"
    assert {path.name for path in kept} & set(TASK_DATA), "no task named a storage"
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
    assert stat.S_IMODE((loop.data / "secrets").stat().st_mode) == 0o700
    assert '"level": "DEBUG"' in written.getvalue()
