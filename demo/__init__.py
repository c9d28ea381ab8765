"""The demonstration: generated pictures, a real Label Studio, and annotators who label in it.

Read `__main__` first, then `environment` (starts everything), `auto` (a run with simulated
annotators), and `order_check` (the proof that the published order is served).
"""
