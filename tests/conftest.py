"""What all tests share: no time limit for an example, so that a busy machine fails no test."""

from hypothesis import settings

pytest_plugins = ("tests.reliability.plugin", "tests.ray_nodes")

settings.register_profile("taudis", deadline=None)
settings.load_profile("taudis")
