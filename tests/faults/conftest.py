"""The backend on an in-memory Label Studio, as in tests/backend."""

from tests.backend.conftest import loop, make_loop, untrained_model  # noqa: F401
