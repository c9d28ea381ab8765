"""Mask2Former of the package transformers, trained like the other models of this library.

transformers is optional and is imported only when a model is built. It never downloads anything:
weights are random or come from a local folder. Letters: K labels, Q queries.
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
"""Prefix of the backbone's tensors in a `Mask2Former`."""
QUERY_TENSORS = tuple(
    f"network.model.transformer_module.{name}.weight"
    for name in ("queries_embedder", "queries_features")
)
"""Tensors [Q,D] with a row for each query."""
LABEL_DEPENDENT = ("network.class_predictor.", "network.criterion.empty_weight")
"""Tensors whose shape depends on the labels; they are never loaded from initial weights."""
CHUNK_CELLS = 4_000_000
"""Largest number of float32 mask cells in memory at a time: 16 MB."""
SIZE_DIVISIBLE = 32
"""Image sides are padded to multiples of this, px: the stride of the coarsest features."""
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
    """The package transformers, with downloads disabled. Raises PackageError without it."""
    try:
        # Both packages check this constant before each request. An environment variable would only
        # set its default at import.
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

    Padding is 0 after normalising and has no objects. The result for an image does not depend on
    the other images of its batch if all have the same size.
    """

    network: Any  # of transformers, which has no types

    def __init__(self, network: Any, config: Mask2FormerConfig) -> None:
        super().__init__()
        self.network = network
        self.config = config

    def forward(self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]]) -> Any:
        """The weighted losses of images [3,h,w] in 0..1 with torchvision's targets.

        transformers' `Mask2FormerLoss` computes them. In each layer of the decoder, the Hungarian
        method matches queries with objects. The loss samples masks at random points (torch's
        generator) in relative coordinates, so targets need not have the full resolution. Here they
        have the resolution of the predictions: a cell is the share of its px that the object
        covers.
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

    A few masks are converted to float32 at a time, to limit memory.
    """
    rows = max(1, CHUNK_CELLS // (height * width))
    parts = [
        functional.avg_pool2d(_padded(some.float(), height, width)[:, None], STRIDE)
        for some in torch.split(masks, rows)
    ]
    return torch.cat(parts)[:, 0]


def make_model(config: Mask2FormerConfig, num_labels: int) -> Mask2Former:
    """A model of K = num_labels labels with random weights from torch's global generator."""
    network = library().Mask2FormerForUniversalSegmentation(network_config(config, num_labels))
    return Mask2Former(network, config)


def build_model(
    config: Mask2FormerConfig, num_labels: int, *, seed: int, weights: str = "none"
) -> Mask2Former:
    """A model to train: initialised with random numbers from `seed`, then from `weights`.

    weights: 'none' or the path of a folder. The state of torch's global generator does not change.
    Raises WeightsError if the weights are not available or do not fit, and PackageError without
    transformers.
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
    """Whether the path is a folder that save_pretrained wrote; False: a checkpoint folder.

    Raises WeightsError for anything else.
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
    """The configuration of a folder that save_pretrained wrote, with the image size of `standard`.

    Raises WeightsError for another kind of model.
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
"""Tables of a Swin backbone: in files of transformers before version 5; later computed."""


def _own_entries(backbone: Any) -> dict[str, Any]:
    """The entries of a backbone's configuration that differ from the defaults, and its type."""
    own = {key: value for key, value in backbone.to_diff_dict().items() if key not in OWN_KEYS}
    return {"model_type": backbone.model_type, **own}


def _pretrained(folder: Path, config: Mask2FormerConfig, num_labels: int) -> Any:
    """The network with the weights of a folder; tensors that depend on the labels are random."""
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
    # If the folder has as many labels, its class predictor was loaded: of other labels.
    with torch.no_grad():
        torch.nn.init.normal_(network.class_predictor.weight, std=network.config.init_std)
        torch.nn.init.zeros_(network.class_predictor.bias)
    return network.train()


def _load_checkpoint(model: Mask2Former, folder: Path) -> None:
    """Load a checkpoint's weights into a model, except those that depend on the labels."""
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
    """A model with the tensors of `state`. Raises RuntimeError if they do not fit."""
    with torch.random.fork_rng(devices=[]):
        model = make_model(config, num_labels)
    model.load_state_dict(state)
    return model


def with_queries_of(model: Mask2Former, config: Mask2FormerConfig, num_labels: int) -> Mask2Former:
    """The model with as many queries as `config`, which must have at least as many as the model.

    The first queries are those of the model. The others are random, from a fixed seed. Queries
    attend to each other, so until the new queries are trained they change the results of the old
    ones, too.
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
