"""Predictions files: those of kept orders and of the open round stay, the others go."""

from types import SimpleNamespace

import pytest

from backend.settings import Settings
from backend.store import predictions
from backend.store.database import Store
from backend.worker import prune
from backend.worker.context import RoundContext, version_name
from tests.backend.store import prediction_cases


@pytest.fixture
def context(tmp_path):
    store = Store(tmp_path)
    lease = store.acquire()
    store.update_project(7, armed=True)
    made = RoundContext(Settings(model_dir=tmp_path, keep_versions=2), store, lease, 7)
    served = SimpleNamespace(project=lambda _: {"model_version": "someone's model!"})
    made.__dict__["studio"] = served  # in place of the cached property
    yield made
    store.close()


def published(context, attempt=1):
    """A round that published its order at the given attempt; its version."""
    round_ = context.store.open_round(context.lease, 7, "refresh", "test", [])
    version = version_name(round_, attempt)
    prediction_cases.write(predictions.path_of(context.data, 7, version), {1: []})
    context.store.add_version(
        context.lease, 7, version, round_id=round_.id, model="", tasks=1, metrics={}
    )
    context.store.end_round(context.lease, round_.id, "kept", "")
    return version


def test_the_file_of_a_kept_order_stays_whichever_attempt_was_taken(context):
    versions = [published(context, attempt) for attempt in (1, 3, 1, 2)]
    context.store.update_project(7, serving=versions[-1])
    assert prune.forget_old_versions(context) == versions[1::-1]
    folder = predictions.path_of(context.data, 7, versions[0]).parent
    kept = {predictions.path_of(context.data, 7, version).name for version in versions[2:]}
    assert {path.name for path in folder.iterdir()} == kept
    assert predictions.ranks(predictions.path_of(context.data, 7, versions[-1])) == {1: 1}


def test_the_file_of_an_open_round_stays_and_that_of_a_failed_one_goes(context):
    context.store.update_project(7, serving=published(context))
    paths = []
    for outcome in ("failed", None):
        round_ = context.store.open_round(context.lease, 7, "refresh", "test", [])
        paths.append(predictions.path_of(context.data, 7, version_name(round_)))
        prediction_cases.write(paths[-1], {1: []})
        if outcome:
            context.store.end_round(context.lease, round_.id, outcome, "")
    prune.forget_old_versions(context)
    assert [path.exists() for path in paths] == [False, True]
