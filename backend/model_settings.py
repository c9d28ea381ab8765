"""Refuses settings that do not apply to the chosen MODEL, with the remedy."""

from __future__ import annotations

from backend.errors import SettingsError


def check_model(model: str, recipe: str, backbone: str, weights: str, embedding: str) -> None:
    """Raise SettingsError for the first setting that does not apply to the model."""
    other = "box" if model == "mask2former" else "query"
    if embedding == other:
        raise SettingsError(
            f"EMBEDDING={other}: MODEL={model} has no such branch. Set EMBEDDING=mask."
        )
    if model == "mask_rcnn":
        return
    folder = "Set WEIGHTS=none (random), or a folder that transformers' save_pretrained wrote."
    for name, given, is_wrong, remedy in (
        ("RECIPE", recipe, recipe == "paper", "Set RECIPE=auto, cpu or small."),
        ("BACKBONE", backbone, bool(backbone), "Leave BACKBONE unset."),
        ("WEIGHTS", weights, weights in ("imagenet", "coco"), folder),
    ):
        if is_wrong:
            raise SettingsError(f"{name}={given} is for MODEL=mask_rcnn alone. {remedy}")
