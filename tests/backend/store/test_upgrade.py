"""Stores that earlier builds wrote open in this one, and go on.

`upgrade/` has one SQL dump for each schema, of a project with labels, a trained model, an order and
a rollback. Each release adds its own (`sqlite3 store.sqlite3 .dump`), and none is ever changed.
"""

import sqlite3
from pathlib import Path

import pytest

from backend.settings import load_settings
from backend.store import serving
from backend.store.database import Store
from backend.store.transactions import SCHEMA_VERSION
from backend.web.app import create_app

DUMPS = sorted((Path(__file__).parent / "upgrade").glob("schema-*.sql"))


@pytest.fixture(params=DUMPS, ids=lambda path: path.stem)
def data(request, tmp_path):
    """A data directory with the store of an earlier build."""
    with sqlite3.connect(tmp_path / "store.sqlite3") as db:
        db.executescript(request.param.read_text(encoding="utf-8"))
    db.close()
    return tmp_path


def test_there_is_a_dump_of_every_schema_since_the_first_release():
    assert [path.stem for path in DUMPS] == [
        f"schema-{number}" for number in range(2, SCHEMA_VERSION + 1)
    ]


@pytest.mark.fault("F22", "released")
def test_what_an_earlier_build_knew_is_there_and_rounds_go_on(data, figures):
    store = Store(data)
    project = store.project(1)
    assert project.state.title == "A project" and project.state.pinned
    rounds = store.rounds(1)
    trained = next(each for each in rounds if each.kind == "train")
    assert trained.outcome == "served" and "metrics" in trained.steps["evaluated"]
    versions = store.versions(1)
    assert project.state.serving in {row.version for row in versions}
    assert serving.older_versions(store, project) is not None

    lease = store.acquire()
    opened = store.open_round(lease, 1, "refresh", "a test", store.pending_events())
    assert opened.number == rounds[0].number + 1
    store.finish_step(lease, opened.id, "synced", {})
    store.end_round(lease, opened.id, "kept", "")
    store.record_event(1, "changed")
    store.close()

    app = create_app(load_settings(model_dir=data))
    try:
        client = app.test_client()
        assert "A project" in client.get("/").text
        for route in ("/metrics", "/versions?project=1", "/live", "/next_labels"):
            assert client.get(route).status_code == 200
    finally:
        app.extensions["taudis"].predictor.close()
        app.extensions["taudis"].store.close()
    figures(schemas=len(DUMPS), rounds=len(rounds), versions=len(versions))
