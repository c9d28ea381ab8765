"""Commands on versions: list them, compare two, show a model's card, and change which one serves.

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
from backend.store.database import Version
from backend.worker.context import Desk
from backend.worker.dataset import AnnotatedSamples, take_snapshot
from backend.worker.prune import size_of
from taudis.detector.checkpoint import load_checkpoint, read_card
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


def table(desk: Desk) -> list[VersionRow]:
    """Every order and every model that is kept, newest first."""
    orders = {row.version: row for row in desk.store.versions(desk.project_id)}
    kept = serving.kept_models(desk)
    numbers = {r.id: str(r.number) for r in desk.store.rounds(desk.project_id, limit=1000)}
    rows = []
    for version in sorted({*orders, *kept}, reverse=True):
        card, damage = _card(desk, version) if version in kept else ({}, "")
        order = orders.get(version)
        number = numbers.get(order.round, "") if order else str(card.get("round", ""))
        rows.append(
            VersionRow(
                version,
                number,
                ", ".join(_states(desk, version, card, damage)),
                (order.model if order else "no order") or "none yet",
                _labels(card),
                _map50(card),
                _recipe(card),
                size_of(desk.model_dir(version)) if version in kept else 0,
            )
        )
    return rows


def _card(desk: Desk, version: str) -> tuple[dict[str, Any], str]:
    """A verified card and "", or {} and the reason why the card cannot be used."""
    try:
        return read_card(desk.model_dir(version)), ""
    except CheckpointError as error:
        return {}, str(error)


def _states(desk: Desk, version: str, card: dict[str, Any], damage: str) -> list[str]:
    state = desk.project.state
    found = [
        word
        for word, key in (
            ("order served", "serving"), ("pinned", "pinned"), ("model serves", "model"),
            ("promoted", "promoted"),
        )
        if state.get(key) == version
    ]  # fmt: skip
    if card.get("judged", {}).get("serve") is False:
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
    if isinstance(recipe, str):  # written before recipes were kept whole
        return recipe
    return f"{recipe['name']}, {recipe['steps']} steps" if recipe else ""


def card_of(desk: Desk, version: str) -> dict[str, Any]:
    """The card of a version's model, with counts instead of the snapshot's long list of tasks.

    Raises:
        RoundError: no such model is kept.
        CheckpointError: the model is damaged; the message names the file.
    """
    card = read_card(desk.model_dir(serving.model_of(desk, version)))
    snapshot = dict(card.get("snapshot") or {})
    splits = [entry["split"] for entry in snapshot.pop("entries", ())]
    counts = {split: splits.count(split) for split in ("train", "validation")}
    return {**card, "snapshot": {**counts, **snapshot}}


def validation_now(
    desk: Desk, cards: Iterable[dict[str, Any]]
) -> tuple[AnnotatedSamples, LabelConfig]:
    """The validation images as Label Studio holds them now, and the labelling config.

    Tasks that the models of these cards were trained on are left out. Such tasks enter the
    validation split when VALIDATION_FRACTION is raised.
    """
    config = parse_label_config(desk.studio.project(desk.project_id)["label_config"])
    annotated = desk.studio.export_annotated(desk.project_id)
    snapshot = take_snapshot(desk.project_id, annotated, config, desk.settings.validation_fraction)
    seen = {e["task_id"] for card in cards for e in _entries(card) if e["split"] == "train"}
    wanted = {entry.task_id for entry in snapshot.of("validation")} - seen
    tasks = [task for task in annotated if int(task["id"]) in wanted]
    return AnnotatedSamples(tasks, config, desk.images), config


def compare_versions(desk: Desk, a: str, b: str) -> tuple[str, str, Comparison, Summary]:
    """Evaluate two models on the same validation images.

    Returns:
        The versions of the two models, the comparison, and a summary of the tasks left out.

    Raises:
        RoundError: no validation image is labelled, or a model is unknown.
        CheckpointError: a model is damaged, or has other labels than the project.
    """
    names = serving.model_of(desk, a), serving.model_of(desk, b)
    samples, config = validation_now(desk, [read_card(desk.model_dir(name)) for name in names])
    of_a, of_b = (
        load_checkpoint(desk.model_dir(name), label_map=config.label_map)[0].fast()
        for name in names
    )
    left_out = Summary.of(samples.left_out, validation=len(samples))
    if not len(samples):
        raise RoundError(
            "Expected at least one labelled validation image to compare on, got none: label more"
            " (a share of VALIDATION_FRACTION of the tasks is never trained on)."
            f" {left_out.in_words()}".rstrip()
        )
    return *names, compare(of_a, of_b, samples, seed=desk.settings.seed), left_out


def rollback(desk: Desk, version: str = "") -> Version:
    """Serve an earlier version's order and predictions until `unpin`.

    Args:
        desk: the project's desk.
        version: the version to serve. "" takes the newest one that is older than the served one.

    Raises:
        RoundError: there is no such version, or Label Studio no longer has its predictions.
    """
    target = _rollback_target(desk, version)
    before = desk.project.state
    # The pin is written first: a round that is about to flip reads it.
    desk.store.update_project(desk.project_id, pinned=target.version, promoted="")
    try:
        desk.studio.patch_project(desk.project_id, model_version=target.version)
    except Exception:
        pinned, promoted = before.get("pinned"), before.get("promoted")
        desk.store.update_project(desk.project_id, pinned=pinned, promoted=promoted)
        raise
    desk.store.update_project(desk.project_id, serving=target.version, model=target.model, drift="")
    return target


def _rollback_target(desk: Desk, version: str) -> Version:
    """The version to go back to. Raises RoundError unless Label Studio has its predictions."""
    published = [row for row in desk.store.versions(desk.project_id) if row.tasks]
    names = [row.version for row in published]
    served = str(desk.project.state.get("serving") or "")
    if version:
        found = [row for row in published if row.version == version]
    else:
        found = serving.older_versions(desk.store, desk.project)[:1]
    held = desk.studio.model_versions(desk.project_id)
    if not found or not held.get(found[0].version):
        raise RoundError(
            f"Expected a published version {version or 'older than ' + repr(served)} to go back"
            f" to; there are {[name for name in names if held.get(name)]}."
        )
    return found[0]


def promote(desk: Desk, version: str) -> str:
    """Make a kept model serve, also one that evaluated worse; returns the model's version.

    The worker opens a round that scores the unlabelled pool with the model and flips to that order.
    Until then the old order is served. Later rounds train and evaluate new models but do not
    replace this one, until `unpin`, `rollback` or another `promote`. The pin of a rollback ends.

    Args:
        desk: the project's desk.
        version: a model, or an order (its model is promoted).

    Raises:
        RoundError: there is no such model, or it has other labels than the labelling config.
        CheckpointError: the model is damaged; the message names the file.
    """
    model = serving.model_of(desk, version)
    labels = tuple(read_card(desk.model_dir(model))["labels"])
    config = parse_label_config(desk.studio.project(desk.project_id)["label_config"])
    if labels != config.label_map.names:
        raise RoundError(
            f"Expected a model for the labels {list(config.label_map.names)}, got {model} for"
            f" {list(labels)}. Press Start Training to train one for the present labels."
        )
    desk.store.update_project(desk.project_id, promoted=model, pinned="", reorder=True, drift="")
    desk.store.ring(desk.project_id, "changed")  # ends the worker's wait
    return model


def unpin(desk: Desk) -> Version | None:
    """End a rollback or a promotion: serve the newest published version, None if there is none.

    The model of a promotion serves until a round trains one that is not clearly worse.
    """
    published = [row for row in desk.store.versions(desk.project_id) if row.tasks]
    desk.store.update_project(desk.project_id, pinned="", promoted="")
    if not published:
        return None
    newest = published[0]
    desk.studio.patch_project(desk.project_id, model_version=newest.version)
    desk.store.update_project(desk.project_id, serving=newest.version, model=newest.model, drift="")
    return newest
