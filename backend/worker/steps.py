"""The steps of a round. Each is idempotent: killed anywhere, it can be run again from its start.

    synced → trained → judged → scored → selected → published → flipped → pruned

A step takes the desk, the round and a progress callback, writes its files, and returns a small JSON
result that `backend.worker.round` records. What Label Studio holds counts, never what a webhook
carried.
"""

from backend.worker.common import Report, Result
from backend.worker.publish import flipped, pruned, published
from backend.worker.score import scored
from backend.worker.select import selected
from backend.worker.train import judged, synced, trained

__all__ = [
    "Report", "Result", "flipped", "judged", "pruned", "published", "scored", "selected", "synced",
    "trained",
]  # fmt: skip
