"""Initial weights of a model: none, torchvision's COCO weights, or a file that the user names.

If the chosen weights are not available, training fails; other weights are never used instead.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from taudis.errors import CheckpointError, WeightsError
from taudis.files import verify_sealed

WEIGHTS_FILE = "weights.safetensors"
CARD_FILE = "card.json"
LABEL_DEPENDENT = ("roi_heads.box_predictor.", "roi_heads.mask_predictor.mask_fcn_logits.")
"""Parameters whose shape and meaning depend on the labels; they always start fresh."""

_REMEDY = "Give a checkpoint folder or a .safetensors file, or set the weights to 'none'."


def _coco() -> dict[str, Tensor]:
    """Torchvision's Mask R-CNN COCO_V1 state, from its cache or downloaded, hash checked."""
    from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

    entry = MaskRCNN_ResNet50_FPN_Weights.COCO_V1
    try:
        state: dict[str, Tensor] = entry.get_state_dict(
            progress=False, check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError) as error:
        name = entry.url.rsplit("/", 1)[-1]
        raise WeightsError(
            f"The COCO weights could not be downloaded ({error}). Put {name} into torch's cache"
            f" ($TORCH_HOME/hub/checkpoints) or give its path as the weights. {_REMEDY}"
        ) from error
    return state


def _from_path(path: Path) -> dict[str, Tensor]:
    """The state in a checkpoint folder (verified), a safetensors file or a torch state file."""
    try:
        if path.is_dir():
            verify_sealed(path, (CARD_FILE, WEIGHTS_FILE))
            path = path / WEIGHTS_FILE
        if path.suffix == ".safetensors":
            tensors: dict[str, Tensor] = load_file(path)
            return tensors
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, CheckpointError) as error:
        raise WeightsError(f"Weights {path}: cannot be read: {error} {_REMEDY}") from error
    except Exception as error:  # torch.load raises nearly anything on a damaged or foreign file
        raise WeightsError(f"Weights {path}: no torch state file: {error} {_REMEDY}") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"Weights {path}: expected a dictionary of tensors. {_REMEDY}")
    return state


def load_initial(model: nn.Module, weights: str) -> None:
    """Put initial weights into the model: 'none', 'coco', or a path.

    Backbone, FPN, RPN and heads are loaded; the predictors that depend on the labels
    (LABEL_DEPENDENT) keep their fresh values. Raises WeightsError, which says what to do, where the
    weights are not available or do not fit this architecture.
    """
    if weights == "none":
        return
    state = _coco() if weights == "coco" else _from_path(Path(weights))
    kept = {k: v for k, v in state.items() if not k.startswith(LABEL_DEPENDENT)}
    own = {k: v for k, v in model.state_dict().items() if not k.startswith(LABEL_DEPENDENT)}
    wrong = sorted(
        set(kept) ^ set(own) | {k for k in set(kept) & set(own) if kept[k].shape != own[k].shape}
    )
    if wrong:
        raise WeightsError(
            f"Weights {weights!r}: expected the tensors of this model, but {len(wrong)} are"
            f" missing, unknown or of another shape, such as {wrong[0]}. Choose the model"
            " configuration that these weights were made for (COCO: ModelConfig.standard())."
            f" {_REMEDY}"
        )
    model.load_state_dict(kept, strict=False)


def check_weights(weights: str) -> str:
    """A description of the initial weights, after they were read. COCO weights are downloaded here.

    Raises:
        WeightsError: they are not available; says what to do.
    """
    if weights == "none":
        return "none: trained from scratch"
    state = _coco() if weights == "coco" else _from_path(Path(weights))
    return f"{weights}: {len(state)} tensors"
