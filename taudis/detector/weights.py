"""Initial weights of a model: none, ImageNet, torchvision's COCO weights, or a file of the user.

If the chosen weights are not available, training fails; other weights are never used instead.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from taudis.detector.backbones import Backbone, Norm
from taudis.detector.card import CARD_FILE, WEIGHTS_FILE
from taudis.detector.imagenet import (
    BACKBONE,
    PREFIX,
    backbone_state,
    is_backbone,
    mismatched,
    packaged_weights,
)
from taudis.errors import CheckpointError, WeightsError
from taudis.files import sha256_of, verify_sealed

LABEL_DEPENDENT = ("roi_heads.box_predictor.", "roi_heads.mask_predictor.mask_fcn_logits.")
"""Parameters that depend on the labels; they are never loaded from initial weights."""

_REMEDY = (
    "Give a checkpoint folder or a .safetensors file, or set the weights to 'imagenet' or 'none'."
)


def _coco() -> dict[str, Tensor]:
    """The COCO_V1 weights of torchvision's Mask R-CNN, cached or downloaded, hash checked."""
    from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

    entry = MaskRCNN_ResNet50_FPN_Weights.COCO_V1
    _check_cached(Path(torch.hub.get_dir()) / "checkpoints" / entry.url.rsplit("/", 1)[-1])
    try:
        state: dict[str, Tensor] = entry.get_state_dict(
            progress=False, check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError) as error:
        name = entry.url.rsplit("/", 1)[-1]
        raise WeightsError(
            f"The COCO weights could not be downloaded ({error}). Put {name} into torch's cache"
            f" ($TORCH_HOME/hub/checkpoints). {_REMEDY}"
        ) from error
    return state


def _check_cached(path: Path) -> None:
    """Compare a cached file with the SHA-256 digits in its name. No error if there is no file.

    torch.hub compares them only after a download. Raises WeightsError.
    """
    if not path.exists():
        return
    wanted = path.stem.rpartition("-")[2]
    found = sha256_of(path)
    if not found.startswith(wanted):
        raise WeightsError(
            f"Weights 'coco': {path}: expected a SHA-256 that begins with {wanted}, got {found}:"
            " the file was cut or changed. Delete it, so that it is downloaded again, or copy it"
            f" again. {_REMEDY}"
        )


def _from_path(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint folder (verified), a safetensors file or a torch state file."""
    try:
        if path.is_dir():
            verify_sealed(path, (CARD_FILE, WEIGHTS_FILE))
            path = path / WEIGHTS_FILE
        if path.suffix == ".safetensors":
            tensors: dict[str, Tensor] = load_file(path)
            return tensors
        _check_archive(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, CheckpointError) as error:
        raise WeightsError(f"Weights {path}: cannot be read: {error} {_REMEDY}") from error
    except WeightsError:
        raise
    except Exception as error:  # torch.load raises many types for a damaged or foreign file
        raise WeightsError(f"Weights {path}: no torch state file: {error} {_REMEDY}") from error
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise WeightsError(f"Weights {path}: expected a dictionary of tensors. {_REMEDY}")
    return state


def _check_archive(path: Path) -> None:
    """Compare the parts of a torch file with their CRC-32, which torch.load does not check.

    torch.save writes zip archives since PyTorch 1.6; older files have no checksums. Raises
    WeightsError for a changed part.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            changed = archive.testzip()
    # NotImplementedError: a changed byte can name an unknown compression method.
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise WeightsError(f"Weights {path}: cut or changed: {error}. {_REMEDY}") from error
    if changed is not None:
        raise WeightsError(
            f"Weights {path}: {changed} was changed: it does not fit its CRC-32. Copy the file"
            f" again. {_REMEDY}"
        )


def _check_finite(state: dict[str, Tensor], weights: str) -> None:
    """Raise WeightsError for a tensor with NaN or infinity, since training would stay NaN."""
    for name, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise WeightsError(
                f"Weights {weights!r}: {name} holds numbers that are not finite: the file was"
                f" changed, or saved after a training that diverged. {_REMEDY}"
            )


Kind = Literal["none", "imagenet", "coco", "backbone", "detector"]
"""Initial weights; "backbone" and "detector" are files."""


@dataclass(frozen=True)
class Weights:
    """Initial weights: their kind, and the tensors of a detector or only of its backbone."""

    kind: Kind
    state: dict[str, Tensor]

    @property
    def pretrained_backbone(self) -> bool:
        """Whether they are for the backbone only."""
        return self.kind in ("imagenet", "backbone")


def kind_of(weights: str) -> Kind:
    """The kind of initial weights; a file is read to find it. Raises WeightsError."""
    named: dict[str, Kind] = {"none": "none", "imagenet": "imagenet", "coco": "coco"}
    return named[weights] if weights in named else read_weights(weights).kind


def read_weights(weights: str, folder: Path | None = None) -> Weights:
    """Initial weights: 'none', 'imagenet', 'coco' or the path of a file or checkpoint.

    folder: keeps the converted ImageNet weights. A file without tensors under `backbone.` is taken
    as a classification model, whose backbone is used. Raises WeightsError.
    """
    if weights == "none":
        return Weights("none", {})
    if weights == "imagenet":
        return Weights("imagenet", packaged_weights(folder))
    if weights == "coco":
        return Weights("coco", _coco())
    state = _from_path(Path(weights))
    _check_finite(state, weights)
    return Weights("backbone" if is_backbone(state) else "detector", state)


def load_initial(
    model: nn.Module, weights: str, *, backbone: Backbone, norm: Norm, folder: Path | None = None
) -> None:
    """Load initial weights into a model with this backbone and these norms.

    Weights of a detector go into backbone, FPN, RPN and heads, except for the predictors that
    depend on the labels (LABEL_DEPENDENT). Weights of a classification model go into the backbone.
    Raises WeightsError, which says what to do, if the weights are not available or do not fit.
    """
    found = read_weights(weights, folder)
    if found.kind == "none":
        return
    state, own = found.state, model.state_dict()
    if found.kind == "backbone":
        state = backbone_state(backbone, norm, state, weights)
    if found.pretrained_backbone:
        own = {name: value for name, value in own.items() if name.startswith(PREFIX)}
    kept = {k: v for k, v in state.items() if not k.startswith(LABEL_DEPENDENT)}
    own = {k: v for k, v in own.items() if not k.startswith(LABEL_DEPENDENT)}
    wrong = mismatched(kept, own)
    if wrong:
        raise WeightsError(
            f"Weights {weights!r}: expected the tensors of this model, but {len(wrong)} are"
            f" missing, unknown or of another shape, such as {wrong[0]}. Choose the model"
            " configuration that these weights were made for (COCO: ModelConfig.standard();"
            f" ImageNet: {BACKBONE}). {_REMEDY}"
        )
    model.load_state_dict(kept, strict=False)


def check_weights(weights: str) -> str:
    """A description of the initial weights, after reading them. COCO weights are downloaded here.

    Raises:
        WeightsError: the weights are not available; the message says what to do.
    """
    found = read_weights(weights)
    if found.kind == "none":
        return "none: trained from scratch"
    what = {"coco": "detector", "imagenet": "backbone"}.get(found.kind, found.kind)
    return f"{weights}: {len(found.state)} tensors of a {what}"
