"""The demonstration: generated pictures, a real Label Studio, and annotators who label in it.

Read `__main__` first, then `environment` (starts everything), `auto` (a run with simulated
annotators), and `history` (checks that the records of a run keep the promises: the published order
is served, each annotation counts once, orders are never mixed).
"""
