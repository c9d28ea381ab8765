"""The web process: what answers within a second."""
