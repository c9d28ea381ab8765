"""What tests of the steps of a round share."""

import pytest

from backend.settings import load_settings
from backend.store.database import Store
from backend.worker.context import RoundContext
from taudis.detector.checkpoint import save_checkpoint
from tests.backend.worker.round_cases import BUDGET, Images
from tests.taudis.detector_cases import detector


@pytest.fixture
def make_context(tmp_path):
    """Contexts with other settings over one store: a worker that was started again."""
    store = Store(tmp_path)
    lease = store.acquire()
    store.update_project(7, serving="v1", model="v1", seed_mean_instances=2.0, title="Seven")

    def make(*, broken=(), **settings):
        settings = {"strategy": "core_set", "budget": BUDGET, **settings}
        context = RoundContext(load_settings(model_dir=tmp_path, **settings), store, lease, 7)
        context.__dict__["images"] = Images(broken)  # in place of the cached property
        return context

    save_checkpoint(make().model_dir("v1"), detector(), card={})
    round_ = store.open_round(lease, 7, "refresh", "test", [])
    store.add_version(lease, 7, "v1", round_id=round_.id, model="v1", tasks=7, metrics={})
    store.end_round(lease, round_.id, "served", "")
    yield make
    store.close()
