"""Optional shortcuts of the similarity step: they save time and change no edge.

Each is a `taudis.selection.similarity.Shortcut`. `choice` picks the one with the least estimated
cost. Without this folder the selection is the same, but takes longer.
"""
