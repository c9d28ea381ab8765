"""The steps of a round. Each is idempotent: killed anywhere, it can be run again from its start.

    synced → trained → judged → scored → selected → published → flipped → pruned

A step takes the desk, the round and a progress callback, writes its files, and returns a small JSON
result that `backend.rounds` records. What Label Studio holds counts, never what a webhook carried.
"""

from backend.steps.choose import scored, selected
from backend.steps.common import Report, Result
from backend.steps.learn import judged, synced, trained
from backend.steps.publish import flipped, pruned, published

__all__ = [
    "Report", "Result", "flipped", "judged", "pruned", "published", "scored", "selected", "synced",
    "trained",
]  # fmt: skip
