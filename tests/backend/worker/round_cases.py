"""Rounds over a real store and a real (untrained) detector, with pictures drawn for each task."""

from backend.errors import ImageError
from backend.label_studio.label_config import parse_label_config
from backend.store import predictions
from backend.worker import round as rounds
from backend.worker.context import version_name, write_json
from backend.worker.dataset import take_snapshot
from tests.taudis.detector_cases import picture

CONFIG = """<View><Image name="image" value="$image"/>
<BrushLabels name="tag" toName="image"><Label value="square"/><Label value="bar"/></BrushLabels>
</View>"""
POOL = (1, 2, 3, 4, 5, 6, 7)
LABELLED = (11, 12, 13, 14)
UNREADABLE = 12
BUDGET = 4


class Images:
    """Stands in for ImageSource: a picture of its own for each task; `loads` are the tasks."""

    def __init__(self, broken=()):
        self.broken, self.loads = set(broken), []

    def load(self, value, *, task=None, since=0.0):
        self.loads.append(task)
        if task in self.broken:
            raise ImageError(f"{value}: gone")
        return picture(task, width=64 + 8 * (task % 3))[0]


def open_round(context, *, pool=POOL, labelled=LABELLED, kind="refresh"):
    """A round with what `synced` leaves."""
    round_ = context.store.open_round(context.lease, 7, kind, "test", [])
    folder = context.round_dir(round_)
    annotated = [
        {"id": n, "data": {"image": f"/{n}"}, "annotations": [{"id": n, "result": []}]}
        for n in labelled
    ]
    write_json(folder / "config.json", CONFIG)
    write_json(folder / "annotated.json", annotated)
    write_json(folder / "pool.json", {str(n): {"image": f"/{n}"} for n in pool})
    snapshot = take_snapshot(7, annotated, parse_label_config(CONFIG), 0.2)
    write_json(folder / "snapshot.json", snapshot.to_json())
    return context.store.finish_step(context.lease, round_.id, "synced", {})


def run(context, round_, *names, report=lambda progress: None):
    """The round after the named steps."""
    for name in names:
        result = rounds.STEP_FUNCTIONS[name](context, round_, report)
        round_ = context.store.finish_step(context.lease, round_.id, name, result)
    return round_


def order(context, round_):
    """The published order: task ids, first-ranked first."""
    path = predictions.path_of(context.data, 7, version_name(round_))
    return [place.task for place in predictions.order(path)]
