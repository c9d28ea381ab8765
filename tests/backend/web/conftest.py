"""Fixtures: an app with its store, and a client that calls it."""

import pytest

from backend.settings import load_settings
from backend.store.database import Store
from backend.web.app import create_app
from tests.backend.web.web_cases import (
    STUDIO,
)  # fmt: skip


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
