"""A store for each state of the status page, written through the store's own methods."""

import math
from dataclasses import dataclass

import numpy as np

from backend.label_studio.label_colours import label_colours
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.left_out import LeftOut, Summary
from backend.label_studio.new_project import label_config
from backend.label_studio.regions.brush import encode_rle
from backend.store import predictions, queue_head
from backend.store.arms import ArmComparison
from backend.store.live import LiveRow
from backend.store.predictions import Place
from backend.store.queue_head import QueueHead, QueueImage
from backend.worker.thumbnails import thumbnail
from benchmarks.status_page import fill
from demo.pictures import KINDS, picture
from taudis.types import LabelMap
from tests.backend.web.web_cases import STUDIO

LONG_TITLE = "Project with a rather long title that somebody gave it, number {}"
LABELS = tuple(kind.name for kind in KINDS)
CONFIG = label_config(LabelMap(LABELS), "brush")
WHY = "2.0 votes: 2 of its 5 uncertain instances were chosen; they cover 31 pool instances"
HOSTILE = '"><script>alert(1)</script>'


@dataclass
class Filled:
    """Writes projects into a store as rounds do."""

    store: object
    settings: object

    def __post_init__(self):
        self.lease = self.store.acquire()

    def project(self, number, title="Leaves and stars", **state):
        """A project that Label Studio has connected."""
        values = {"armed": {"sampling": "Uncertainty sampling"}, "label_config": CONFIG} | state
        self.store.update_project(number, origin=STUDIO, title=title, **values)

    def step(self, round_, name, **result):
        self.store.finish_step(self.lease, round_.id, name, result)

    def first_order(self, number, tasks=40):
        """A round without a model whose order serves."""
        round_ = self.store.open_round(self.lease, number, "first", "connected anew", [])
        version = f"taudis-{round_.number:04d}-65a1"
        self.step(round_, "synced", labelled=0, pool=tasks, seconds=0.4)
        self._publish(number, round_, version, tasks, "", {})
        self.store.end_round(self.lease, round_.id, "served", "order by random")
        return version

    def training(self, number, labelled, map50, *, serve=True, tasks=200, end=True, **trained):
        """A round that trained a model on this many images, with its mAP50."""
        round_ = self.store.open_round(
            self.lease, number, "train", "16 labelled tasks changed (a round starts at 16)", []
        )
        version = f"taudis-{round_.number:04d}-65a1"
        validation = max(1, labelled // 5)
        counts = {"labelled": labelled, "pool": tasks, "train": labelled - validation}
        self.step(round_, "synced", **counts, validation=validation, seconds=1.2)
        used = {"images": labelled - validation, "mean_instances": 3.5, **trained}
        self.step(round_, "trained", **used, version=version, seconds=95.0)
        metrics = measured(map50, validation)
        before = f"taudis-{round_.number - 1:04d}-65a1"
        self.step(
            round_, "evaluated", version=version, metrics=metrics, serve=serve, reason="",
            compared_with=before, difference={"map50": 0.02, "interval": [-0.01, 0.05]},
            correction={"corrected": 3.6 - 3 * map50, "by_hand": 3.5}, seconds=3.0,
        )  # fmt: skip
        if not end:
            return round_
        self.step(round_, "scored", images=tasks, seconds=40.0)
        made_by = version if serve else before
        self._publish(number, round_, version, tasks, made_by, metrics if serve else {})
        old = map50 - 0.02 if serve else map50 + 0.2
        reason = f"mAP50 {map50:.3f}, the model before {old:.3f}, on the same 28 validation images"
        words = f"{reason}; order by taudis" if serve else f"not served: {reason}; order by taudis"
        self.store.end_round(self.lease, round_.id, "served" if serve else "kept", words)
        return version

    def _publish(self, number, round_, version, tasks, model, metrics):
        curve = [[n, round(0.8 * (1 - math.exp(-n / 9)), 4)] for n in range(1, 25)]
        found = {"sigma": 0.8, "coverage": curve[-1][1], "coverable": 0.83, "saturation_pick": None}
        covers = {"coverage_curve": curve} if model else {}
        self.step(
            round_, "selected", version=version, strategy="taudis" if model else "random",
            warnings=[], diagnostics=found if model else {}, tasks=tasks, seconds=0.8, **covers,
        )  # fmt: skip
        path = predictions.path_of(self.settings.model_dir, number, version)
        with predictions.writing(path):
            pass
        predictions.set_order(path, (Place(n, n, n / tasks, WHY) for n in range(1, tasks + 1)))
        self.step(round_, "published", version=version, tasks=tasks, seconds=1.0)
        self.store.add_version(
            self.lease, number, version, round_id=round_.id, model=model, tasks=tasks,
            metrics=metrics,
        )  # fmt: skip
        self.step(round_, "flipped", version=version, flipped=True, why="", seconds=0.3)
        self.step(round_, "pruned", versions=[], seconds=0.1)
        self.store.update_project(number, serving=version, model=model, changed=5)

    # --- the states of the page ---------------------------------------------------------------

    def cold(self, number=7):
        self.project(number)
        self.first_order(number)

    def ready(self, number=7, trainings=8, **project):
        self.project(number, **project)
        self.first_order(number)
        for row in range(trainings):
            serve = row != 3
            map50 = 0.62 * (1 - math.exp(-(row + 1) / 4)) - (0 if serve else 0.12)
            self.training(number, 16 * (row + 1), map50, serve=serve)
        self.live(number)

    def with_pictures(self, number=7):
        """A ready project with pictures of its next images, and a comparison of both arms."""
        self.ready(number)
        self.pictures(number)
        self.arms(number)

    def working(self, number=7):
        self.ready(number)
        round_ = self.store.open_round(self.lease, number, "train", "Start Training", [])
        self.step(round_, "synced", labelled=144, train=116, validation=28, pool=56, seconds=1.1)
        progress = {"step": "trained", "done": 120, "total": 400, "eta_s": 95.0}
        self.store.report(self.lease, round_.id, progress)

    def failed(self, number=7):
        self.ready(number)
        round_ = self.store.open_round(self.lease, number, "train", "Start Training", [])
        self.step(round_, "synced", labelled=144, train=116, validation=28, pool=56, seconds=1.1)
        reason = "Out of memory. Give the worker more, or set a smaller recipe."
        self.store.end_round(self.lease, round_.id, "failed", reason)

    def left_out(self, number=7):
        self.ready(number)
        rows = [
            LeftOut(5, "r1", "unreadable_shape", "the RLE is cut short", "dropped"),
            LeftOut(9, "", "unreadable_image", "'/data/9.tif': the file is broken", "dropped"),
        ]  # fmt: skip
        found = {part: {**Summary.of(rows, train=100, validation=26).to_json(), "round": 9}
                 for part in ("labels", "unlabelled")}  # fmt: skip
        changed = [LeftOut(31, "r4", "no_label", "it has no label; choose one.", "painted_out")]
        self.store.update_project(
            number, left_out=found, pinned="taudis-0003-65a1", serving="taudis-0003-65a1",
            unusable=Summary.of(changed).to_json(),
            changed_by_person="sampling was switched off in Label Studio's settings",
        )  # fmt: skip
        self.arms(number)

    def many(self, number=24):
        """Projects of every kind: at work, just connected, waiting, disconnected, ready."""
        fill(self.store, number, 2, LONG_TITLE)
        for each in range(5, number + 1, 5):
            self.store.update_project(each, serving="", model="", changed=0)
        for each in range(1, number + 1, 7):
            round_ = self.store.open_round(self.lease, each, "train", "Start Training", [])
            progress = {"step": "scored", "done": 30, "total": 90, "eta_s": 12.0}
            self.store.report(self.lease, round_.id, progress)
        reason = "Label Studio does not answer at studio.example: is it running?"
        self.store.update_project(9, waiting_reason=reason)
        self.store.update_project(10, disconnected=True)

    def hostile(self, number=7):
        """Text from outside that would be code if it were not escaped."""
        self.ready(number, 2, title=HOSTILE)
        changed = [LeftOut(31, HOSTILE, "no_label", HOSTILE, "painted_out")]
        self.store.update_project(
            number, message=HOSTILE, changed_by_person=HOSTILE,
            unusable=Summary.of(changed).to_json(),
        )  # fmt: skip
        round_ = self.store.open_round(self.lease, number, "train", HOSTILE, [])
        metrics = {**measured(0.5, 4), "per_label": {HOSTILE: 0.5}}
        self.step(round_, "evaluated", version="taudis-0009-65a1", metrics=metrics, reason=HOSTILE)
        self.store.end_round(self.lease, round_.id, "failed", HOSTILE)
        self.store.update_project(number, model="taudis-0009-65a1", asked_result=HOSTILE)

    def pictures(self, number):
        """The head of the served order, with drawn pictures and the masks of their objects."""
        state = self.store.project(number).state
        colours = label_colours(CONFIG, parse_label_config(CONFIG).label_map.names)
        config, rng, images = parse_label_config(CONFIG), np.random.default_rng(4), []
        folder = queue_head.folder_of(self.settings.model_dir, number, state.serving)
        folder.mkdir(parents=True)
        for task in range(1, queue_head.VISIBLE + 1):
            pixels, owner, kinds = picture(rng, 192)
            regions = [region(config, owner == row, kind) for row, kind in enumerate(kinds, 1)]
            data, size, found = thumbnail(pixels[:, :, ::-1], regions, config, colours)
            (folder / f"{task}.jpg").write_bytes(data)
            images.append(QueueImage(40 + task, task, WHY, found, size))
            (folder / f"{task}.jpg").rename(folder / f"{40 + task}.jpg")
        head = QueueHead([], config.label_map.names, colours, images)
        queue_head.write(self.settings.model_dir, number, state.serving, head)

    def live(self, number):
        counts = {LABELS[0]: {"accepted": 4, "unchanged": 2, "reshaped": 1, "added": 1}}
        rows = [
            LiveRow(n, n, "2026-11-30T00:00:00Z", "visible", "taudis-0003-65a1", 1, 20.0, counts)
            for n in range(1, 9)
        ]
        self.store.keep_live_rows(self.lease, number, rows)

    def arms(self, number):
        (newest, *_) = self.store.rounds(number, 1)
        self.store.add_comparison(
            self.lease, number,
            ArmComparison(
                newest.id, newest.number, "taudis-0009-65a1", "draw", "taudis", 16, 24,
                {"strategy": 24, "random": 26}, 26, 400, {"strategy": 0.52, "random": 0.47},
                {"strategy": [0.44, 0.6], "random": [0.4, 0.55]}, 0.05, [-0.02, 0.12],
            ),
        )  # fmt: skip


def region(config, mask, kind):
    """A brush region as a prediction has it."""
    label = KINDS[kind].name
    return {
        "id": f"r{kind}", "type": "brushlabels", "from_name": config.control_for(label).name,
        "to_name": config.image.name, "original_width": 192, "original_height": 192,
        "image_rotation": 0,
        "value": {"format": "rle", "rle": encode_rle(mask), "brushlabels": [label]},
    }  # fmt: skip


def measured(map50, images):
    """Metrics as the step `judge` records them."""
    labels = {name: round(map50 + 0.1 - 0.04 * row, 3) for row, name in enumerate(LABELS)}
    return {
        "map50": map50, "map": map50 / 2, "per_label": labels, "images": images,
        "interval": [max(0.0, map50 - 0.08), map50 + 0.08], "instances": 3 * images,
        "confusion": [],
    }  # fmt: skip
