"""Mask2Former of the package transformers, trained like the other models of this library.

The package is an optional extra and is imported when a model is built. It never asks the network:
weights are random or come from a folder of this machine. Letters: K labels, Q queries.
"""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from taudis.detector.card import CARD_FILE, WEIGHTS_FILE
from taudis.detector.imagenet import mismatched
from taudis.detector.mask2former_config import NAME, STRIDE, Mask2FormerConfig
from taudis.errors import CheckpointError, PackageError, WeightsError
from taudis.files import verify_sealed

logger = logging.getLogger(__name__)

EXTRA = "taudis-label-studio[mask2former]"
BACKBONE_PREFIX = "network.model.pixel_level_module.encoder."
"""Where the tensors of the backbone are in a `Mask2Former`."""
QUERY_TENSORS = tuple(
    f"network.model.transformer_module.{name}.weight"
    for name in ("queries_embedder", "queries_features")
)
"""Tensors [Q,D] with a row for each query."""
LABEL_DEPENDENT = ("network.class_predictor.", "network.criterion.empty_weight")
"""Tensors whose shape depends on the labels; they always start fresh."""
CHUNK_CELLS = 4_000_000
"""Cells of dense masks that are held at a time, float32: 16 MB, whatever Q and the image are."""
SIZE_DIVISIBLE = 32
"""Images are padded to multiples of it, px: the stride of the coarsest features."""
OWN_KEYS = frozenset({
    "model_type", "architectures", "transformers_version", "dtype", "torch_dtype",
    "id2label", "label2id", "num_labels", "use_pretrained_backbone", "backbone",
})  # fmt: skip
"""Keys of a transformers configuration that describe its file or its labels, not the network."""

_REMEDY = (
    "Set the weights to 'none' (random), to a folder that transformers' save_pretrained wrote, or"
    " to a checkpoint folder of a mask2former."
)


@functools.cache
def library() -> Any:
    """The package transformers, with its downloads switched off. Raises PackageError without it."""
    try:
        # Both packages look at this constant before each request; the environment is only its
        # default.
        constants = importlib.import_module("huggingface_hub.constants")
        constants.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]
        package = importlib.import_module("transformers")
        importlib.import_module("transformers.utils.logging").disable_progress_bar()
    except ImportError as error:
        raise PackageError(
            f"The model {NAME} needs the package transformers ({error}). Install it:"
            f" pip install '{EXTRA}'."
        ) from error
    return package


def network_config(config: Mask2FormerConfig, num_labels: int) -> Any:
    """Transformers' configuration of the network for K = num_labels labels."""
    return library().Mask2FormerConfig(**config.network, num_labels=num_labels)


class Mask2Former(nn.Module):
    """The network, with the calling convention of torchvision's detectors in training.

    Padded px are black after normalising, and no object is there. What an image yields does not
    depend on the others of its batch as long as all have one size.
    """

    network: Any  # of transformers, which has no types

    def __init__(self, network: Any, config: Mask2FormerConfig) -> None:
        super().__init__()
        self.network = network
        self.config = config

    def forward(self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]]) -> Any:
        """The weighted losses of images [3,h,w] in 0..1 with torchvision's targets.

        transformers' `Mask2FormerLoss` computes them: the Hungarian method matches queries with
        objects, in each layer of the decoder. Its points are drawn from torch's generator, at
        shares of height and width. So the objects' masks have the predictions' resolution: a cell
        holds the share of its px that the object covers, as the mean of many points would.
        """
        pixels = self.batch(images)
        height, width = pixels.shape[-2:]
        masks = [_cells(target["masks"], height, width) for target in targets]
        labels = [target["labels"] - 1 for target in targets]
        found = self.network(pixel_values=pixels, mask_labels=masks, class_labels=labels)
        return {"loss": found.loss}

    def batch(self, images: Sequence[Tensor]) -> Tensor:
        """Images [3,h,w] in 0..1, normalised and padded to one size [B,3,H,W]."""
        sides = [max(image.shape[axis] for image in images) for axis in (1, 2)]
        height, width = (side + -side % SIZE_DIVISIBLE for side in sides)
        mean, std = (
            images[0].new_tensor(values)[:, None, None]
            for values in (self.config.image_mean, self.config.image_std)
        )
        return torch.stack([_padded((image - mean) / std, height, width) for image in images])


def _padded(rows: Tensor, height: int, width: int) -> Tensor:
    """[n,h,w] with zeros below and to the right, [n,height,width]."""
    return functional.pad(rows, (0, width - rows.shape[2], 0, height - rows.shape[1]))


def _cells(masks: Tensor, height: int, width: int) -> Tensor:
    """Masks [n,h,w] as the covered share of each cell, 0..1, [n,height/STRIDE,width/STRIDE].

    A few masks at a time, so that no float32 of all their px is held.
    """
    rows = max(1, CHUNK_CELLS // (height * width))
    parts = [
        functional.avg_pool2d(_padded(some.float(), height, width)[:, None], STRIDE)
        for some in torch.split(masks, rows)
    ]
    return torch.cat(parts)[:, 0]


def make_model(config: Mask2FormerConfig, num_labels: int) -> Mask2Former:
    """A freshly initialised model of K = num_labels labels; draws from torch's generator."""
    network = library().Mask2FormerForUniversalSegmentation(network_config(config, num_labels))
    return Mask2Former(network, config)


def build_model(
    config: Mask2FormerConfig, num_labels: int, *, seed: int, weights: str = "none"
) -> Mask2Former:
    """A model to train: initialised from `seed`, then from `weights`, 'none' or a folder's path.

    torch's global generator is left as it was. Raises WeightsError where the weights cannot be had
    or do not fit, PackageError without transformers.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if weights == "none":
            return make_model(config, num_labels)
        if is_transformers_folder(weights):
            return Mask2Former(_pretrained(Path(weights), config, num_labels), config)
        model = make_model(config, num_labels)
    _load_checkpoint(model, Path(weights))
    return model


def is_transformers_folder(weights: str) -> bool:
    """Whether it is a folder that save_pretrained wrote. Raises WeightsError for other weights.

    False: a checkpoint folder of this library.
    """
    folder = Path(weights)
    if weights in ("imagenet", "coco"):
        raise WeightsError(f"Weights {weights!r} are for Mask R-CNN, not for {NAME}. {_REMEDY}")
    if (folder / CARD_FILE).is_file():
        return False
    if not (folder / "config.json").is_file():
        raise WeightsError(f"Weights {weights}: expected a folder with config.json. {_REMEDY}")
    return True


def config_of_folder(folder: Path) -> Mask2FormerConfig:
    """The configuration of weights that save_pretrained wrote, at the sizes of `standard`.

    Raises WeightsError for another model's.
    """
    kind = library().Mask2FormerConfig
    try:
        found = kind.from_pretrained(str(folder), local_files_only=True)
        own = found.model_type == NAME and found.to_diff_dict()
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"Weights {folder}: cannot be read: {error}. {_REMEDY}") from error
    if not own:
        raise WeightsError(
            f"Weights {folder}: expected a {NAME}, got a {found.model_type}. {_REMEDY}"
        )
    network = {key: value for key, value in own.items() if key not in OWN_KEYS}
    network["backbone_config"] = _own_entries(found.backbone_config)
    network["num_queries"] = found.num_queries
    standard = Mask2FormerConfig.standard()
    return Mask2FormerConfig(network, min_size=standard.min_size, max_size=standard.max_size)


COMPUTED = ".relative_position_index"
"""Tables of a Swin backbone that transformers before version 5 wrote and later ones compute."""


def _own_entries(backbone: Any) -> dict[str, Any]:
    """What differs from the defaults in the configuration of a backbone, and its type."""
    own = {key: value for key, value in backbone.to_diff_dict().items() if key not in OWN_KEYS}
    return {"model_type": backbone.model_type, **own}


def _pretrained(folder: Path, config: Mask2FormerConfig, num_labels: int) -> Any:
    """The network with the weights of a folder; what depends on the labels is fresh."""
    try:
        network, report = library().Mask2FormerForUniversalSegmentation.from_pretrained(
            str(folder), config=network_config(config, num_labels), local_files_only=True,
            use_safetensors=True, ignore_mismatched_sizes=True, output_loading_info=True,
            dtype=torch.float32,
        )  # fmt: skip
    except (OSError, RuntimeError, ValueError) as error:
        raise WeightsError(f"Weights {folder}: cannot be read: {error} {_REMEDY}") from error
    other = {row[0] for row in report["mismatched_keys"]}
    wrong = sorted(
        name
        for name in other | set(report["missing_keys"]) | set(report["unexpected_keys"])
        if not (f"network.{name}".startswith(LABEL_DEPENDENT) or name.endswith(COMPUTED))
    )
    if wrong:
        raise _does_not_fit(str(folder), wrong)
    return network.train()


def _load_checkpoint(model: Mask2Former, folder: Path) -> None:
    """Fill a model with a checkpoint's weights, all but those that depend on the labels."""
    try:
        verify_sealed(folder, (CARD_FILE, WEIGHTS_FILE))
        state = load_file(folder / WEIGHTS_FILE)
    except (OSError, CheckpointError) as error:
        raise WeightsError(f"Weights {folder}: cannot be read: {error} {_REMEDY}") from error
    given, own = _shared(state), _shared(model.state_dict())
    wrong = mismatched(given, own)
    if wrong:
        raise _does_not_fit(str(folder), wrong)
    model.load_state_dict(given, strict=False)


def _shared(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: v for name, v in state.items() if not name.startswith(LABEL_DEPENDENT)}


def _does_not_fit(weights: str, wrong: Sequence[str]) -> WeightsError:
    return WeightsError(
        f"Weights {weights}: expected the tensors of this {NAME}, but {len(wrong)} are missing,"
        f" unknown or of another shape, such as {wrong[0]}. {_REMEDY}"
    )


def restored_model(
    config: Mask2FormerConfig, num_labels: int, state: dict[str, Tensor]
) -> Mask2Former:
    """The model with all tensors of `state`. Raises RuntimeError where they do not fit."""
    with torch.random.fork_rng(devices=[]):
        model = make_model(config, num_labels)
    model.load_state_dict(state)
    return model


def with_queries_of(model: Mask2Former, config: Mask2FormerConfig, num_labels: int) -> Mask2Former:
    """The model with as many queries as `config`, which has at least the model's own.

    The first queries are the model's, the others those of a fresh model, always the same ones. All
    queries attend to each other, so the new ones also change what the others find until they are
    trained.
    """
    if config.queries == model.config.queries:
        return model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        grown = make_model(config, num_labels)
    state, fresh = model.state_dict(), grown.state_dict()
    for name in QUERY_TENSORS:
        state[name] = torch.cat([state[name], fresh[name][len(state[name]) :]])
    grown.load_state_dict(state)
    return grown
