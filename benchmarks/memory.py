"""Measures the memory of predicting many images of mixed sizes, up to 4,000 x 3,000 px.

    .venv/bin/python -m benchmarks.memory --images 1000

There are two paths, each in a separate process: that of the worker (the step `scored` of a round,
from files on disk to the pool and the regions file), and that of the prediction process (with
requests over its pipe, as from the web process). Pictures are generated. A small model is trained
on them first, so that dozens of instances per image are found, pasted and encoded. The last line is
JSON, with sizes in MB (10^6 bytes).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import torch

from backend.label_studio.label_config import parse_label_config
from backend.process import limit_memory
from backend.settings import Settings, load_settings
from backend.store import predictions
from backend.store.database import Store
from backend.store.lease import Lease
from backend.store.rounds import Round
from backend.web.messages import Job
from backend.web.predictor import Predictor
from backend.worker import score
from backend.worker.context import RoundContext, version_name, write_json
from backend.worker.dataset import take_snapshot
from taudis.data.pool_reader import load_pool
from taudis.detector.checkpoint import save_checkpoint
from taudis.training.train import Recipe, train
from taudis.types import LabelMap, Target

SIZES = ((4000, 3000), (200, 150), (640, 480), (3000, 4000), (1024, 1024), (1920, 1080),
         (512, 512), (2400, 1600), (3000, 2000), (800, 1200), (320, 240), (4000, 1000))  # fmt: skip
"""(width, height) px of the pictures, in turn: 3.6 Mpx on average."""
OBJECTS = 60  # objects per picture
CONFIG = (
    '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">'
    '<Label value="blob"/></BrushLabels></View>'
)
LABELS = LabelMap(("blob",))


def picture(seed: int, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """A noisy background with OBJECTS bright ellipses, and the ellipse of each pixel (0: none)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 110, (height // 8 + 1, width // 8 + 1, 3)).astype(np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    owner = np.zeros((height, width), np.int16)
    unit = max(width, height) / 100
    for number in range(1, OBJECTS + 1):
        centre = int(rng.integers(width)), int(rng.integers(height))
        axes = int(unit * rng.uniform(1.5, 4)) + 1, int(unit * rng.uniform(1.5, 4)) + 1
        angle, colour = float(rng.uniform(0, 180)), rng.integers(150, 256, 3).tolist()
        cv2.ellipse(image, centre, axes, angle, 0, 360, colour, -1)
        cv2.ellipse(owner, centre, axes, angle, 0, 360, number, -1)
    return image, owner


class Pictures:
    """Pictures as taudis.training.train.Samples."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, Target]:
        image, owner = picture(1000 + index, 256, 256)
        numbers = np.setdiff1d(owner, [0])
        masks = owner == numbers[:, None, None]
        return image, Target.from_masks(masks, np.ones(len(masks), np.int64))


def settings_of(folder: Path) -> Settings:
    """A backend whose images are local files, without a Label Studio at its address."""
    return load_settings(
        model_dir=folder / "data",
        local_files_root=folder / "files",
        label_studio_url="http://127.0.0.1:9",
        label_studio_api_key="none",
        score_threshold=0.3,
        score_seconds=None,  # score all images, without a time limit
    )


def prepare(folder: Path, images: int, files: int, steps: int) -> dict[str, int]:
    """Write pictures, a trained checkpoint, and a round whose next step scores the pictures."""
    (folder / "files").mkdir(parents=True)
    for number in range(files):
        image, _ = picture(number, *SIZES[number % len(SIZES)])
        cv2.imwrite(str(folder / "files" / f"{number}.jpg"), image[:, :, ::-1])
    settings = settings_of(folder)
    recipe = Recipe(name="memory", steps=steps, warmup=min(50, steps // 2))
    detector = train(Pictures(40), LABELS, recipe, seed=0)
    save_checkpoint(settings.model_dir / "models" / "1" / "m", detector, card={})
    context, round_ = _context(settings), _round()
    where = context.round_dir(round_)
    snapshot = take_snapshot(1, [], parse_label_config(CONFIG), 0.2)
    write_json(where / "config.json", CONFIG)
    write_json(where / "annotated.json", [])
    write_json(where / "snapshot.json", snapshot.to_json())
    write_json(where / "pool.json", {str(task): _data(task, files) for task in range(images)})
    return {"images": images, "files": files, "training_steps": steps}


def _data(task: int, files: int) -> dict[str, str]:
    """The data of a task: files in an order in which large and small alternate at random."""
    order = np.random.default_rng([7, task // files]).permutation(files)
    return {"image": f"/data/local-files/?d={order[task % files]}.jpg"}


def _context(settings: Settings) -> RoundContext:
    return RoundContext(settings, Store(settings.model_dir), Lease("benchmark", 1), 1)


def _round() -> Round:
    verdict = {"evaluated": {"version": "m", "serve": True}}
    return Round(1, 1, 1, "train", "", 0.0, None, None, "", {}, verdict)


def high_water(pid: int | str = "self") -> int:
    """The peak memory of a process, bytes (Linux: VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise OSError("Expected VmHWM in /proc/<pid>/status; this benchmark needs Linux.")


def measure_worker(folder: Path) -> dict[str, Any]:
    """Run the step `scored` as the worker does, and record the process's size after each image."""
    torch.set_num_threads(1)
    limit_memory(training=True)
    settings, own, sizes = settings_of(folder), psutil.Process(), []
    store = Store(settings.model_dir)
    lease = store.acquire() or Lease("benchmark", 1)
    store.update_project(1, title="benchmark")
    context, round_ = RoundContext(settings, store, lease, 1), _round()
    began = time.monotonic()
    result = score.score(context, round_, lambda _: sizes.append(own.memory_info().rss))
    spent = time.monotonic() - began
    pool = load_pool(context.round_dir(round_) / score.POOL_FILE)
    with predictions.Stored.opened(
        predictions.path_of(context.data, 1, version_name(round_))
    ) as found:
        regions = sum(len(json.loads(found.result(task))) for task in pool.image_ids.tolist())
    kept = sum(value.nbytes for value in vars(pool.instances).values() if value is not None)
    return {
        **figures(sizes, high_water(), spent),
        "detections_per_image": round(result["instances"] / result["images"], 1),
        "regions_per_image": round(regions / result["images"], 1),
        "pool_kb_per_image": round(kept / len(pool) / 1e3, 1),
    }


def measure_predictor(folder: Path) -> dict[str, Any]:
    """Ask the prediction process for the same tasks, one by one."""
    settings, sizes, regions = settings_of(folder), [], 0
    tasks = json.loads((_context(settings).round_dir(_round()) / "pool.json").read_text())
    predictor = Predictor(settings)
    began = time.monotonic()
    try:
        for task, data in tasks.items():
            job = Job(1, int(task), settings.model_dir / "models" / "1" / "m", CONFIG, data,
                      settings.label_studio_url, "none")  # fmt: skip
            answer = predictor.predict(job, 60)
            if answer.problem:
                raise SystemExit(answer.problem)
            regions += len(answer.regions)
            sizes.append(psutil.Process(predictor.pid).memory_info().rss)
        peak = high_water(predictor.pid or 0)
    finally:
        predictor.close()
    spent = time.monotonic() - began
    return {**figures(sizes, peak, spent), "regions_per_image": round(regions / len(tasks), 1)}


def figures(sizes: list[int], peak: int, spent: float) -> dict[str, float]:
    """Sizes in MB: the peak, and medians around a tenth of the images and around the end."""
    tenth = max(1, len(sizes) // 10)
    first, last = sizes[tenth // 2 : tenth + tenth // 2 + 1], sizes[-tenth:]
    values = {
        "peak_mb": peak,
        "at_tenth_mb": sizes[tenth - 1],
        "half_way_mb": statistics.median(sizes[len(sizes) // 3 : 2 * len(sizes) // 3 + 1]),
        "at_end_mb": sizes[-1],
        "median_around_tenth_mb": statistics.median(first),
        "median_last_tenth_mb": statistics.median(last),
    }
    rounded = {name: round(value / 1e6, 1) for name, value in values.items()}
    return {**rounded, "images_per_s": round(len(sizes) / spent, 2)}


MEASURES = {"worker": measure_worker, "predictor": measure_predictor}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--files", type=int, default=24, help="distinct pictures")
    parser.add_argument("--steps", type=int, default=150, help="training steps of the model")
    parser.add_argument("--path", choices=[*MEASURES, "both"], default="both")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(MEASURES[given.path](given.measure)))
        return
    wanted = list(MEASURES) if given.path == "both" else [given.path]
    with tempfile.TemporaryDirectory() as name:
        result: dict[str, Any] = prepare(Path(name) / "m", given.images, given.files, given.steps)
        for path in wanted:
            command = [sys.executable, "-m", "benchmarks.memory", "--path", path,
                       "--measure", str(Path(name) / "m")]  # fmt: skip
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            result[path] = json.loads(done.stdout.splitlines()[-1])
            print(path, result[path], flush=True)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
