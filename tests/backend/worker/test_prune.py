"""Which files of old versions go, and which stay."""

from types import SimpleNamespace

import pytest

from backend.settings import Settings
from backend.store import predictions
from backend.store.database import Store
from backend.worker import prune
from backend.worker.context import Desk, version_name
from tests.backend.store import prediction_cases


@pytest.fixture
def desk(tmp_path):
    store = Store(tmp_path)
    lease = store.acquire()
    store.update_project(7, armed=True)
    made = Desk(Settings(model_dir=tmp_path, keep_versions=2), store, lease, 7)
    served = SimpleNamespace(project=lambda _: {"model_version": "someone's model!"})
    made.__dict__["studio"] = served  # in place of the cached property
    yield made
    store.close()


def published(desk, attempt=1):
    """A round that published its order at the given attempt; its version."""
    round_ = desk.store.open_round(desk.lease, 7, "refresh", "test", [])
    version = version_name(round_, attempt)
    prediction_cases.write(predictions.path_of(desk.data, 7, version), {1: []})
    desk.store.add_version(
        desk.lease, 7, version, round_id=round_.id, model="", tasks=1, metrics={}
    )
    desk.store.end_round(desk.lease, round_.id, "kept", "")
    return version


def test_the_file_of_a_kept_order_stays_whichever_attempt_was_taken(desk):
    versions = [published(desk, attempt) for attempt in (1, 3, 1, 2)]
    desk.store.update_project(7, serving=versions[-1])
    assert prune.forget_old_versions(desk) == versions[1::-1]
    folder = predictions.path_of(desk.data, 7, versions[0]).parent
    kept = {predictions.path_of(desk.data, 7, version).name for version in versions[2:]}
    assert {path.name for path in folder.iterdir()} == kept
    assert predictions.ranks(predictions.path_of(desk.data, 7, versions[-1])) == {1: 1}


def test_the_file_of_an_open_round_stays_and_that_of_a_failed_one_goes(desk):
    desk.store.update_project(7, serving=published(desk))
    paths = []
    for outcome in ("failed", None):
        round_ = desk.store.open_round(desk.lease, 7, "refresh", "test", [])
        paths.append(predictions.path_of(desk.data, 7, version_name(round_)))
        prediction_cases.write(paths[-1], {1: []})
        if outcome:
            desk.store.end_round(desk.lease, round_.id, outcome, "")
    prune.forget_old_versions(desk)
    assert [path.exists() for path in paths] == [False, True]
