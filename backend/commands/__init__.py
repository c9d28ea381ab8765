"""The commands of `python -m backend`."""
