"""Exact shortcuts of the similarity step: they save time and change no edge.

Each is a `taudis.selection.similarity.Shortcut`. `choice` picks one by its estimated cost. Without
this folder the selection is the same, in more time.
"""
