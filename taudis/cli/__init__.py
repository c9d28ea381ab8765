"""The commands of `python -m taudis`, and their common code; `taudis/__main__.py` lists them."""
