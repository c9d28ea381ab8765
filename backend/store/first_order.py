"""The order before the first model, in words, for the round's message and the status page."""

from __future__ import annotations

BY_TRAINING = "training"
"""In place of a strategy: a training makes the first order, since there are enough labels."""


def in_words(strategy: str) -> str:
    """How a first order is made: "random", or by a strategy on embeddings of the images."""
    if strategy == "random":
        return "random"
    return f"by {strategy} (images that differ come first, as an ImageNet backbone sees them)"


def message(strategy: str, wanted: int) -> str:
    """What a project's first order is, and what comes next; a sentence without its full stop.

    wanted: number of labelled tasks that starts a training.
    """
    return (
        f"the first order is {in_words(strategy)}, since there is no model yet; next: a model is"
        f" trained once {wanted} tasks are labelled, or at Start Training, and draws"
        " pre-annotations"
    )


def no_model(strategy: str, weights: str) -> str:
    """What a project without a model has instead: its order, and the weights of the first training.

    Args:
        strategy: that of the first order, or BY_TRAINING; '' while it is unknown.
        weights: the setting WEIGHTS. A file is named without its folder.
    """
    start = "random weights" if weights == "none" else f"weights {weights.rpartition('/')[2]}"
    starts = f"the first training starts from {start}"
    if not strategy:
        return f"none yet: {starts}"
    if strategy == BY_TRAINING:
        return f"none yet: {starts} and makes the first order"
    return f"none yet: the first order is {in_words(strategy)}; {starts}"
