"""The commands of `python -m taudis`."""
