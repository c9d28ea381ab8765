"""The fixtures of the backend's tests: a backend on an in-memory Label Studio."""

from tests.backend.conftest import make_loop, untrained_model

__all__ = ["make_loop", "untrained_model"]
