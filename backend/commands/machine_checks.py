"""The checks of `doctor` that need no project: settings, address, initial weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from backend.errors import SettingsError
from backend.settings import Settings, check_bind, given_variables
from backend.settings_table import misspelt, misspelt_in_words
from backend.worker.train import recipe_of
from taudis.data.statistics import LabelStatistics
from taudis.detector.registry import MASK_RCNN, build_model
from taudis.detector.weights import check_weights
from taudis.errors import DataError, PackageError, WeightsError


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    check: str  # name
    well: bool
    found: str  # the current state, in words
    remedy: str = ""  # "" if well


def examine_machine(settings: Settings) -> Iterator[Finding]:
    """Checks that need no project: names of variables, the address, the initial weights."""
    if wrong := misspelt(given_variables()):
        remedy = "Correct the names, or unset the variables if they are another program's."
        yield Finding("variables", False, misspelt_in_words(wrong), remedy)
    try:
        check_bind(settings)
        yield Finding("listen address", True, f"{settings.host}:{settings.port}")
    except SettingsError as error:
        yield Finding("listen address", False, str(error), "Set BASIC_AUTH_USER, BASIC_AUTH_PASS.")
    try:
        is_other = settings.model != MASK_RCNN
        found = (
            f"{settings.weights}, for a {settings.model}"
            if is_other
            else (check_weights(settings.weights))
        )
        recipe = recipe_of(settings, LabelStatistics(0, 0.0, 0, 0.0, 0.0))
        # Building the model shows whether the weights fit its backbone.
        build_model(recipe.model, 1, seed=settings.seed, weights=settings.weights)
        yield Finding("initial weights", True, found)
    except (WeightsError, DataError, PackageError) as error:
        yield Finding("initial weights", False, str(error), _weights_remedy(settings, error))


def _weights_remedy(settings: Settings, error: Exception) -> str:
    """The remedy for initial weights that the model cannot start from."""
    if isinstance(error, PackageError):
        return "Install what the message names where the backend runs, and start it again."
    if settings.model != MASK_RCNN:
        return (
            "Set WEIGHTS=none (random) or a folder that save_pretrained wrote; or MODEL=mask_rcnn."
        )
    if settings.recipe == "paper":
        return (
            "Set WEIGHTS=coco (downloaded once) or WEIGHTS=<file of a detector of that"
            " architecture> with RECIPE=paper, or another RECIPE."
        )
    return (
        "Set WEIGHTS=imagenet (they are installed with the backend), WEIGHTS=none (train from"
        " scratch), or WEIGHTS=<file> with weights copied to this machine."
    )
