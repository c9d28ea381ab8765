"""What Label Studio sends, and a published version, for the tests of the web process."""

from pathlib import Path

from backend.store import predictions
from tests.backend.store import prediction_cases

ROOT = Path(__file__).resolve().parents[3]
CONFIG = (
    '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">'
    '<Label value="Cell"/></BrushLabels></View>'
)
STUDIO = "http://studio.example:8080"
CANARY = "c0ffee" * 6 + "c0ff"
REGION = {"id": "r1", "type": "brushlabels", "value": {"format": "rle", "rle": [1, 2]}}


def setup_body(project="7.1700000000", **changes):
    body = {
        "project": project,
        "schema": CONFIG,
        "hostname": STUDIO,
        "access_token": CANARY,
        "extra_params": None,
    }
    return {**body, **changes}


def publish(settings, store, project=7, version="taudis-0001-a", tasks=(1, 2, 3)):
    """A published version, as the worker leaves it."""
    path = predictions.path_of(settings.model_dir, project, version)
    prediction_cases.write(path, {task: [REGION] for task in tasks})
    lease = store.acquire()
    round_ = store.open_round(lease, project, "first", "test", [])
    store.add_version(
        lease, project, version, round_id=round_.id, model="", tasks=len(tasks), metrics={}
    )
    store.end_round(lease, round_.id, "served", "")
    store.update_project(project, serving=version)
    return version
