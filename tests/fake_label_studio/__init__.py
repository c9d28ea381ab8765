"""An in-memory Label Studio for tests: a real HTTP server that the backend's own client talks to.

It answers the calls that `backend.label_studio.client` and the tests make, as Label Studio 1.23.2
answers them, and it fails on demand. `tests/contract/test_label_studio.py` runs the same calls
against it and against a real Label Studio.

    server      the HTTP server, what people do on Label Studio's pages, faults on demand
    access      legacy tokens, personal tokens, and the access tokens made from these
    records     projects, tasks, annotations, predictions, webhooks, backends, and their JSON
    projects    calls about projects, uploads and versions
    listing     GET /api/tasks: filters, ordering, pages
    labelling   calls about tasks, annotations, predictions, and the next task of a user
    callbacks   calls about webhooks and ML backends, and the requests that Label Studio sends out
"""

from tests.fake_label_studio.faults import Fault
from tests.fake_label_studio.server import FakeLabelStudio

__all__ = ["FakeLabelStudio", "Fault"]
