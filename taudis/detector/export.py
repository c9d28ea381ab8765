"""Exports a checkpoint as files that torchvision loads without this library."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path
from types import ModuleType

import torch
from safetensors.torch import load_file

from taudis.detector import architecture, backbones
from taudis.detector.architecture import ModelConfig
from taudis.detector.card import CARD_FILE, WEIGHTS_FILE, read_card
from taudis.detector.registry import read_config
from taudis.errors import ExportError

MODEL_FILE, STATE_FILE = "model.py", "model.pt"
LOADER = '''

def load(folder: str = ".") -> MaskRCNN:
    """The exported model, ready to detect objects.

    It takes a list of RGB images, float32 [3,H,W] in 0..1, and gives for each a dictionary of boxes
    [n,4] px, labels [n] (1 is the first of the card's labels), scores [n], masks [n,1,H,W] in 0..1.
    """
    import json
    from pathlib import Path

    from safetensors.torch import load_file

    card = json.loads((Path(folder) / "card.json").read_text(encoding="utf-8"))
    model = make_model(ModelConfig.from_dict(card["model"]), len(card["labels"]))
    model.load_state_dict(load_file(Path(folder) / "weights.safetensors"))
    return model.eval()
'''


def standalone_source() -> str:
    """Source code of a module that builds the model with torch, torchvision and safetensors only.

    It is the text of `taudis.detector.backbones` and `taudis.detector.architecture`, so the
    exported code cannot differ from the library's. Imports of this library and `build_model`, which
    starts a training, are left out; `load` is added.
    """
    parts = [_standalone(module) for module in (backbones, architecture)]
    future = "from __future__ import annotations\n"
    first, *others = (part.replace(future, "") for part in parts)
    text = "\n\n".join([first, *others])
    doc_end = ast.parse(text).body[0].end_lineno
    lines = text.splitlines(keepends=True)
    return "".join([*lines[:doc_end], f"\n{future}", *lines[doc_end:]]).rstrip() + "\n" + LOADER


def _standalone(module: ModuleType) -> str:
    """A module's text without its imports of this library and without `build_model`."""
    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    lines = source.splitlines(keepends=True)
    for node in reversed(ast.parse(source).body):
        where = slice(node.lineno - 1, node.end_lineno)
        name = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
        if isinstance(node, ast.ImportFrom) and name == "taudis.errors":
            lines[where] = [f"\n\nclass {each.name}(ValueError): ...\n" for each in node.names]
        elif name.startswith("taudis.") or (
            isinstance(node, ast.FunctionDef) and node.name == "build_model"
        ):
            lines[where] = []
    return "".join(lines)


def export_torchvision(checkpoint: Path, out: Path) -> None:
    """Write a checkpoint's weights and the code that loads them to the folder `out`.

    The files are card.json, model.py, and weights.safetensors and model.pt with the same
    torchvision state dict. Raises ExportError for another model than a Mask R-CNN, CheckpointError
    for a damaged checkpoint, and OSError.
    """
    config = read_config(read_card(checkpoint)["model"])
    if not isinstance(config, ModelConfig):
        raise ExportError(
            f"{checkpoint}: expected a Mask R-CNN, got a {config.architecture}, which torchvision"
            " does not have. Load it with taudis.detector.checkpoint.load_checkpoint; its"
            " model.network.save_pretrained(FOLDER) writes what transformers reads."
        )
    for name in (WEIGHTS_FILE, CARD_FILE):
        shutil.copyfile(checkpoint / name, out / name)
    torch.save(load_file(checkpoint / WEIGHTS_FILE), out / STATE_FILE)
    (out / MODEL_FILE).write_text(standalone_source(), encoding="utf-8")
