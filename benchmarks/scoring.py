"""Measures CPU time and memory of the scoring pass: decode, detect, uncertainty, regions.

    .venv/bin/python -m benchmarks.scoring DATA [--before CHECKOUT] [--quick]

It uses two real sets of DATA: facades at 192 px (whole images, polygons) and tools_bench at 512 px
(brush). Each build trains its default model on four fifths of a set for 150 steps, once; the models
are kept in .cache/benchmarks. Each turn runs in a separate process with one thread. As in the step
`scored`, it decodes image files of the last fifth, detects objects, and writes the pool file and
the regions file. With --before, a checkout of an earlier build takes turns with this build.

ms are CPU milliseconds of the process per image, the median over all turns. The parts are measured
separately from the whole. `peak_mb` is the largest resident size of a turn (10^6 bytes, Linux).
mAP50 is on the last fifth, with the detector as loaded and with the fast detector. The last line is
JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from backend.images.decode import decode_image
from backend.label_studio.label_config import LabelConfig, parse_label_config
from backend.label_studio.regions import encode_prediction
from backend.process import limit_memory
from backend.store import predictions
from taudis import scoring
from taudis.data.coco import CocoSamples, load_coco
from taudis.detector.checkpoint import load_checkpoint, save_checkpoint
from taudis.detector.mask_rcnn import Detector
from taudis.evaluation.metrics import evaluate
from taudis.selection.uncertainty import uncertainty_of
from taudis.training.recipes import choose
from taudis.training.train import train
from taudis.types import Detection, Image, LabelMap

logger = logging.getLogger("scoring")

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache" / "benchmarks" / "scoring"
SETS = {"facades": (192, "Polygon"), "tools_bench": (512, "Brush")}
"""Set -> (longer side of the working size, px; kind of regions)."""
STEPS, IMAGES, TURNS = 150, 40, 7
THRESHOLD = 0.3  # least score of a detection that becomes a region
MAX_PIXELS = 50_000_000


# --- one turn -----------------------------------------------------------------------------------


def split(data: Path, name: str) -> tuple[LabelMap, CocoSamples, CocoSamples, list[Path]]:
    """Labels, training images, held-out images, and the files of the held-out images."""
    labels, samples = load_coco(data / name / "instances.json", data / name / "images")
    rows = range(len(samples))
    held = [row for row in rows if row % 5 == 4]
    files = [data / name / "images" / samples.file_names[row] for row in held]
    rest = [row for row in rows if row % 5 != 4]
    return labels, samples.subset(rest), samples.subset(held), files


def model_of(data: Path, name: str) -> Path:
    """The folder of this build's default model for a set; trained if it does not exist."""
    weights = "imagenet" if find_spec("taudis.detector.imagenet") else "none"
    labels, samples, _, _ = split(data, name)
    recipe = choose("cpu", samples.statistics(), gpu=False, weights=weights)
    model = dataclasses.replace(recipe.model, max_size=SETS[name][0])
    recipe = dataclasses.replace(recipe, steps=STEPS, evaluate_every=0, model=model)
    key = hashlib.sha256(repr((name, weights, recipe)).encode()).hexdigest()[:12]
    folder = CACHE / f"{name}-{model.backbone}-{key}"
    if not folder.exists():
        logger.info("training %s", folder.name)
        detector = train(samples, labels, recipe, seed=0, weights=weights)
        save_checkpoint(folder, detector, card={})
    return folder


def config_of(labels: LabelMap, kind: str) -> LabelConfig:
    """A labelling config with all labels on a single control."""
    values = "".join(f'<Label value="{name}"/>' for name in labels.names)
    return parse_label_config(
        f'<View><Image name="image" value="$image"/><{kind}Labels name="tag" toName="image">'
        f"{values}</{kind}Labels></View>"
    )


def whole_pass(
    detector: Detector, files: list[Path], config: LabelConfig, folder: Path
) -> dict[str, float]:
    """Score the files into a pool file and a regions file, as the step `scored` does."""
    drawn = 0

    def images() -> Iterator[tuple[int, Image]]:
        for number, file in enumerate(files):
            yield number, decode_image(file.read_bytes(), MAX_PIXELS)

    def keep(task: int, detection: Detection) -> None:
        nonlocal drawn
        regions = encode_prediction(detection, config, threshold=THRESHOLD)
        drawn += len(regions)
        add(task, regions)

    began = time.process_time()
    with predictions.writing(folder / "regions.sqlite3") as add:
        count, instances = scoring.score_to_file(
            folder / "pool.safetensors", detector, images(), on_image=keep,
            embedding_dtype="float32",
        )  # fmt: skip
    spent = time.process_time() - began
    return {
        "ms": 1000 * spent / count, "detections": instances / count, "regions": drawn / count,
    }  # fmt: skip


def parts(detector: Detector, files: list[Path], config: LabelConfig) -> dict[str, float]:
    """CPU ms per image of each part of the pass, measured separately."""
    spent: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        began = time.process_time()
        found = work()
        spent[name] = 1000 * (time.process_time() - began) / len(files)
        return found

    data = [file.read_bytes() for file in files]
    images = timed("decode_ms", lambda: [decode_image(each, MAX_PIXELS) for each in data])
    batches = [images[row : row + 4] for row in range(0, len(images), 4)]
    found = timed("detect_ms", lambda: [one for each in batches for one in detector.detect(each)])
    timed(
        "uncertainty_ms",
        lambda: [(uncertainty_of(o.instances), scoring.mask_areas(o.instances)) for o in found],
    )
    timed(
        "regions_ms",
        lambda: [encode_prediction(one, config, threshold=THRESHOLD) for one in found],
    )
    return spent


def measure(data: Path, name: str, count: int) -> dict[str, float]:
    """A turn of the build that this process imports."""
    limit_memory(training=False)
    labels, _, _, files = split(data, name)
    config = config_of(labels, SETS[name][1])
    detector = load_checkpoint(model_of(data, name))[0].fast()
    files = files[:count]
    with tempfile.TemporaryDirectory(prefix="scoring-") as folder:
        whole_pass(detector, files, config, Path(folder))  # not counted: compiles the kernels
        found = whole_pass(detector, files, config, Path(folder))
    peak = memory_peak() / 1e6
    return {**found, **parts(detector, files, config), "peak_mb": peak}


def accuracy(data: Path, name: str) -> dict[str, float]:
    """mAP50 on the held-out images, with the detector as loaded and with the fast one."""
    _, _, held, _ = split(data, name)
    plain = load_checkpoint(model_of(data, name))[0]
    found = {
        key: evaluate(detector, held, bootstrap=1).map50
        for key, detector in (("map50_plain", plain), ("map50_fast", plain.fast()))
    }
    return {**found, "map50_change": found["map50_fast"] - found["map50_plain"]}


def memory_peak() -> int:
    """The largest resident memory of this process, bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise SystemExit("Expected VmHWM in /proc/self/status: this benchmark needs Linux.")


# --- turns --------------------------------------------------------------------------------------


def child(part: str, checkout: Path, given: argparse.Namespace, name: str) -> dict[str, Any]:
    """Run a part in a new process that imports the packages of a checkout."""
    command = [sys.executable, "-P", str(Path(__file__).resolve()), str(given.data.resolve()),
               "--part", part, "--set", name, "--images", str(given.images)]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=checkout, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(checkouts: dict[str, Path], given: argparse.Namespace, name: str) -> dict[str, Any]:
    """All builds on a set: medians by build, and time of the first build / time of the last one."""
    rows: dict[str, list[dict[str, Any]]] = {build: [] for build in checkouts}
    accuracies = {build: child("accuracy", at, given, name) for build, at in checkouts.items()}
    logger.info("%s: %s", name, accuracies)
    for turn in range(given.turns):
        for build, checkout in checkouts.items():
            rows[build].append(child("measure", checkout, given, name))
            logger.info("%s, turn %d, %s: %s", name, turn + 1, build, rows[build][-1])
    found: dict[str, Any] = {
        build: {
            **{key: round(statistics.median(row[key] for row in runs), 2) for key in runs[0]},
            **{key: round(value, 4) for key, value in accuracies[build].items()},
        }
        for build, runs in rows.items()
    }
    found["images_per_s_per_core"] = round(1000 / found["now"]["ms"], 1)
    if "before" in rows:
        pairs = zip(rows["before"], rows["now"], strict=True)
        ratios = [before["ms"] / now["ms"] for before, now in pairs]
        found["times_as_fast"] = round(statistics.median(ratios), 3)
        found["memory_over_before"] = round(found["now"]["peak_mb"] / found["before"]["peak_mb"], 3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of COCO sets")
    parser.add_argument("--before", type=Path, help="checkout of the build to compare with")
    parser.add_argument("--quick", action="store_true", help="12 images, one turn")
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--set", choices=SETS, help="only this set")
    parser.add_argument("--part", choices=("measure", "accuracy"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("taudis").setLevel(logging.WARNING)
    torch.set_num_threads(1)
    if given.part == "measure":
        print(json.dumps(measure(given.data, given.set, given.images)))
        return
    if given.part == "accuracy":
        print(json.dumps(accuracy(given.data, given.set)))
        return
    if given.quick:
        given.images, given.turns = 12, 1
    checkouts = {"now": ROOT}
    if given.before:
        checkouts = {"before": given.before.resolve(), **checkouts}
    names = [given.set] if given.set else list(SETS)
    print(json.dumps({name: compare(checkouts, given, name) for name in names}))


if __name__ == "__main__":
    main()
