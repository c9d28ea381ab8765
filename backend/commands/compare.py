"""The command `compare`: evaluates two models on the same labelled validation images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from backend.commands.versions import entries
from backend.errors import RoundError
from backend.label_studio.label_config import LabelConfig, parse_label_config
from backend.label_studio.left_out import Summary
from backend.store import serving
from backend.worker.context import RoundContext
from backend.worker.dataset import AnnotatedSamples, take_snapshot
from taudis.detector.card import read_card
from taudis.detector.checkpoint import load_checkpoint
from taudis.detector.device import device_of_this_process
from taudis.evaluation.comparison import Comparison, compare


def validation_now(
    context: RoundContext, cards: Iterable[dict[str, Any]]
) -> tuple[AnnotatedSamples, LabelConfig]:
    """The validation images as they are in Label Studio now, and the labelling config.

    Tasks on which the models of these cards were trained are left out. Raising VALIDATION_FRACTION
    moves such tasks into the validation split.
    """
    config = parse_label_config(context.studio.project(context.project_id)["label_config"])
    annotated = context.studio.export_annotated(context.project_id)
    snapshot = take_snapshot(
        context.project_id, annotated, config, context.settings.validation_fraction
    )
    seen = {e["task_id"] for card in cards for e in entries(card) if e["split"] == "train"}
    wanted = {entry.task_id for entry in snapshot.of("validation")} - seen
    tasks = [task for task in annotated if int(task["id"]) in wanted]
    return AnnotatedSamples(tasks, config, context.images), config


def compare_versions(context: RoundContext, a: str, b: str) -> tuple[str, str, Comparison, Summary]:
    """Evaluate two models on the same validation images.

    Returns:
        The versions of the two models, the comparison, and a summary of the tasks left out.

    Raises:
        RoundError: no validation image is labelled, or a model is unknown.
        CheckpointError: a model is damaged, or has other labels than the project.
    """
    names = (
        serving.model_of(context.store, context.project_id, context.model_dir(""), a),
        serving.model_of(context.store, context.project_id, context.model_dir(""), b),
    )
    samples, config = validation_now(
        context, [read_card(context.model_dir(name)) for name in names]
    )
    of_a, of_b = (
        load_checkpoint(
            context.model_dir(name), label_map=config.label_map, device=device_of_this_process()
        )[0].fast()
        for name in names
    )
    left_out = Summary.of(samples.left_out, validation=len(samples))
    if not len(samples):
        raise RoundError(
            "Expected at least one labelled validation image to compare on, got none: label more"
            " (a share of VALIDATION_FRACTION of the tasks is never trained on)."
            f" {left_out.in_words()}".rstrip()
        )
    return *names, compare(of_a, of_b, samples, seed=context.settings.seed), left_out
