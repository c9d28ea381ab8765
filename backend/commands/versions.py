"""Commands on versions: list them, compare two, and show a model's card.

A version is an order of the tasks, a model, or both under one name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from backend.errors import RoundError
from backend.label_studio.label_config import LabelConfig, parse_label_config
from backend.label_studio.left_out import Summary
from backend.store import serving
from backend.worker.context import RoundContext
from backend.worker.dataset import AnnotatedSamples, take_snapshot
from backend.worker.prune import size_of
from taudis.detector.checkpoint import load_checkpoint, read_card
from taudis.detector.device import device_of_this_process
from taudis.errors import CheckpointError
from taudis.evaluation.comparison import Comparison, compare


@dataclass(frozen=True)
class VersionRow:
    """One version, as a row of the table."""

    version: str
    round: str
    state: (
        str  # serves, order served, pinned, model serves, promoted, evaluated, damaged; "" for none
    )
    model: str  # the model that made its order
    labels: str  # number of training tasks + number of validation tasks of its model
    map50: str  # with its bootstrap interval
    recipe: str
    size: int  # bytes of the checkpoint, 0 for an order by an earlier model


def table(context: RoundContext) -> list[VersionRow]:
    """Every order and every model that is kept, newest first."""
    orders = {row.version: row for row in context.store.versions(context.project_id)}
    kept = serving.kept_models(context.model_dir(""))
    numbers = {r.id: str(r.number) for r in context.store.rounds(context.project_id, limit=1000)}
    rows = []
    for version in sorted({*orders, *kept}, reverse=True):
        card, damage = _card(context, version) if version in kept else ({}, "")
        order = orders.get(version)
        number = numbers.get(order.round, "") if order else str(card.get("round", ""))
        rows.append(
            VersionRow(
                version,
                number,
                ", ".join(_states(context, version, card, damage)),
                (order.model if order else "no order") or "none yet",
                _labels(card),
                _map50(card),
                _recipe(card),
                size_of(context.model_dir(version)) if version in kept else 0,
            )
        )
    return rows


def _card(context: RoundContext, version: str) -> tuple[dict[str, Any], str]:
    """A verified card and "", or {} and the reason why the card cannot be used."""
    try:
        return read_card(context.model_dir(version)), ""
    except CheckpointError as error:
        return {}, str(error)


def _states(context: RoundContext, version: str, card: dict[str, Any], damage: str) -> list[str]:
    state = context.load_project().state
    words = {
        "order served": state.serving,
        "pinned": state.pinned,
        "model serves": state.model,
        "promoted": state.promoted,
    }
    found = [word for word, named in words.items() if named == version]
    if card.get("evaluated", {}).get("serve") is False:
        found.append("evaluated, not served")
    return [*found, f"DAMAGED: {damage}"] if damage else found


def _labels(card: dict[str, Any]) -> str:
    left_out = (card.get("result") or {}).get("left_out")
    if left_out:
        found = Summary.from_json(left_out)
        left = f", {found.tasks} left out" if found.tasks else ""
        return f"{found.train} + {found.validation}{left}"
    splits = [entry["split"] for entry in _entries(card)]
    return f"{splits.count('train')} + {splits.count('validation')}" if splits else ""


def _entries(card: dict[str, Any]) -> list[dict[str, Any]]:
    return list((card.get("snapshot") or {}).get("entries") or ())


def _map50(card: dict[str, Any]) -> str:
    metrics = card.get("metrics") or {}
    if not isinstance(metrics.get("map50"), float):
        return ""
    low, high = metrics["interval"]
    return f"{metrics['map50']:.3f} [{low:.3f}, {high:.3f}]"


def _recipe(card: dict[str, Any]) -> str:
    recipe = card.get("recipe") or {}
    return f"{recipe['name']}, {recipe['steps']} steps" if recipe else ""


def card_of(context: RoundContext, version: str) -> dict[str, Any]:
    """The card of a version's model, with counts instead of the snapshot's long list of tasks.

    Raises:
        RoundError: no such model is kept.
        CheckpointError: the model is damaged; the message names the file.
    """
    card = read_card(
        context.model_dir(
            serving.model_of(context.store, context.project_id, context.model_dir(""), version)
        )
    )
    snapshot = dict(card.get("snapshot") or {})
    splits = [entry["split"] for entry in snapshot.pop("entries", ())]
    counts = {split: splits.count(split) for split in ("train", "validation")}
    return {**card, "snapshot": {**counts, **snapshot}}


def validation_now(
    context: RoundContext, cards: Iterable[dict[str, Any]]
) -> tuple[AnnotatedSamples, LabelConfig]:
    """The validation images as Label Studio holds them now, and the labelling config.

    Tasks that the models of these cards were trained on are left out. Such tasks enter the
    validation split when VALIDATION_FRACTION is raised.
    """
    config = parse_label_config(context.studio.project(context.project_id)["label_config"])
    annotated = context.studio.export_annotated(context.project_id)
    snapshot = take_snapshot(
        context.project_id, annotated, config, context.settings.validation_fraction
    )
    seen = {e["task_id"] for card in cards for e in _entries(card) if e["split"] == "train"}
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
