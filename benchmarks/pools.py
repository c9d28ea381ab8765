"""Makes pools for benchmarks of the selection: synthetic pools of given density, and real pools."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from demo.pictures import generate
from taudis.data.coco import CocoSamples, load_coco
from taudis.data.pool_reader import load_pool, save_pool
from taudis.detector.checkpoint import load_checkpoint, save_checkpoint
from taudis.detector.mask_rcnn import Detector
from taudis.scoring import score_pool
from taudis.training.recipes import choose
from taudis.training.train import train
from taudis.types import Float32, Instances, LabelMap, Pool, Uncertainty

logger = logging.getLogger("pools")

Branch = Literal["mask", "box"]

DATA = Path(__file__).resolve().parents[1] / "../shared/data"
CACHE = Path(__file__).resolve().parents[1] / ".cache/benchmarks"
DENSITIES = (0.001, 0.014, 0.1, 0.67)
WIDTH = 256
POOL_IMAGES = 250


def clusters(density: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Uneven shares of clusters, such that two draws are equal with probability `density`."""
    if density > 0.5:
        return np.array([0.81, 0.08, 0.06, 0.05])
    shares = rng.exponential(size=round(2 / density))
    shares /= shares.sum()
    return shares


def synthetic(
    instances: int, density: float, *, seed: int = 0
) -> tuple[Float32, npt.NDArray[np.int64]]:
    """Embeddings [N,256], of whose pairs a share of about `density` reaches 0.8, and clusters.

    Cosines are near 0.86 within a cluster and near 0 between clusters, never near sigma.
    """
    rng = np.random.default_rng(seed)
    shares = clusters(density, rng)
    centres = rng.normal(size=(len(shares), WIDTH)).astype(np.float32)
    which = rng.choice(len(shares), instances, p=shares)
    found = rng.standard_normal((instances, WIDTH), np.float32)
    found *= 0.4
    found += centres[which]
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found, which


def as_pool(embeddings: Float32, *, per_image: int = 10, seed: int = 1, first_id: int = 0) -> Pool:
    """A pool of these embeddings, `per_image` per image, with random boxes and uncertainties."""
    rng, n = np.random.default_rng(seed), len(embeddings)
    images = -(-n // per_image)
    corner = rng.uniform(0, 400, (n, 2)).astype(np.float32)
    measures = rng.uniform(0.01, 0.69, (3, n)).astype(np.float32)
    return Pool(
        image_ids=first_id + np.arange(images),
        sizes=np.full((images, 2), 512),
        instances=Instances(
            image_index=np.arange(n) // per_image,
            boxes=np.concatenate([corner, corner + 30], axis=1),
            scores=rng.uniform(0.05, 1, n).astype(np.float32),
            labels=np.ones(n, np.int64),
            class_probs=np.full((n, 2), 0.5, np.float32),
            embeddings=embeddings,
        ),
        uncertainty=Uncertainty(*measures),
        mask_areas=rng.uniform(10, 900, n).astype(np.float32),
        image_embeddings=rng.normal(size=(images, 64)).astype(np.float32),
    )


def scenes(
    images: int,
    *,
    per_image: int = 8,
    kinds: int = 400,
    own: int = 3,
    relu: bool = False,
    seed: int = 0,
) -> tuple[Pool, npt.NDArray[np.int64]]:
    """A pool whose clusters are known [N]: images that show a few kinds of objects each.

    The shares of kinds are exponential: some are common, and many are rare. An image draws `own`
    kinds by these shares, and its instances from these kinds. Each kind has a different mean
    uncertainty, so the most uncertain instances are mostly of the same kinds. Cosines are near 0.86
    within a kind and near 0 between kinds. With `relu`, all numbers are positive, as after ReLU,
    and every pair reaches 0.8. The embedding of an image is the mean of its instances' embeddings.
    """
    rng = np.random.default_rng(seed)
    shares = rng.exponential(size=kinds)
    present = rng.choice(kinds, (images, own), p=shares / shares.sum())
    which = np.take_along_axis(present, rng.integers(own, size=(images, per_image)), 1).ravel()
    centres = rng.normal(size=(kinds, WIDTH)).astype(np.float32)
    found = centres[which] + 0.4 * rng.standard_normal((len(which), WIDTH), np.float32)
    if relu:
        found = np.abs(found) + np.float32(1)
    unsure = 0.69 * (0.75 * rng.uniform(size=kinds)[which] + 0.25 * rng.uniform(size=len(which)))
    pool = as_pool(found, per_image=per_image, seed=seed)
    means = found.reshape(images, per_image, WIDTH).mean(axis=1)
    entropy = unsure.astype(np.float32)
    measures = Uncertainty(cm=1 - entropy, ce=entropy, se=entropy)
    return dataclasses.replace(pool, uncertainty=measures, image_embeddings=means), which


def enlarged(embeddings: Float32, instances: int, *, noise: float = 0.02) -> Float32:
    """`instances` rows: the embeddings [N,D] and noisy copies of them.

    noise: standard deviation, as a share of that of each dimension.
    """
    rng = np.random.default_rng(0)
    which = np.arange(instances) % len(embeddings)
    found = embeddings[which].astype(np.float32)
    spread = (noise * embeddings.std(axis=0)).astype(np.float32)
    copies = slice(len(embeddings), None)
    found[copies] += spread * rng.standard_normal(found[copies].shape, np.float32)
    return found


def split(units: Float32, candidates: int) -> tuple[Float32, npt.NDArray[np.int64]]:
    """(some rows as candidates, their row numbers)."""
    own = np.sort(np.random.default_rng(2).permutation(len(units))[:candidates])
    return np.ascontiguousarray(units[own]), own


def real_data(name: str) -> tuple[str, LabelMap, CocoSamples]:
    """A set of ../shared/data, or generated pictures if it does not exist."""
    folder = DATA / name
    if folder.exists():
        return (name, *load_coco(folder / "instances.json", folder / "images"))
    made = CACHE / "pictures"
    if not (made / "instances.json").exists():
        generate(made, count=400, seed=0)
    return ("generated", *load_coco(made / "instances.json", made / "images"))


def real_pool(name: str, branch: Branch, *, train_images: int = 100, steps: int = 150) -> Pool:
    """The pool of a model that is trained on some of a set's images; D = 256 in both branches.

    The pool has at most POOL_IMAGES of the other images. Model and pools are cached in
    .cache/benchmarks, because both take minutes.
    """
    name, labels, samples = real_data(name)
    path = CACHE / f"{name}-{branch}-{steps}.safetensors"
    if not path.exists():
        checkpoint = CACHE / f"{name}-{steps}"
        if not checkpoint.exists():
            logger.info("training a model on %s for a real pool", name)
            CACHE.mkdir(parents=True, exist_ok=True)
            save_checkpoint(checkpoint, _detector(labels, samples, train_images, steps), card={})
        detector, _ = load_checkpoint(checkpoint, label_map=labels)
        rest = samples.subset(list(range(train_images, len(samples)))[:POOL_IMAGES])
        numbered = ((number, rest.image(row)) for row, number in enumerate(rest.image_ids))
        pool = score_pool(detector.fast(), numbered, embedding=branch)
        save_pool(path, pool, label_names=labels.names)
    return load_pool(path)


def _detector(labels: LabelMap, samples: CocoSamples, images: int, steps: int) -> Detector:
    torch.set_num_threads(1)
    some = samples.subset(list(range(images)))
    recipe = choose("cpu", some.statistics(), gpu=False)
    model = dataclasses.replace(recipe.model, mask_head=(64, 64, 64, WIDTH), box_mlp=WIDTH)
    return train(some, labels, dataclasses.replace(recipe, steps=steps, model=model), seed=0)
