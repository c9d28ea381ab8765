"""Exact shortcuts of the similarity step: the same edges in less time."""
