"""A checkpoint that tests share, and the backend on an in-memory Label Studio."""

import contextlib

import pytest


@pytest.fixture(scope="session")
def untrained_model(tmp_path_factory):
    """A checkpoint of an untrained detector that finds much; made once, never changed."""
    from taudis.detector.checkpoint import save_checkpoint
    from tests.taudis.detector_cases import detector

    folder = tmp_path_factory.mktemp("model") / "untrained"
    save_checkpoint(folder, detector(), card={})
    return folder


@pytest.fixture
def make_loop(tmp_path, untrained_model, monkeypatch):
    """Starts a Label Studio and a backend with the given settings."""
    from tests.backend.local_loop import LocalLoop

    monkeypatch.setattr("backend.label_studio.repetition.FIRST_PAUSE", 0.01)
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            LocalLoop(tmp_path / "data", untrained_model, **settings)
        )


@pytest.fixture
def loop(make_loop):
    """A Label Studio and a backend whose rounds start at Start Training alone."""
    return make_loop()
