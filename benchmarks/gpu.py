"""Times training and one-pass scoring against torchvision's reference recipe on one GPU.

    .venv/bin/python -m benchmarks.gpu                                   # 800 px, batch 16, a GPU
    .venv/bin/python -m benchmarks.gpu --size 96 --batch 2 --steps 2     # that it runs, on a CPU

Both use `maskrcnn_resnet50_fpn` with batch norm, from scratch. The reference is torchvision's
references/detection: a DataLoader with worker processes, SGD, autocast with a GradScaler, and a
check of the loss in each step (engine.py, train_one_epoch). Ours is `taudis.training.train`,
`Detector.detect`, and for the scoring of a pool `Detector.fast` with `taudis.scoring`, as in the
worker. Contenders take turns. The device is synchronised before each time measurement, and the
first turn is not counted. Both train in the same precision: bfloat16, in which the GradScaler has
nothing to do and takes hardly any time, or float32 on a device without bfloat16, whose bfloat16
figures are null. The last line is JSON. Ratios on a CPU say nothing about a GPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.models.detection import maskrcnn_resnet50_fpn

from taudis.detector.architecture import ModelConfig, make_model
from taudis.detector.device import device_of_this_process
from taudis.detector.mask_rcnn import Detector, has_bf16, to_tensor
from taudis.scoring import score_pool
from taudis.training.recipes import Recipe
from taudis.training.samples import Loader, Stream, example
from taudis.training.train import _Trainer
from taudis.training.training_state import TrainingState
from taudis.types import Image, LabelMap, Target

logger = logging.getLogger("gpu")

LABELS = LabelMap(("disc", "bar"))
OBJECTS = 12  # objects per image
PICTURES = 64  # number of different pictures; all fit into memory on both sides


def picture(seed: int, size: int) -> tuple[Image, Target]:
    """A noisy picture with bright rectangles of two labels, and its ground truth."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 120, (size, size, 3)).astype(np.uint8)
    masks, labels = np.zeros((OBJECTS, size, size), bool), rng.integers(1, 3, OBJECTS)
    for row, label in enumerate(labels):
        h, w = (size // 8, size // 8) if label == 1 else (size // 16, size // 4)
        y, x = rng.integers(0, size - h), rng.integers(0, size - w)
        masks[row, y : y + h, x : x + w] = True
        image[masks[row]] = 100 + 70 * label
    return image, Target.from_masks(masks, labels)


class Pictures(Dataset[tuple[torch.Tensor, dict[str, torch.Tensor]]]):
    """The pictures for torchvision's DataLoader, with random flips."""

    def __init__(self, size: int) -> None:
        self.pairs = [picture(seed, size) for seed in range(PICTURES)]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Any:
        rng = np.random.default_rng()
        return example(*self.pairs[index], crop=None, turns=False, rng=rng)


class Samples:
    """The same pictures as `taudis.training.samples.Samples`."""

    def __init__(self, pictures: Pictures) -> None:
        self.pairs = pictures.pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int, /) -> tuple[Image, Target]:
        return self.pairs[index]


def forever(loader: DataLoader[Any]) -> Iterator[Any]:
    while True:
        yield from loader


def reference_steps(
    model: torch.nn.Module, batches: Iterator[Any], device: str
) -> Callable[[], None]:
    """One step of torchvision's references/detection, engine.py."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.002, momentum=0.9, weight_decay=1e-4)
    kind = device.split(":")[0]
    scaler = torch.amp.GradScaler(kind, enabled=kind == "cuda")

    def step() -> None:
        model.train()
        images, targets = next(batches)
        images = [image.to(device) for image in images]
        targets = [{name: value.to(device) for name, value in t.items()} for t in targets]
        with torch.autocast(kind, torch.bfloat16, enabled=has_bf16(device)):
            losses = sum(model(images, targets).values())
        if not math.isfinite(losses.item()):
            raise SystemExit("torchvision's reference: the loss is not finite.")
        optimizer.zero_grad()
        scaler.scale(losses).backward()
        scaler.step(optimizer)
        scaler.update()

    return step


def our_steps(trainer: _Trainer, loader: Loader) -> Callable[[], None]:
    """One step of `taudis.training.train`."""
    state = TrainingState(step=0, seen=0, batch=trainer.recipe.batch)

    def step() -> None:
        nonlocal state
        _, batch = trainer.step_or_halve(loader, state)
        if batch != trainer.recipe.batch:
            raise SystemExit(f"Out of memory: batch {batch}. Give a smaller --batch.")
        state = dataclasses.replace(state, step=state.step + 1, seen=state.seen + batch)

    return step


def seconds(
    contenders: dict[str, Callable[[], object]], rounds: int, steps: int, device: str
) -> dict[str, list[float]]:
    """Seconds of `steps` calls of each, in turns, `rounds` times, after an uncounted turn."""
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, work in contenders.items():
            _wait(device)
            started = time.monotonic()
            for _ in range(steps):
                work()
            _wait(device)
            if number:
                spent[name].append(time.monotonic() - started)
    return spent


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def training(options: argparse.Namespace, config: ModelConfig, device: str) -> dict[str, object]:
    """Images per second of both, and our rate / the reference's rate."""
    pictures = Pictures(options.size)
    recipe = Recipe(
        name="gpu", steps=10**6, model=config, optimizer="sgd", lr=0.002, batch=options.batch,
        crop=None, turns=False, warmup=1, precision="bf16" if has_bf16(device) else "fp32",
    )  # fmt: skip
    torch.manual_seed(0)
    ours = Detector(make_model(config, len(LABELS)).to(device), config, LABELS, device)
    theirs = maskrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=len(LABELS) + 1,
        min_size=options.size, max_size=2 * options.size,
    ).to(device)  # fmt: skip
    batches = DataLoader(
        pictures, options.batch, shuffle=True, num_workers=options.workers,
        collate_fn=lambda rows: tuple(zip(*rows, strict=True)),
        persistent_workers=options.workers > 0,
    )  # fmt: skip
    stream = Stream(Samples(pictures), recipe, len(LABELS), seed=0)
    with Loader(stream, last=10**9, workers=max(1, options.workers)) as loader:
        trainer = _Trainer(ours, recipe, seed=0)
        contenders: dict[str, Callable[[], object]] = {
            "ours": our_steps(trainer, loader),
            "theirs": reference_steps(theirs, forever(batches), device),
        }
        spent = seconds(contenders, options.rounds, options.steps, device)
        waited = loader.waited / max(sum(spent["ours"]), 1e-9)
    images = options.steps * options.batch
    speed = {name: images / float(np.median(values)) for name, values in spent.items()}
    return {
        "train_images_per_s": round(speed["ours"], 2),
        "train_reference_images_per_s": round(speed["theirs"], 2),
        "train_over_reference": _ratio(spent, "theirs", "ours"),
        "loader_share": round(waited, 4),
    }


def inference(options: argparse.Namespace, config: ModelConfig, device: str) -> dict[str, object]:
    """One pass against torchvision's call: in float32, with equal bits, and in bfloat16."""
    torch.manual_seed(0)
    detector = Detector(make_model(config, len(LABELS)).to(device), config, LABELS, device)
    detector.model.eval()
    images = [picture(seed, options.size)[0] for seed in range(options.batch)]
    result: dict[str, object] = dict.fromkeys(
        ("detect_bf16_images_per_s", "one_pass_over_stock_bf16")
    )
    contestants = {"": detector}
    if has_bf16(device):  # a CPU without bfloat16 takes minutes per image
        contestants["_bf16"] = dataclasses.replace(detector, precision="bf16")
    for name, ours in contestants.items():

        def stock(bf16: bool = bool(name)) -> list[dict[str, torch.Tensor]]:
            kind = device.split(":")[0]
            with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=bf16):
                found = detector.model([to_tensor(image).to(device) for image in images])
            return [{key: value.cpu() for key, value in each.items()} for each in found]

        if not name:
            for one, other in zip(ours.detect(images), stock(), strict=True):
                if not np.array_equal(one.instances.boxes, other["boxes"].numpy()):
                    raise SystemExit("One pass and the stock call differ.")
        contenders = {"ours": lambda ours=ours: ours.detect(images), "stock": stock}
        spent = seconds(contenders, options.rounds, options.steps, device)
        images_s = options.steps * options.batch / float(np.median(spent["ours"]))
        result[f"detect{name}_images_per_s"] = round(images_s, 2)
        result[f"one_pass_over_stock{name}"] = _ratio(spent, "ours", "stock")
    return result


def scoring(options: argparse.Namespace, config: ModelConfig, device: str) -> dict[str, object]:
    """Images per second of scoring by a fast detector, and by one CPU thread."""
    images = [(seed, picture(seed, options.size)[0]) for seed in range(options.batch)]
    speed: dict[str, float] = {}
    for place in dict.fromkeys((device, "cpu")):
        torch.manual_seed(0)
        model = make_model(config, len(LABELS)).to(place).eval()
        fast = Detector(model, config, LABELS, place).fast()
        score: Callable[[], object] = functools.partial(score_pool, fast, images)
        if place == "cpu":  # without a second device, a few images are enough
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            spent = seconds({"ours": score}, 1, 1, place)
            torch.set_num_threads(threads)
            speed[place] = len(images) / spent["ours"][0]
        else:
            spent = seconds({"ours": score}, options.rounds, options.steps, place)
            speed[place] = options.steps * len(images) / float(np.median(spent["ours"]))
    has_card = device != "cpu"
    return {
        "score_images_per_s": round(speed[device], 2),
        "score_over_cpu": round(speed[device] / speed["cpu"], 2) if has_card else None,
    }


def _ratio(spent: dict[str, list[float]], one: str, other: str) -> float:
    return round(float(np.median(np.array(spent[one]) / np.array(spent[other]))), 3)


def measure(options: argparse.Namespace) -> dict[str, object]:
    """All figures, on the GPU if there is one."""
    device = device_of_this_process()
    config = dataclasses.replace(
        ModelConfig.standard(), norm="batch", min_size=options.size, max_size=2 * options.size
    )
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu: says nothing about a GPU"
    return {
        "device": name,
        "size": options.size,
        "batch": options.batch,
        **training(options, config, device),
        **inference(options, config, device),
        **scoring(options, config, device),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=800, help="px of the square pictures")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10, help="a turn")
    parser.add_argument("--rounds", type=int, default=3, help="turns that are counted")
    parser.add_argument("--workers", type=int, default=4, help="of the data loaders")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    print(json.dumps(measure(options)))


if __name__ == "__main__":
    main()
