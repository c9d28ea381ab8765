"""The commands of `python -m taudis`, and what they share; `taudis/__main__.py` lists them."""
